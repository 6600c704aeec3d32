"""Tasks whose handlers are never started twice: what stops a job once it has started, it is dead and says why."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import CancelScope, fail_after, to_thread
from support import DEADLINE, Gate, History, admin, unchecked, until, working

from nursery_tasks import App, JobState, Retry, current_job
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Feature
from nursery_tasks.client import JobHandle
from nursery_tasks.errors import InvalidOptions, JobDead, NotSupported
from nursery_tasks.events import EventKind
from nursery_tasks.model.delivery import Started
from nursery_tasks.model.outcome import LEASE_LOST
from nursery_tasks.model.reasons import LOST_OR_GIVEN_BACK, WORKER_STOPS, once_over
from nursery_tasks.testing import FaultyBroker


async def reason_of(handle: JobHandle[Any]) -> str | None:
    outcome = await handle.outcome()
    assert outcome.state is JobState.DEAD
    return outcome.reason


async def test_its_start_is_stored_before_its_handler_runs(app: App) -> None:
    seen: list[JobState] = []

    @app.task(delivery="at_most_once")
    async def pay() -> int:
        seen.append(admin(app).job(current_job().id).state)
        return 1

    async with working(app):
        assert await pay.run() == 1
    assert seen == [JobState.STARTED]


async def test_a_drain_ends_it_and_says_why(app: App) -> None:
    gate, history = Gate(), History(app)

    @app.task(delivery="at_most_once")
    async def pay() -> None:
        await gate.pass_through()

    async with app:
        job, waiting = await app.enqueue_many([pay.job(), pay.job()])
        with fail_after(DEADLINE):
            async with app.open_worker(drain=0.1, slots=1) as worker:
                await gate.wait_for(1)
            assert await reason_of(job) == once_over(WORKER_STOPS)
            assert worker.interrupted == 1
            assert await waiting.status() is JobState.READY  # it had not started
            with pytest.raises(JobDead, match="is delivered at most once"):
                await job
            assert admin(app).requeue([job.id]) == [True]  # a person decides anew
            gate.open()
            async with app.open_worker():
                await job
                await waiting
    assert gate.entered == 3
    assert EventKind.RELEASED not in history.of(job.id)


@pytest.mark.parametrize("how", ["raises", "asks for a retry", "times out"])
async def test_it_has_one_attempt(memory_app: App, how: str) -> None:
    gate = Gate()

    @memory_app.task(delivery="at_most_once", timeout=0.01 if how == "times out" else None, retry=None)
    async def pay() -> None:
        if how == "raises":
            raise ValueError("no")
        if how == "asks for a retry":
            raise Retry(wait=0) from ValueError("no")
        await gate.pass_through()

    async with working(memory_app):
        job = await pay.enqueue()
        outcome = await job.outcome()
    assert (outcome.state, outcome.attempt) == (JobState.FAILED, 1)
    assert outcome.error is not None
    assert outcome.error.type.rpartition(".")[2] == ("JobTimedOut" if how == "times out" else "ValueError")


async def test_a_worker_that_cannot_keep_its_lease_ends_it(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task(delivery="at_most_once")
    async def pay() -> None:
        await gate.pass_through()

    async with working(memory_app, lease=0.5):
        job = await pay.enqueue()
        await gate.wait_for(1)
        with faulty.failing("renew", "sweep"):
            await until(lambda: gate.inside == 0)
            assert await reason_of(job) == once_over(LEASE_LOST)
    assert gate.entered == 1


async def test_a_worker_that_was_away_for_too_long_changes_nothing(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task(delivery="at_most_once")
    async def pay() -> str:
        with CancelScope(shield=True):
            await gate.pass_through()
        return "paid"

    async with working(memory_app, lease=0.5, slots=1):
        job = await pay.enqueue()
        await gate.wait_for(1)
        with faulty.failing("renew"):
            await until(lambda: faulty.sweep(10) and admin(memory_app).job(job.id).state is JobState.DEAD)
        gate.open()
        assert await reason_of(job) == once_over(LOST_OR_GIVEN_BACK)
        await until(lambda: gate.inside == 0)
    assert gate.entered == 1


async def test_a_start_whose_answer_is_lost_is_asked_for_again(memory_app: App, faulty: FaultyBroker) -> None:
    runs: list[int] = []

    @memory_app.task(delivery="at_most_once")
    async def pay() -> None:
        runs.append(current_job().attempt)

    async with working(memory_app):
        faulty.fail("settle", times=1, effect=True)
        await pay.run()
    assert runs == [1]


async def test_it_does_not_start_before_its_start_is_stored(memory_app: App, faulty: FaultyBroker) -> None:
    runs: list[int] = []

    @memory_app.task(delivery="at_most_once")
    async def pay() -> None:
        runs.append(current_job().attempt)

    async with working(memory_app):
        stall = faulty.stall("settle")
        job = await pay.enqueue()
        assert await to_thread.run_sync(stall.wait_until_reached)
        assert runs == []
        stall.release()
        await job
    assert runs == [1]


@pytest.mark.parametrize("had_started", [False, True])
async def test_a_job_from_a_program_without_the_task_starts_once_as_well(memory_app: App, had_started: bool) -> None:
    runs: list[int] = []

    @memory_app.task(delivery="at_most_once")
    async def pay(amount: int) -> int:
        runs.append(amount)
        return amount

    async with memory_app:
        broker = memory_app.connection.gateway.broker
        job = await unchecked(memory_app, "pay", 3).enqueue()
        [delivery] = broker.claim(["default"], 1, "dead worker", 0.0)  # its lease is over at once
        assert not delivery.once
        if had_started:
            broker.settle([Started(delivery)])
        broker.sweep(10)
        with fail_after(DEADLINE):
            async with memory_app.open_worker():
                if had_started:
                    assert await reason_of(job) == once_over(LOST_OR_GIVEN_BACK)
                else:
                    assert await job == 3
    assert runs == ([] if had_started else [3])


async def test_such_a_job_is_dead_when_the_worker_stops(memory_app: App) -> None:
    gate = Gate()

    @memory_app.task(delivery="at_most_once")
    async def pay() -> None:
        await gate.pass_through()

    async with memory_app:
        job = await unchecked(memory_app, "pay").enqueue()
        with fail_after(DEADLINE):
            async with memory_app.open_worker(drain=0):
                await gate.wait_for(1)
            assert await reason_of(job) == once_over(WORKER_STOPS)


async def test_one_call_can_ask_for_the_other_delivery(memory_app: App) -> None:
    gate = Gate()

    @memory_app.task(delivery="at_most_once")
    async def pay() -> None:
        await gate.pass_through()

    async with memory_app:
        job = await pay.options(delivery="at_least_once", retry=3).enqueue()
        with fail_after(DEADLINE):
            async with memory_app.open_worker(drain=0):
                await gate.wait_for(1)
        assert await job.status() is JobState.READY


async def test_what_makes_no_sense_is_refused(memory_app: App) -> None:
    with pytest.raises(InvalidOptions, match="expected 'at_least_once' or 'at_most_once'"):
        memory_app.task(delivery="once")(lambda: None)  # type: ignore[arg-type]

    @memory_app.task(retry=3)
    async def pay() -> None: ...

    beside = "expected none, or retry=None, beside delivery='at_most_once'"
    with pytest.raises(InvalidOptions, match=beside):
        pay.options(delivery="at_most_once")
    pay.options(delivery="at_most_once", retry=None)

    with pytest.raises(InvalidOptions, match=beside):

        @memory_app.task(delivery="at_most_once", retry=1)
        async def again() -> None: ...

    with pytest.raises(InvalidOptions, match="durable workflow"):

        @memory_app.workflow(durable=True, delivery="at_most_once")
        async def flow() -> None: ...

    @memory_app.workflow(durable=True)
    async def other() -> None: ...

    async with memory_app:
        with pytest.raises(InvalidOptions, match="durable workflow"):
            await other.options(delivery="at_most_once").enqueue()


async def test_a_broker_that_cannot_keep_it_says_so(memory_app: App) -> None:
    class Plain(MemoryBroker):
        features = MemoryBroker.features - {Feature.ONCE}
        step = "take another one"

    @memory_app.task(delivery="at_most_once")
    async def pay() -> None: ...

    with memory_app.use_broker(Plain()):
        async with memory_app:
            with pytest.raises(NotSupported, match="has no delivery at most once; take another one"):
                await pay.enqueue()
