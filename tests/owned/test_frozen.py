"""A worker that is stopped (SIGSTOP) past its lease and goes on (SIGCONT): what it does then does not count."""

from __future__ import annotations

import signal

import pytest
from anyio import fail_after, sleep

from nursery_tasks import JobState
from nursery_tasks.model.delivery import CancelAnswer

from .fleet import DEADLINE, Fleet, on_loops, unfinished, until, until_started

LEASE_SECONDS = 1.0
WAITING = 10


@on_loops("asyncio")
@pytest.mark.parametrize("task", ["work", "busy"])
async def test_a_job_whose_worker_slept_past_its_lease_has_one_outcome_and_the_late_one_is_refused(
    fleet: Fleet, loop: str, task: str
) -> None:
    [frozen] = fleet.work(loop, lease=LEASE_SECONDS)
    with fail_after(DEADLINE):
        async with fleet.app() as app:
            handle = await app.job(task, "job", 0.5).enqueue()
            await until_started(handle)
            frozen.send_signal(signal.SIGSTOP)
            [second] = fleet.work(loop, lease=LEASE_SECONDS)
            assert await handle == "job"
            outcome = await handle.outcome()
            frozen.send_signal(signal.SIGCONT)
            await until(lambda: fleet.lines("stale"), "the late one to be refused")
            assert await handle.outcome() == outcome
            assert outcome.state is JobState.SUCCEEDED
            assert outcome.attempt == 2
            assert f"-{second.pid}-" in str(outcome.worker)
            assert {(line.pid, line.path) for line in fleet.lines("stale")} == {(frozen.pid, handle.id)}
            # It works on, with nothing left behind.
            again = [await app.job("work", f"again{number}", 0.2).enqueue() for number in range(40)]
            for one in again:
                await one
            assert {line.pid for line in fleet.lines("done") if line.path.startswith("again")} == {frozen.pid, second.pid}
            assert unfinished(app) == []


@on_loops("trio")
async def test_jobs_that_a_sleeping_worker_holds_never_start_after_their_cancel_has_returned(fleet: Fleet, loop: str) -> None:
    [frozen] = fleet.work(loop, lease=LEASE_SECONDS, slots=1)
    with fail_after(DEADLINE):
        async with fleet.app() as app:
            # Short jobs make a worker fetch the next ones ahead.
            for one in await app.enqueue_many(app.job("work", f"short{number}", 0) for number in range(20)):
                await one
            long, *held = await app.enqueue_many(
                [app.job("work", "long", 60), *(app.job("work", f"held{number}", 0) for number in range(WAITING))]
            )
            await until_started(long)
            frozen.send_signal(signal.SIGSTOP)
            states = [await handle.status() for handle in held]
            assert set(states) == {JobState.CLAIMED}, "the worker held none of them"
            ids = [handle.id for handle in held]
            answers = await app.cancel_jobs(ids, reason="not needed", wait=0.1)  # nobody else is there to take them back
            assert answers == {CancelAnswer.CANCELLED: WAITING}
            assert [await handle.status() for handle in held] == [JobState.CANCELLED] * WAITING
            frozen.send_signal(signal.SIGCONT)
            await until(lambda: fleet.lines("left", "long"), "the long one to be interrupted")
            assert await long.cancel() is CancelAnswer.CANCELLED
            await sleep(0.5)
            assert [line for line in fleet.lines("start") if line.path.startswith("held")] == []
