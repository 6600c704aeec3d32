"""What is written and never used: a kind of message that nobody makes, a method that nobody calls. Two of them were faults.

The sources are read, not run, and names are all that is compared: a name that occurs twice in the package is not caught.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nursery_tasks"

# What users call. For these a call in a test, an example or a page is enough; everything else must be called in the package.
FOR_USERS = {
    "channels",  # what a channel from elsewhere is made by
    *("app", "client", "current", "events", "resources", "scheduling", "shell", "task", "taskclass", "testing", "workflows"),
}
# Methods that something outside the package calls, by a name that it has chosen.
CALLED_BY_OTHERS = {
    "filter": "logging",
    "after_task_step": "trio",
    "mark_request": "hypercorn",
    "spawn_app": "hypercorn",
    "teardown": "hypothesis",
    "writable": "io",
    "readexactly": "aiormq",
    "reconfigure": "whoever has replaced sys.stdout",
}
MADE_BY_USERS = {"AnyLimit"}  # unions whose members a user makes


def sources(*places: Path, words: Collection[str] | None = None) -> dict[Path, ast.Module]:
    """Read all sources there, or those in which one of *words* occurs: to read a file takes longer than to look through it."""
    texts = {file: file.read_text() for place in places for file in sorted(place.rglob("*.py"))}
    return {file: ast.parse(text) for file, text in texts.items() if words is None or any(word in text for word in words)}


def members(value: ast.expr) -> Iterator[str]:
    """The names in `A | B | C`."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        yield from members(value.left)
        yield from members(value.right)
    elif isinstance(value, ast.Name | ast.Attribute):
        yield value.id if isinstance(value, ast.Name) else value.attr
    elif isinstance(value, ast.Subscript) and ast.unparse(value.value) in ("Union", "typing.Union"):
        for each in value.slice.elts if isinstance(value.slice, ast.Tuple) else [value.slice]:
            yield from members(each)


def unions(trees: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """The unions at the top of a module whose members are classes of the package, by name."""
    classes = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found: dict[str, set[str]] = {}
    for tree in trees.values():
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                own = {name for name in members(node.value) if name in classes}
                if len(own) > 1:
                    found[ast.unparse(target)] = own
    return found


def called(trees: dict[Path, ast.Module]) -> set[str]:
    """The names of what is called: a class that is called is made."""
    found = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = node.func.value if isinstance(node.func, ast.Subscript) else node.func
                found |= set(members(function))
    return found


def mentioned(trees: dict[Path, ast.Module]) -> set[str]:
    """What stands behind a dot or in quotation marks somewhere."""
    found = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def public_methods(trees: dict[Path, ast.Module]) -> Iterator[tuple[str, str]]:
    """Those that no decorator hands to somebody else (`@rule`), each with its place and name."""
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for each in node.body:
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not each.name.startswith("_"):
                        marks = {ast.unparse(mark).partition("(")[0] for mark in each.decorator_list}
                        if not marks & {"rule", "invariant", "initialize"}:
                            yield f"{file.relative_to(ROOT)}:{each.lineno} {node.name}.{each.name}", each.name


@pytest.fixture(scope="module")
def package() -> dict[Path, ast.Module]:
    return sources(PACKAGE)


def test_each_kind_of_message_is_made_somewhere(package: dict[Path, ast.Module]) -> None:
    made, found = called(package), unions(package)
    assert found
    assert {name: never for name, kinds in found.items() if name not in MADE_BY_USERS and (never := kinds - made)} == {}


def test_each_public_method_is_called_somewhere(package: dict[Path, ast.Module]) -> None:
    inside = mentioned(package)
    pages = "\n".join(page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    rest = {
        where: name
        for where, name in public_methods(package)
        if name not in inside and name not in CALLED_BY_OTHERS and not (f".{name}(" in pages or f".{name}`" in pages)
    }
    outside = mentioned(sources(ROOT / "tests", ROOT / "examples", ROOT / "benchmarks", words=set(rest.values())))
    dead = [
        where for where, name in rest.items() if name not in outside or where.split("/")[1].removesuffix(".py") not in FOR_USERS
    ]
    assert dead == []


def test_what_others_call_is_still_there(package: dict[Path, ast.Module]) -> None:
    assert CALLED_BY_OTHERS.keys() <= {name for _, name in public_methods(package)}
    assert unions(package).keys() >= MADE_BY_USERS


@pytest.mark.parametrize(
    ("source", "never"),
    [
        ("class A: ...\nclass B: ...\nM = A | B\nA()", {"B"}),
        ("class A: ...\nclass B: ...\nM = Union[A, B]\nA(); x.B[int]()", set()),
        ("class A: ...\nclass B: ...\nM: T = A | B | int", {"A", "B"}),
    ],
)
def test_the_reading_of_messages(source: str, never: set[str]) -> None:
    trees = {Path("x.py"): ast.parse(source)}
    assert unions(trees)["M"] - called(trees) == never
