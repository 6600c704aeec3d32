"""Leases: kept while handlers block everything, lost when they cannot be kept, and never two truths about one job."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from anyio import CancelScope, to_thread
from support import DEADLINE, Gate, History, admin, until, working

from nursery_tasks import App, JobState, Retry, current_job
from nursery_tasks.events import EventKind
from nursery_tasks.model.delivery import Delivery, LeaseState, Renewal, Started
from nursery_tasks.testing import FaultyBroker
from nursery_tasks.worker.in_flight import InFlightJobs
from nursery_tasks.worker.leases import LeaseKeeper


@pytest.fixture
def sqlite_app(tmp_path: Path) -> App:
    return App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")


# --- kept --------------------------------------------------------------------------------------------------------------------


async def test_a_task_that_takes_longer_than_its_lease_runs_once(app: App) -> None:
    @app.task
    async def long() -> int:
        await anyio.sleep(1.2)
        return current_job().attempt

    async with working(app, lease=0.5):
        job = await long.enqueue()
        assert await job == 1
        record = admin(app).job(job.id)
    assert (record.attempts, record.crashes) == (1, 0)


async def test_a_handler_that_blocks_the_loop_costs_nobody_a_lease(sqlite_app: App) -> None:
    history, gate = History(sqlite_app), Gate()

    @sqlite_app.task
    async def neighbour() -> int:
        await gate.pass_through()
        return current_job().attempt

    @sqlite_app.task
    async def block() -> int:
        time.sleep(1.2)  # noqa: ASYNC251 - the subject of this test
        return current_job().attempt

    async with working(sqlite_app, lease=0.5, slots=3):
        waiting = await neighbour.enqueue()
        await gate.wait_for(1)
        assert await block.run() == 1
        gate.open()
        assert await waiting == 1
    assert history.count(EventKind.STALE) == 0
    assert history.count(EventKind.RELEASED) == 0


async def test_a_broker_on_the_loop_is_blocked_with_it_and_takes_nothing_back(memory_app: App) -> None:
    for _ in range(2):  # Trio wakes sleepers in any order

        @memory_app.task
        async def block() -> int:
            time.sleep(0.7)  # noqa: ASYNC251 - the subject of this test
            await anyio.sleep(0.01)
            return current_job().attempt

        async with working(memory_app, lease=0.5):
            job = await block.enqueue()
            assert await job == 1
            assert admin(memory_app).job(job.id).crashes == 0


async def test_a_renewal_that_hung_is_repeated_before_the_lease_is_given_up(memory_app: App, faulty: FaultyBroker) -> None:
    """By the defaults: due after 5 of 15 s, a call that hangs costs 5 more, and after 12 the attempt would be cancelled."""
    now, held = 100.0, InFlightJobs()
    keeper = LeaseKeeper(faulty, held, 15.0, lambda: now, lambda call, *args: call(*args), None)
    async with memory_app:
        await memory_app.enqueue_many([memory_app.job("t")])
        [job] = held.add(faulty.claim(["default"], 1, "w", 15.0), now, now)
        assert keeper._next_pause() == 2.5
        now += 2.4
        assert keeper._next_pause() == 2.5
        now += 2.5
        assert keeper._next_pause() == pytest.approx(0.1)
        now += 0.1
        with faulty.failing("renew"):
            keeper._renew_due()
        now += 5.0
        assert keeper._next_pause() == pytest.approx(0.2)
        now += 0.2
        keeper._renew_due()
        keeper._fence()
        assert not job.lost
        assert job.lease_from == now


async def test_a_beat_that_fails_is_made_up_for_by_the_next(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task
    async def hold() -> int:
        await gate.pass_through()
        return current_job().attempt

    async with working(memory_app, lease=0.6):
        job = await hold.enqueue()
        await gate.wait_for(1)
        faulty.fail("renew", times=1)
        await until(lambda: faulty.calls["renew"] >= 3)
        assert gate.inside == 1
        gate.open()
        assert await job == 1


async def test_a_mistake_of_the_broker_while_renewing_is_logged_and_survived(
    memory_app: App, faulty: FaultyBroker, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    @memory_app.task
    async def hold() -> int:
        await gate.pass_through()
        return current_job().attempt

    async with working(memory_app, lease=0.6):
        job = await hold.enqueue()
        await gate.wait_for(1)
        faulty.fail("renew", times=1, error=ZeroDivisionError("a bug"))
        await until(lambda: faulty.calls["renew"] >= 3)
        gate.open()
        assert await job == 1
    assert "cannot renew leases, trying again" in caplog.text


# --- lost --------------------------------------------------------------------------------------------------------------------


def take_away(broker: FaultyBroker) -> None:
    """Let the next renewal be answered as if somebody else had the jobs, and the ones after it, for the same deliveries."""
    renew_all, taken = broker.renew, set[bytes]()

    def renew(deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        if not taken:
            taken.update(delivery.token for delivery in deliveries)
        answers = renew_all(deliveries, lease_seconds)
        return [
            Renewal(LeaseState.LOST) if delivery.token in taken else answer
            for delivery, answer in zip(deliveries, answers, strict=True)
        ]

    broker.renew = renew  # type: ignore[method-assign]


async def test_a_lost_lease_cancels_the_attempt_and_the_job_is_not_cancelled(memory_app: App, faulty: FaultyBroker) -> None:
    history, gate = History(memory_app), Gate()

    @memory_app.task
    async def hold() -> int:
        await gate.pass_through()
        return current_job().attempt

    async with working(memory_app, lease=0.5, slots=1):
        job = await hold.enqueue()
        await gate.wait_for(1)
        take_away(faulty)
        await until(lambda: gate.entered == 2)  # it came back, and here it runs again
        gate.open()
        assert await job == 1  # the interrupted attempt does not count
    [released] = [event for event in history.events if event.kind is EventKind.RELEASED]
    assert released.detail == "lease lost"
    assert history.count(EventKind.CANCELLED) == 0


async def test_an_outcome_that_comes_too_late_is_refused_and_counted(memory_app: App, faulty: FaultyBroker) -> None:
    history, gate = History(memory_app), Gate()

    @memory_app.task
    async def stubborn() -> str:
        with CancelScope(shield=True):
            await gate.pass_through()
        return f"attempt {current_job().attempt} on {current_job().worker}"

    async with working(memory_app, lease=0.5, slots=1, name="first"):
        job = await stubborn.enqueue()
        await gate.wait_for(1)
        await until(lambda: admin(memory_app).job(job.id).state is JobState.STARTED)
        with faulty.failing("renew"):
            await until(lambda: faulty.sweep(10) and admin(memory_app).job(job.id).state is JobState.READY)
        [other] = faulty.claim(["default"], 1, "second", 3600)
        assert other.attempt == 2
        gate.open()
        await until(lambda: history.count(EventKind.STALE) >= 1)
        assert await job.status() is JobState.CLAIMED
    [stale] = [event for event in history.events if event.kind is EventKind.STALE]
    assert (stale.job_id, stale.worker, stale.attempt) == (job.id, "first", 1)
    assert stale.detail == "it came too late: its lease was over, and the broker had taken the job back"


@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled", "asks for a retry"])
async def test_whatever_a_fenced_attempt_does_the_job_is_run_again_when_the_broker_is_back(
    memory_app: App, faulty: FaultyBroker, how: str
) -> None:
    """The fence comes before the lease is over, so the broker may still take what the attempt has to say."""
    gate = Gate()
    runs: list[int] = []

    @memory_app.task(retry=9)
    async def hold() -> str:
        runs.append(current_job().attempt)
        if len(runs) > 1:
            return "second"
        try:
            await gate.pass_through()
        except BaseException:
            if how == "returns":
                return "first"
            if how == "raises":
                raise ValueError("in the clean-up") from None
            if how == "asks for a retry":
                raise Retry(wait=0) from None
            raise
        return "never"

    async with working(memory_app, lease=0.5, slots=1):
        job = await hold.enqueue()
        await gate.wait_for(1)
        with faulty.failing("renew", "sweep"):
            await until(lambda: gate.inside == 0)
            expected = "first" if how == "returns" else "second"
            assert await job == expected
        assert (await job.outcome()).state is JobState.SUCCEEDED


async def test_a_renewal_that_hangs_does_not_hold_up_the_fence(memory_app: App, faulty: FaultyBroker) -> None:
    gate, left = Gate(), anyio.Event()

    @memory_app.task
    async def hold() -> None:
        try:
            await gate.pass_through()
        finally:
            left.set()

    async with working(memory_app, lease=0.5, slots=1):
        await hold.enqueue()
        await gate.wait_for(1)
        stall = faulty.stall("renew")
        assert await to_thread.run_sync(stall.wait_until_reached)
        await left.wait()
        stall.release()
        gate.open()


async def test_a_job_that_comes_back_to_the_same_worker_stops_its_older_attempt(memory_app: App, faulty: FaultyBroker) -> None:
    first, second = Gate(), Gate()
    order: list[int] = []

    @memory_app.task
    async def hold() -> str:
        order.append(len(order))
        gate = first if len(order) == 1 else second
        await gate.pass_through()
        return f"attempt {current_job().attempt}"

    async with working(memory_app, slots=2, lease=3600):
        job = await hold.enqueue()
        await first.wait_for(1)
        # Somebody with a wrong clock takes it back; this worker has not heard of it yet when it gets the job again.
        faulty._broker._state.table.held[job.id].lease_until = 0.0  # type: ignore[attr-defined]
        await second.wait_for(1)
        await until(lambda: first.inside == 0)
        second.open()
        assert (await job).startswith("attempt ")


async def test_a_job_that_lost_its_worker_before_is_marked_before_it_runs_again(memory_app: App, faulty: FaultyBroker) -> None:
    seen: list[JobState] = []

    @memory_app.task
    async def look() -> int:
        seen.append(faulty.outcomes([current_job().id])[0].state)  # type: ignore[union-attr]
        return current_job().attempt

    async with memory_app:
        job = await look.enqueue()
        [delivery] = faulty.claim(["default"], 1, "dead worker", 0.0)
        faulty.settle([Started(delivery)])
        faulty.sweep(10)
        async with memory_app.open_worker():
            assert await job.result(timeout=DEADLINE) == 2
    assert seen == [JobState.STARTED]


async def test_a_start_that_cannot_be_stored_waits_for_the_broker(
    memory_app: App, faulty: FaultyBroker, caplog: pytest.LogCaptureFixture
) -> None:
    @memory_app.task
    async def look() -> int:
        return current_job().attempt

    async with memory_app:
        job = await look.enqueue()
        faulty.claim(["default"], 1, "dead worker", 0.0)
        faulty.sweep(10)
        faulty.fail("settle", times=2)
        with caplog.at_level(logging.ERROR):
            async with memory_app.open_worker(fraction=lambda: 0.0):
                assert await job.result(timeout=DEADLINE) == 1


async def test_a_job_that_kills_its_worker_again_and_again_is_put_aside(memory_app: App, faulty: FaultyBroker) -> None:
    """The workers here are calls of the test that never come back; only started jobs are blamed."""
    task = memory_app.task(name="t")(lambda: 3)
    async with memory_app:
        killer = await task.options(max_crashes=2, id="killer").enqueue()
        innocent = await task.options(max_crashes=2, id="innocent").enqueue()
        for _ in range(2):
            deliveries = faulty.claim(["default"], 2, "dead worker", 0.0)
            faulty.settle([Started(delivery) for delivery in deliveries if delivery.id == "killer"])
            faulty.sweep(10)
        outcome = await killer.outcome(timeout=DEADLINE)
        assert (outcome.state, outcome.reason) == (JobState.DEAD, "2 workers died while they ran it")
        async with memory_app.open_worker():
            assert await innocent.result(timeout=DEADLINE) == 3
