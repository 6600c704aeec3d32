"""Schedules on a file, whose clock is that of the machine, while somebody sets it."""

from __future__ import annotations

import time
from collections.abc import Generator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from support import until, working

from nursery_tasks import App, current_job, every
from nursery_tasks.brokers.sqlite.broker import SqliteBroker

HOUR = 3600.0
OFTEN = timedelta(milliseconds=100)


class Machine:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def file_app(tmp_path: Path, machine: Machine) -> Generator[App, None, None]:
    app, broker = App("memory:"), SqliteBroker(tmp_path / "jobs.db", synchronous="normal", clock=machine)
    with app.use_broker(broker):
        yield app
    broker.close()


class Beats:
    """The slots that were run, with the moments in real time."""

    def __init__(self, app: App, catch_up: str) -> None:
        self.slots: list[datetime] = []
        self.moments: list[float] = []

        @app.task(schedule=every(OFTEN), catch_up=catch_up)  # type: ignore[call-overload]
        async def beat() -> None:
            slot = current_job().slot
            assert slot is not None
            self.slots.append(slot)
            self.moments.append(time.monotonic())

    async def wait(self, more: int) -> None:
        wanted = len(self.slots) + more
        await until(lambda: len(self.slots) >= wanted)


async def test_a_step_back_runs_nothing_twice_and_stalls_nothing(file_app: App, machine: Machine) -> None:
    beats = Beats(file_app, "one")
    async with working(file_app):
        await beats.wait(3)
        machine.ahead_seconds = -HOUR
        await beats.wait(8)
    assert len(set(beats.slots)) == len(beats.slots)
    assert sorted(beats.slots) == beats.slots
    assert all(later - earlier == OFTEN for earlier, later in pairwise(beats.slots))


@pytest.mark.parametrize(("catch_up", "most"), [("none", 0), ("one", 1)])
async def test_a_step_forward_is_time_in_which_nobody_was_there(
    file_app: App, machine: Machine, catch_up: str, most: int
) -> None:
    beats = Beats(file_app, catch_up)
    async with working(file_app):
        await beats.wait(3)
        before = beats.slots[-1]
        machine.ahead_seconds = HOUR
        await until(lambda: beats.slots[-1] - before > timedelta(minutes=30))
        await beats.wait(60)  # what is not older than five seconds is on time
    assert len(set(beats.slots)) == len(beats.slots)
    gaps = [later - earlier for earlier, later in pairwise(sorted(beats.slots)) if later - earlier != OFTEN]
    assert 1 <= len(gaps) <= 1 + most
    assert sum(gaps, timedelta()) > timedelta(minutes=59)
