"""Databases for the tests of the SQLite broker."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.testing.contract import ManualClock

OpenBroker = Callable[..., SqliteBroker]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nt") as folder:  # pytest's own folders have names too long for sockets
        yield Path(folder).resolve() / "jobs.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def open_broker(path: Path) -> Iterator[OpenBroker]:
    """Open the test's database, as often as one likes; all are closed in the end."""
    opened: list[SqliteBroker] = []

    def open_one(place: Path = path, **options: Any) -> SqliteBroker:
        opened.append(SqliteBroker(place, **options))
        return opened[-1]

    yield open_one
    for broker in opened:
        broker.close()


@pytest.fixture
def broker(open_broker: OpenBroker, clock: ManualClock) -> SqliteBroker:
    return open_broker(clock=clock)
