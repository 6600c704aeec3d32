"""What the tests of the command line share; see `cli_shell.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from cli_shell import MODULE, Shell

UVLOOP = ["--uvloop"]
LOOPS = [
    pytest.param(["--backend", "asyncio"], id="asyncio"),
    pytest.param(UVLOOP, id="uvloop"),
    pytest.param(["--backend", "trio"], id="trio"),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark two of three tests on uvloop as thinned, as `tests/conftest.py` does; not where a test names its loops itself."""
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if params.get("loop") is UVLOOP and crc32(item.nodeid.encode()) % 3:
            item.add_marker(pytest.mark.thinned)


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
