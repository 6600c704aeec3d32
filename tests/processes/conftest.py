"""The fixtures that these tests share, with those of the worker."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator

import pytest
from host_tools import hosts_of_this_process, leftovers
from support import app as app
from support import memory_app as memory_app
from support import url as url

SECONDS = 5.0  # in which what was told to end has ended


@pytest.fixture(autouse=True)
def small_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes start without importing pytest: it is the main module here, and takes longer than all else."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a process, a descriptor, a socket file or a thread."""
    before = leftovers()
    yield
    deadline = time.monotonic() + SECONDS
    while leftovers() - before and time.monotonic() < deadline:  # threads that were told to end may be about to
        gc.collect()  # those of a broker are told when nobody has it any more
        time.sleep(0.01)
    assert leftovers() - before == set()
    assert hosts_of_this_process() == []
