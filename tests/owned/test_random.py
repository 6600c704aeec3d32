"""Random trees, cancelled by random hands at random moments: nothing is left, neither of jobs nor of the machine.

Each run draws a tree (up to three levels of handlers on the loop and in threads, groups and plain `run`), a moment, and who
cancels. What went wrong is said with the run's seed.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, fail_after, move_on_after, sleep

from nursery_tasks import App
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.model.delivery import CancelAnswer

from . import program
from .fleet import Fleet, Holdings, tree_job, unfinished, until

SLOTS = 8
RUNS = 5  # on each loop and broker; all of them together are thirty
KINDS = ["loop", "thread"]
LATEST = 0.25  # seconds after which the cancel comes, at most

Driver = Callable[[App, Any, str, float], Awaitable[None]]


def draw_tree(chance: random.Random, kinds: list[str], depth: int = 3) -> dict[str, Any]:
    """Make a tree."""
    children = [draw_tree(chance, kinds, depth - 1) for _ in range(chance.randint(1, 3) if depth > 1 else 0)]
    return {
        "kind": chance.choice(kinds),
        "how": chance.choice(["group", "run"]),
        "seconds": chance.choice([0, 0.01, 60]),
        "children": children,
    }


async def by_timeout(app: App, job: Any, path: str, moment: float) -> None:
    """Leave a scope."""
    with move_on_after(moment):
        await job.run()


async def by_sibling(app: App, job: Any, path: str, moment: float) -> None:
    """Let a sibling fail."""
    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - one block is one group
        async with app.create_task_group() as group:
            group.start_soon(job)
            group.start_soon(app.job("fail_after", f"{path}.sibling", moment))
    [error] = raised.value.exceptions
    assert isinstance(error, program.Oops)
    assert str(error) == f"{path}.sibling"


async def by_handle(app: App, job: Any, path: str, moment: float) -> None:
    """Cancel a job that was let go; what it started belongs to it."""
    handle = await job.enqueue()
    await sleep(moment)
    assert await handle.cancel("enough") in (CancelAnswer.CANCELLED, CancelAnswer.FINISHED)


async def by_child(app: App, job: Any, path: str, moment: float) -> None:
    """Cancel the child of ours that awaits it."""

    async def run(scope: CancelScope) -> None:
        with scope:
            await job.run()

    scope = CancelScope()
    async with create_task_group() as tg:
        tg.start_soon(run, scope)
        await sleep(moment)
        scope.cancel()


DRIVERS: list[Driver] = [by_timeout, by_sibling, by_handle, by_child]


async def drive(app: App, lines: Callable[[str], list[Any]], seeds: range, kinds: list[str] = KINDS) -> None:
    """Do the runs, one after the other, and look after each."""
    for seed in seeds:
        chance, path = random.Random(seed), f"run{seed}"
        tree, moment, driver = draw_tree(chance, kinds), chance.uniform(0, LATEST), chance.choice(DRIVERS)
        said = f"seed {seed}: {driver.__name__} after {moment:.3f} s"
        with fail_after(10):
            await driver(app, tree_job(app, path, tree), path, moment)
        left = time.monotonic()
        assert unfinished(app) == [], said
        log = lines(path)
        assert [line for line in log if line.at > left] == [], said
        started = sorted((line.path, line.attempt) for line in log if line.word == "start")
        assert sorted((line.path, line.attempt) for line in log if line.word == "left") == started, said
        assert len(set(started)) == len(started), said


async def run_together(app: App, job: Any, count: int) -> None:
    """Run a job so often at the same time."""
    async with app.create_task_group() as group:
        for _ in range(count):
            group.start_soon(job)


async def check_workers(fleet: Fleet, loop: str, seeds: range, kinds: list[str] = KINDS) -> None:
    """Do the runs with two worker processes; neither they nor we hold more than before."""
    workers = fleet.work(loop, loop, slots=SLOTS, runs_processes="process" in kinds)
    async with fleet.app() as app:
        # As many threads and processes as there will ever be; each handler that waits for others keeps its own thread.
        await run_together(app, app.job("warm", 0.3), 2 * SLOTS)
        await run_together(app, app.job("thread_node", "warm", deep_threads()), 2)
        await drive(app, lambda path: fleet.lines(below=path), range(-8, 0), kinds)
        if "process" in kinds:
            await run_together(app, app.job("process_node", "warm", {"seconds": 0.3}), 2 * SLOTS)
        gc.collect()
        pids = [os.getpid(), *(worker.pid for worker in workers)]
        before = [Holdings.of(pid) for pid in pids]
        await drive(app, lambda path: fleet.lines(below=path), seeds, kinds)
        settled = len(fleet.lines())
        await sleep(0.3)
        assert len(fleet.lines()) == settled

        def hold_no_more() -> bool:
            gc.collect()
            return all(Holdings.of(pid).fits(held) for pid, held in zip(pids, before, strict=True))

        try:
            await until(hold_no_more, "what the runs took to be given back")
        finally:
            print("\nbefore", *before, "after", *map(Holdings.of, pids), sep="\n  ")
    for worker in workers:
        worker.communicate("", timeout=10)  # nothing runs, so they end at once
        assert worker.returncode == 0


async def check_embedded(folder: Path, monkeypatch: pytest.MonkeyPatch, seeds: range) -> None:
    """Do the runs with two workers in this very program, on the memory broker."""
    monkeypatch.setattr(program, "LOG", folder / "log")
    log = Fleet(folder)
    app = program.app
    async with AsyncExitStack() as stack:
        stack.enter_context(app.use_broker(MemoryBroker()))
        await stack.enter_async_context(app)
        for _ in range(2):
            await stack.enter_async_context(app.open_worker(slots=SLOTS))
        await drive(app, lambda path: log.lines(below=path), range(-8, 0))
        gc.collect()
        before = Holdings.of(os.getpid())
        await drive(app, lambda path: log.lines(below=path), seeds)
        settled = len(log.lines())
        await sleep(0.1)
        assert len(log.lines()) == settled
        after = Holdings.of(os.getpid())
        assert (after.descriptors, after.children) == (before.descriptors, before.children)
        assert after.threads <= 40 + 8  # a tree's handlers at once, and not one for each of hundreds


def deep_threads(depth: int = 3) -> dict[str, Any]:
    """The largest tree of threads."""
    children = [deep_threads(depth - 1) for _ in range(3)] if depth > 1 else []
    return {"kind": "thread", "how": "group", "seconds": 0.05, "children": children}


async def test_random_runs_on_two_worker_processes_leave_nothing(fleet: Fleet, loop: str) -> None:
    await check_workers(fleet, loop, range(RUNS))


async def test_random_runs_on_embedded_workers_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_embedded(tmp_path, monkeypatch, range(RUNS))


@pytest.mark.soak
async def test_two_hundred_random_runs_on_two_worker_processes_leave_nothing(fleet: Fleet, loop: str) -> None:
    await check_workers(fleet, loop, range(200))


@pytest.mark.soak
async def test_two_hundred_random_runs_also_in_processes_leave_nothing(fleet: Fleet, loop: str) -> None:
    await check_workers(fleet, loop, range(200), [*KINDS, "process"])


@pytest.mark.soak
async def test_two_hundred_random_runs_on_embedded_workers_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_embedded(tmp_path, monkeypatch, range(200))
