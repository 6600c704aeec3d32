"""What the tests of the command line share; see `cli_shell.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_shell import MODULE, Shell

LOOPS = [
    pytest.param(["--backend", "asyncio"], id="asyncio"),
    pytest.param(["--uvloop"], id="uvloop"),
    pytest.param(["--backend", "trio"], id="trio"),
]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A directory with `tasks_here.py`, and `shell(...)` to run commands in it. No process outlives its test."""
    with Shell(tmp_path).open() as shell:
        shell.write("tasks_here.py", MODULE)
        yield shell


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> list[str]:
    """The options that choose a loop, for each of them."""
    options: list[str] = request.param
    return options
