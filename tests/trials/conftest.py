"""The fixtures of these tests stand in `tests/support.py` and `tests/cli/`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from cli_shell import MODULE, Shell
from support import app, faulty, memory_app, url

__all__ = ["app", "faulty", "memory_app", "shell", "url"]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A directory with `tasks_here.py`, and `shell(...)` to run commands in it. No process outlives its test."""
    with Shell(tmp_path).open() as shell:
        shell.write("tasks_here.py", MODULE)
        yield shell
