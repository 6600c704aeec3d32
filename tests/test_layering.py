"""Imports inside `nursery_tasks` point one way; this is the table of who may import whom, and the test that holds it.

A *room* is a module or folder right below the package; `brokers` is a corridor whose doors are rooms of their own. The
graph is read from the sources, not from a running interpreter, so that an import counts wherever it stands: at the top,
in a function, under `TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "nursery_tasks"
SOURCES = Path(__file__).parent.parent / PACKAGE


@dataclass(frozen=True)
class Room:
    """What the modules of one room may import; the standard library is free except for `never`."""

    rooms: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


def room(rooms: str = "", *, libraries: str = "", never: str = "") -> Room:
    return Room(frozenset(rooms.split()), frozenset(libraries.split()), frozenset(never.split()))


CLOCK_OR_DICE = "time random secrets uuid"
LOOPS = "asyncio"

# From the lowest room to the highest. `_version`, `errors` and `model` are open to all above them.
ROOMS: dict[str, Room] = {
    "_version": room(never=f"{CLOCK_OR_DICE} {LOOPS}"),
    "errors": room(never=f"{CLOCK_OR_DICE} {LOOPS}"),
    "model": room("errors", libraries="msgspec", never=f"{CLOCK_OR_DICE} {LOOPS} threading"),
    "events": room("errors model", libraries="msgspec", never=LOOPS),
    "on_loop": room("errors", libraries="anyio"),  # from a thread to the loop that it works for
    # Programs that a handler starts. Any AnyIO program can use it: it knows nothing of apps, and a job only to ask for its end.
    "shell": room("errors model on_loop hidden current", libraries="anyio"),
    "current": room(
        "errors model on_loop", libraries="anyio msgspec"
    ),  # what a handler asks about itself; handlers run in any room
    "program": room("errors"),  # the program itself, or a process for its handlers
    "hidden": room(libraries="anyio"),  # a nursery that its body does not see
    "complaint": room(never=LOOPS),  # a warning that is not repeated all the time
    "brokers": room(),  # the folder's own __init__: a door, nothing behind it
    "brokers.protocol": room("errors model", never=LOOPS),
    "brokers.letters": room("errors model", libraries="msgspec", never=LOOPS),  # what other programs put in
    "brokers.subscription": room("model brokers.protocol", never=LOOPS),  # of hints; what two backends have in common
    # One backend each: plain blocking code and its one driver. They know neither each other nor who calls them.
    # (msgspec, here and below, is for the model's records: changing one field of a struct is a function of msgspec.)
    "brokers.memory": room("errors model brokers.protocol brokers.subscription", libraries="msgspec", never=LOOPS),
    "brokers.sqlite": room("errors model brokers.protocol brokers.letters", libraries="msgspec apsw", never=LOOPS),
    "brokers.redis": room("errors model brokers.protocol brokers.subscription", libraries="msgspec redis", never=LOOPS),
    "brokers.amqp": room(  # its driver only knows asyncio; it gets its store from whoever opens it
        # Without a store, what one process knows of its jobs is kept in memory, by the same rules.
        "errors model brokers.protocol brokers.letters brokers.subscription brokers.memory",
        libraries="msgspec aiormq pamqp",
    ),
    "brokers.url": room("errors model brokers.protocol"),
    # The border between blocking and async code: inwards one door, outwards a way to post to the loop.
    "brokers.posting": room("errors model", libraries="anyio"),
    "brokers.threads": room("brokers.posting", libraries="anyio"),
    "brokers.patience": room(libraries="anyio"),
    "brokers.lanes": room("errors brokers.threads brokers.patience", libraries="anyio"),
    "brokers.gateway": room(
        "errors model brokers.protocol brokers.posting brokers.threads brokers.lanes brokers.patience", libraries="anyio"
    ),
    "signature": room("errors model", libraries="msgspec"),
    "registry": room("errors model events signature program", libraries="msgspec"),
    "client": room(
        "hidden complaint on_loop errors model events current brokers.protocol brokers.posting brokers.gateway registry",
        libraries="anyio msgspec",
    ),
    "resources": room("errors model current"),  # what a worker opens once, and how handlers get it
    "taskclass": room("errors model current"),  # tasks as classes
    # `task.enqueue()` returns a handle and `app` makes tasks: so `task` and `app` stand on `client`, not below it.
    "task": room("errors model events current registry resources client", libraries="anyio"),
    "app": room(
        "_version errors model events current brokers.protocol brokers.gateway brokers.url program registry resources "
        "taskclass client task",
        libraries="anyio",
    ),
    "execution": room(
        "hidden errors model current program registry", libraries="anyio msgspec"
    ),  # registry: to find functions elsewhere
    "worker": room(
        "hidden complaint _version errors model events current brokers.protocol brokers.posting brokers.patience "
        "brokers.gateway registry execution",
        libraries="anyio msgspec",
    ),
    # Worker processes from outside: command lines, pipes and ends; it knows neither apps nor jobs.
    "supervisor": room("errors model brokers.posting", libraries="anyio msgspec"),
    # (msgspec is for the records that a flow travels as.)
    "workflows": room(
        "hidden errors model events current brokers.protocol registry client task app", libraries="anyio msgspec"
    ),
    "scheduling": room("errors model events registry client task app", libraries="anyio cronsim"),
    "observability": room("errors model events", libraries="opentelemetry prometheus_client"),
    # The package's __init__: the public names, and nothing that would make importing them slow.
    "__init__": room(
        "_version errors model events current shell resources taskclass registry client task app execution workflows scheduling"
    ),
    "demo": room("__init__", libraries="anyio"),  # an app like a user's
    # These two work with the public names. `testing` ships without pytest; trio is for its virtual clock.
    "testing": room(
        "__init__ errors model events current brokers.protocol brokers.posting brokers.gateway brokers.url "
        "brokers.memory registry client task app execution worker workflows scheduling",
        libraries="anyio msgspec trio hypothesis",
    ),
    "web": room(
        "__init__ _version errors model events client app worker workflows scheduling observability",
        libraries="anyio hypercorn starlette jinja2",
    ),
    "cli": room(  # (brokers.url and its protocol: a server's users belong to no app)
        "__init__ _version errors model events brokers.protocol brokers.url client app supervisor worker workflows scheduling "
        "observability",
        libraries="anyio msgspec typer rich",
    ),
    "__main__": room("cli"),
}


@dataclass(frozen=True)
class Late:
    """An import against the direction, made inside a function so that it happens only when it is needed."""

    importer: str
    function: str | None  # None: any function of the room
    imported: str
    reason: str
    typed: bool = False  # its types may be named too, under TYPE_CHECKING: the function has them in its signature


LATE = [
    *(
        Late("brokers.url", None, broker, "a URL names its broker; only that one, with its driver, is loaded")
        for broker in ("brokers.memory", "brokers.sqlite", "brokers.redis", "brokers.amqp")
    ),
    Late("task", "attempt_local", "execution", "running here is a method of a task; a producer never loads what runs them"),
    Late("app", None, "workflows", "what workflows are made of is built on apps, which declare and serve them"),
    Late("app", "open_worker", "worker", "embedding is a method of App; a producer never loads the worker", typed=True),
]


@dataclass(frozen=True)
class Import:
    where: str  # file:line
    importer: str  # room
    function: str | None  # the outermost one around the import
    typing_only: bool
    target: str  # dotted, absolute
    name: str | None  # the name taken from it, None for `import x`


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    parts = module.split(".")[1:]
    if not parts:
        return "__init__"
    return ".".join(parts[:2]) if parts[0] == "brokers" else parts[0]


class _Imports(ast.NodeVisitor):
    """Collect the imports of one module, each with the function that it stands in."""

    def __init__(self, path: Path, root: Path, modules: frozenset[str]) -> None:
        self.path, self.root, self.modules = path, root, modules
        self.module = module_name(path, root)
        self.function: str | None = None
        self.typing_only = False
        self.found: list[Import] = []

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, self.function = self.function, self.function or node.name
        self.generic_visit(node)
        self.function = outer

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        before, self.typing_only = self.typing_only, self.typing_only or "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body:
            self.visit(statement)
        self.typing_only = before
        for statement in node.orelse:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node, alias.name, None)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._absolute(node)
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            if submodule in self.modules:  # `from . import slot` imports a module
                self._add(node, submodule, None)
            else:
                self._add(node, base, alias.name)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.module.split(".")
        climb = node.level - (self.path.name == "__init__.py")  # a package's own dot is itself
        package = package[: len(package) - climb]
        return ".".join([*package, *([node.module] if node.module else [])])

    def _add(self, node: ast.stmt, target: str, name: str | None) -> None:
        where = f"{self.path.relative_to(self.root.parent)}:{node.lineno}"
        self.found.append(Import(where, room_of(self.module), self.function, self.typing_only, target, name))


def read_imports(root: Path) -> Iterator[Import]:
    paths = sorted(root.rglob("*.py"))
    modules = frozenset(module_name(path, root) for path in paths)
    for path in paths:
        visitor = _Imports(path, root, modules)
        visitor.visit(ast.parse(path.read_text(), str(path)))
        yield from visitor.found


def find_unknown_rooms(root: Path) -> list[str]:
    rooms = {room_of(module_name(path, root)) for path in root.rglob("*.py")}
    return [f"{name}: no such room; add it to ROOMS in {Path(__file__).name}" for name in sorted(rooms - ROOMS.keys())]


def find_violations(root: Path) -> list[str]:
    problems = find_unknown_rooms(root)
    for found in read_imports(root):
        if found.importer not in ROOMS:
            continue  # said above
        problem = judge(found)
        if problem is not None:
            problems.append(f"{found.where}: {problem}")
    return problems


def judge(found: Import) -> str | None:
    """Say what is wrong with one import, or None."""
    allowed = ROOMS[found.importer]
    top = found.target.split(".")[0]
    if top != PACKAGE:
        if top in allowed.never:
            return f"{found.importer} may not import {top}: what it decides must not depend on it"
        if top in sys.stdlib_module_names or top in allowed.libraries:
            return None
        return f"{found.importer} may not import the library {top}, only: {listed(allowed.libraries)}"

    imported = room_of(found.target)
    if imported == found.importer:
        return None
    if imported not in ROOMS:
        return f"{found.importer} imports {imported}, no such room"
    if imported not in allowed.rooms and not is_late(found, imported):
        return f"{found.importer} may not import {imported}, only: {listed(allowed.rooms)}"
    private = [part for part in (*found.target.split(".")[2:], found.name or "") if is_private(part)]
    if private and imported != "_version":
        return f"{found.importer} may not import {private[0]}: it belongs to {imported} alone"
    return None


def is_late(found: Import, imported: str) -> bool:
    for late in LATE:
        if (late.importer, late.imported) == (found.importer, imported):
            if found.typing_only:
                return late.typed
            return found.function is not None and late.function in (None, found.function)
    return False


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


# --- the package ----------------------------------------------------------------------------------


def test_every_import_points_to_a_lower_room() -> None:
    assert find_violations(SOURCES) == []


def test_the_table_itself_has_no_circle() -> None:
    assert list(TopologicalSorter({name: sorted(room.rooms) for name, room in ROOMS.items()}).static_order())


# --- the test itself ------------------------------------------------------------------------------


def write_package(root: Path, **sources: str) -> Path:
    """Write a package from `room__module="source"`; two underscores are a folder."""
    package = root / PACKAGE
    for name, source in {"__init__": "", **sources}.items():
        path = package / (name if name.startswith("_") else name.replace("__", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(source)
    return package


@pytest.mark.parametrize(
    ("name", "source", "problem"),
    [
        (
            "worker__slot",
            "from nursery_tasks.brokers.memory import MemoryBroker",
            "worker may not import brokers.memory",
        ),
        ("worker__slot", "import nursery_tasks.brokers.memory", "worker may not import brokers.memory"),
        ("worker__slot", "from ..brokers import memory", "worker may not import brokers.memory"),
        ("worker__slot", "def f():\n    from ..brokers import memory", "worker may not import brokers.memory"),
        ("worker__slot", "if TYPE_CHECKING:\n    from ..client import JobHandle", "worker may not import client"),
        ("worker__slot", "from .. import App", "worker may not import __init__"),
        ("worker__slot", "from ..execution import _run", "worker may not import _run"),
        ("worker__slot", "import redis.asyncio", "worker may not import the library redis"),
        ("brokers__memory", "from .sqlite import connect", "brokers.memory may not import brokers.sqlite"),
        ("brokers__memory", "import asyncio", "brokers.memory may not import asyncio"),
        ("model__retry", "from random import random", "model may not import random"),
        ("model__retry", "import anyio", "model may not import the library anyio, only: msgspec"),
        ("registry", "from .cli import main", "registry may not import cli"),
        ("app", "from .worker import serve_worker", "app may not import worker"),
        ("app", "def run():\n    from .worker import serve_worker", "app may not import worker"),
        ("app", "if TYPE_CHECKING:\n    pass\nelse:\n    from .worker import Worker", "app may not import worker"),
        ("brokers__url", "if TYPE_CHECKING:\n    from .memory import MemoryBroker", "may not import brokers.memory"),
        ("brokers__url", "from .memory import MemoryBroker", "brokers.url may not import brokers.memory"),
        ("attic", "", "attic: no such room; add it to ROOMS"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, name: str, source: str, problem: str) -> None:
    beside = {"brokers__memory": "", "brokers__sqlite": "", "worker____init__": "", "execution____init__": ""}
    (found,) = find_violations(write_package(tmp_path, **{**beside, name: source}))
    assert problem in found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "worker__slot",
            "import anyio, time\nfrom ..model import retry\nfrom . import _queue\nfrom .._version import __version__",
        ),
        ("brokers__sqlite____init__", "import apsw\nfrom ..protocol import Broker\nfrom .schema import TABLES"),
        ("brokers__url", "def open_broker():\n    from .memory import MemoryBroker"),
        ("app", "class App:\n    async def open_worker(self):\n        from .worker import serve_worker"),
        ("app", "if TYPE_CHECKING:\n    from .worker import Worker"),
        ("__main__", "from nursery_tasks.cli import main"),
    ],
)
def test_an_allowed_import_passes(tmp_path: Path, name: str, source: str) -> None:
    assert find_violations(write_package(tmp_path, **{name: source})) == []
