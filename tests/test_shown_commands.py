"""Commands that messages show: what a person copies into a shell means the name that was meant, whatever is in it."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from nursery_tasks.errors import JobDead, QueueFull
from nursery_tasks.shown import command_line

PACKAGE = Path(__file__).parent.parent / "nursery_tasks"
A_COMMAND = re.compile(r"nursery-tasks [a-z][^`;,:()\n]*\0")
OUR_OWN_WORDS = {"more", "state", "what"}  # which are options and states, and no names


@pytest.mark.parametrize("name", ["plain", "two words", "it's", 'a "b"', "$(reboot)", "-dash", "--yes", "a;b", ""])
def test_a_shell_reads_the_name_that_was_meant(name: str) -> None:
    words = shlex.split(command_line("jobs", name))
    assert words == ["nursery-tasks", "jobs", *(["--"] if name.startswith("-") else []), name]
    *begin, last = shlex.split(command_line("queues --resume", name))
    assert begin[:2] == ["nursery-tasks", "queues"]
    assert [*begin[2:], last] == (["--resume=" + name] if name.startswith("-") else ["--resume", name])


def test_errors_quote_names() -> None:
    assert "`nursery-tasks retry 'an id'` runs it again" in str(JobDead("an id", "task", None))
    assert "--queues=-fast`" in str(QueueFull("-fast", 1))


def test_no_command_is_put_together_by_hand() -> None:
    assert [place for path in sorted(PACKAGE.rglob("*.py")) for place in by_hand(path)] == []


def by_hand(path: Path) -> Iterator[str]:
    """Texts in which a value stands in a command."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else _hole(part) for part in node.values]
            if A_COMMAND.search("".join(parts)):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)}"


def _hole(part: ast.expr) -> str:
    is_ours = isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and part.value.id in OUR_OWN_WORDS
    return "" if is_ours else "\0"
