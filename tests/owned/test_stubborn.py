"""Handlers that do not listen, in a worker below a supervisor: what becomes of the job, its slot, its process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anyio import fail_after

from nursery_tasks import App, JobState
from nursery_tasks.errors import JobTimedOut
from nursery_tasks.model.delivery import CancelAnswer
from nursery_tasks.model.listing import WorkerRecord

from .fleet import DEADLINE, PROGRAM, Fleet, on_loops, until, until_started

SLOTS = 4  # so the worker is replaced when two of them are lost


@contextmanager
def supervised(fleet: Fleet, loop: str) -> Generator[subprocess.Popen[str], None, None]:
    """Run `nursery-tasks run` with a supervisor and one worker."""
    how = {"asyncio": [], "uvloop": ["--uvloop"], "trio": ["--backend", "trio"]}[loop]
    # A limit that is never reached: a single worker has a supervisor only when something may replace it.
    options = [*how, "--slots", str(SLOTS), "--drain", "0.2", "--max-jobs", "100000", "--processes", "1", "-q"]
    with subprocess.Popen(
        [sys.executable, "-m", "nursery_tasks", "run", "owned.quick:app", *options],
        env={**os.environ, "NURSERY_TASKS_BROKER": fleet.url, "LOG": str(fleet.log)},
        cwd=PROGRAM.parent.parent,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(DEADLINE)


async def wait_worker(app: App, other_than: int = 0) -> WorkerRecord:
    """Wait for a worker that lives, and is not the one with this pid."""
    found: list[WorkerRecord] = []
    with fail_after(DEADLINE):
        while not found:
            found = [worker for worker in await app.workers() if worker.pid != other_than]
    return found[0]


def lives(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def most_at_once(fleet: Fleet, below: str) -> int:
    """Return how many of these handlers ran at the same time."""
    moves = sorted(
        (line.at, 1 if line.word == "start" else -1)
        for line in fleet.lines()
        if line.path.startswith(below) and line.word in ("start", "left")
    )
    level = most = 0
    for _, move in moves:
        level += move
        most = max(most, level)
    return most


@on_loops("trio")
async def test_lost_slots_are_shown_and_the_worker_that_loses_half_of_them_is_replaced(fleet: Fleet, loop: str) -> None:
    with supervised(fleet, loop) as supervisor, fail_after(DEADLINE):
        async with fleet.app() as app:
            first = await wait_worker(app)

            stubborn = await app.job("stubborn", "stubborn", 60).enqueue()
            await until_started(stubborn)
            assert await stubborn.cancel("enough") is CancelAnswer.UNRESPONSIVE
            assert await stubborn.status() is JobState.STARTED
            shown: list[tuple[str, ...]] = []
            while not shown or not shown[-1]:
                shown.append((await wait_worker(app)).unresponsive)
            assert shown[-1] == (stubborn.id,)

            jobs = await app.enqueue_many(app.job("work", f"three{number}", 0.1) for number in range(2 * SLOTS))
            for job in jobs:
                await job
            assert most_at_once(fleet, "three") == SLOTS - 1

            busy = await app.job("busy", "busy", 60).with_options(timeout=0.2, retry=3).enqueue()
            with pytest.raises(JobTimedOut):
                await busy
            second = await wait_worker(app, other_than=first.pid)
            await until(lambda: not lives(first.pid), "the process with the lost slots to end")

            assert await stubborn.outcome(DEADLINE) is not None
            assert (await stubborn.outcome()).reason == "enough"
            assert await stubborn.status() is JobState.CANCELLED
            assert second.unresponsive == ()
            jobs = await app.enqueue_many(app.job("work", f"four{number}", 0.1) for number in range(2 * SLOTS))
            for job in jobs:
                await job
            assert most_at_once(fleet, "four") == SLOTS
            assert [line.path for line in fleet.lines("start") if line.path in ("stubborn", "busy")] == ["stubborn", "busy"]
            assert not [line for line in fleet.lines("left") if line.path in ("stubborn", "busy")]
    assert supervisor.returncode == 0
    assert not lives(second.pid)


@on_loops("uvloop")
async def test_a_busy_loop_in_a_process_is_killed_with_what_it_started_and_costs_no_slot(fleet: Fleet, loop: str) -> None:
    with supervised(fleet, loop) as supervisor, fail_after(DEADLINE):
        async with fleet.app() as app:
            worker = await wait_worker(app)
            handle = await app.job("spin", "spin").enqueue()
            await until_started(handle)
            await until(lambda: len(fleet.lines(below="spin")) == 2, "the handler and its child")
            host, child = fleet.lines(below="spin")
            pids = [host.pid, int(child.word.removeprefix("child"))]
            assert all(map(lives, pids))
            assert await handle.cancel("enough") is CancelAnswer.CANCELLED
            assert not any(map(lives, pids))
            assert (await handle.outcome()).reason == "enough"
            jobs = await app.enqueue_many(app.job("work", f"four{number}", 0.1) for number in range(2 * SLOTS))
            for job in jobs:
                await job
            assert most_at_once(fleet, "four") == SLOTS
            same = await wait_worker(app)
            assert (same.pid, same.unresponsive) == (worker.pid, ())
    assert supervisor.returncode == 0
