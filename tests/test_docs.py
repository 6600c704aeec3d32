"""The pages: each Python snippet imports what it uses, so that it can be copied alone, and nothing that it does not."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import nursery_tasks
from nursery_tasks import errors

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SNIPPET = re.compile(r"^( *)```python[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
# What a page tells its story with (`app`, tasks, data) may come from the reader; what has a home must be imported from there.
AT_HOME = {
    *nursery_tasks.__all__,
    *(name for name in vars(errors) if name[0].isupper()),
    *(name for name in dir(anyio) if not name.startswith("_")),
    *sys.stdlib_module_names,
    "UTC",
    "Path",
    "anyio",
    "dataclass",
    "date",
    "datetime",
    "timedelta",
    "trio",
    "urlsplit",
} - {"app", "code"}


def snippets() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in SNIPPET.finditer(text):
            line = text[: found.start()].count("\n") + 1
            if "--8<--" not in found[2]:  # that one is an example, which is run
                yield f"{page.relative_to(ROOT)}:{line}", textwrap.dedent(found[2])


def names_in(tree: ast.AST) -> tuple[set[str], set[str], set[str]]:
    """Return the names that a snippet imports, those that it binds in any way, and those that it uses."""
    imported, bound, used = set[str](), set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return imported, bound | imported, used


@pytest.mark.parametrize(("place", "code"), list(snippets()), ids=[place for place, _ in snippets()])
def test_a_snippet_imports_what_it_uses_and_nothing_else(place: str, code: str) -> None:
    imported, bound, used = names_in(ast.parse(code))
    assert not (used - bound) & AT_HOME, f"{place} does not import them"
    assert not imported - used, f"{place} does not use them"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "how-to").glob("*.md")), ids=lambda page: page.stem)
def test_a_pages_title_does_not_say_what_its_group_says(page: Path) -> None:
    assert not page.read_text(encoding="utf-8").startswith("# How to")
