"""Waiting for outcomes: pushed by hints, with polling as the net, and never fooled by a look that came too early."""

from __future__ import annotations

import msgspec
import pytest
from anyio import Event, create_task_group, fail_after, move_on_after, to_thread
from anyio.lowlevel import checkpoint
from support import DEADLINE, gather, working

from nursery_tasks import App
from nursery_tasks.errors import BrokerUnavailable, UnknownJob, WaitTimedOut
from nursery_tasks.model.codec import pack_outcome
from nursery_tasks.model.delivery import CancelAnswer, Hint, Stored
from nursery_tasks.model.outcome import Outcome
from nursery_tasks.model.states import JobState
from nursery_tasks.testing import FaultyBroker


@pytest.fixture
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.client.waiting.POLL_SECONDS", 0.05)
    monkeypatch.setattr("nursery_tasks.client.waiting.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("nursery_tasks.worker.intake.POLL_SECONDS", 0.05)


@pytest.mark.usefixtures("quick_polls")
async def test_a_result_is_seen_when_every_hint_is_lost(memory_app: App, faulty: FaultyBroker) -> None:
    @memory_app.task
    async def double(x: int) -> int:
        return 2 * x

    async with working(memory_app):
        faulty.hints = False
        assert await double.run(1) == 2
        assert await gather(*(lambda n=n: double.run(n) for n in range(20))) == [2 * n for n in range(20)]
        assert await (await double.enqueue(4)).result() == 8


@pytest.mark.usefixtures("quick_polls")
async def test_a_look_while_the_job_is_still_on_its_way_is_no_news(memory_app: App, faulty: FaultyBroker) -> None:
    """A poll or a hint may come between the registration of the waiter and the arrival of the job."""

    @memory_app.task
    async def double(x: int) -> int:
        return 2 * x

    results: list[int] = []

    async def run(x: int) -> None:
        results.append(await double.run(x))

    async with working(memory_app), create_task_group() as tg:
        stall = faulty.stall("submit")
        tg.start_soon(run, 3)
        assert await to_thread.run_sync(stall.wait_until_reached)
        looks = faulty.calls["outcomes"]
        while faulty.calls["outcomes"] < looks + 3:
            memory_app.connection.waiter.on_hint("outcome", None)
            await checkpoint()
        stall.release()
    assert results == [6]


async def test_a_look_that_was_sent_before_the_job_is_no_news_either(memory_app: App, faulty: FaultyBroker) -> None:
    @memory_app.task
    async def double(x: int) -> int:
        return 2 * x

    results: list[int] = []

    async def run(x: int) -> None:
        results.append(await double.run(x))

    async with working(memory_app), create_task_group() as tg:
        submit = faulty.stall("submit")
        tg.start_soon(run, 3)
        assert await to_thread.run_sync(submit.wait_until_reached)
        look = faulty.stall("outcomes", effect=True)  # its answer, "not known", is on its way back for a while
        memory_app.connection.waiter.on_hint("outcome", None)
        assert await to_thread.run_sync(look.wait_until_reached)
        submit.release()
        while not all(ticket.sent for [ticket] in memory_app.connection.waiter._tickets.values()):
            await checkpoint()
        look.release()
    assert results == [6]


async def test_an_outcome_that_comes_with_its_hint_is_not_asked_for(memory_app: App, faulty: FaultyBroker) -> None:
    @memory_app.task
    async def double(x: int) -> int:
        return 2 * x

    async with memory_app, create_task_group() as tg:
        job, waiter = await double.enqueue(1), memory_app.connection.waiter
        results: list[int] = []

        async def wait() -> None:
            results.append(await job.result())

        tg.start_soon(wait)
        while not faulty.calls["outcomes"]:
            await checkpoint()
        outcome = Outcome(state=JobState.SUCCEEDED, value=msgspec.Raw(b"2"))
        hint = Hint("outcome", (job.id, "other"), {job.id: Stored(JobState.SUCCEEDED, pack_outcome(outcome))})
        assert waiter.is_wanted(hint)
        waiter.on_hint("outcome", {job.id, "other"})
        with fail_after(DEADLINE):
            while not results:
                await checkpoint()
    assert results == [2]
    assert faulty.calls["outcomes"] == 1
    assert not waiter._told


async def test_a_failure_that_a_late_hint_tells_is_not_believed(memory_app: App, faulty: FaultyBroker) -> None:
    """The job was requeued meanwhile, and who waits for it now wants to know how that ends."""
    go = Event()

    @memory_app.task
    async def double(x: int) -> int:
        await go.wait()
        return 2 * x

    async with working(memory_app), create_task_group() as tg:
        job, waiter = await double.enqueue(2), memory_app.connection.waiter
        results: list[int] = []

        async def wait() -> None:
            results.append(await job.result())

        tg.start_soon(wait)
        while not faulty.calls["outcomes"]:
            await checkpoint()
        failed = Stored(JobState.FAILED, pack_outcome(Outcome(state=JobState.FAILED)))
        assert waiter.is_wanted(Hint("outcome", (job.id,), {job.id: failed}))
        waiter.on_hint("outcome", {job.id})
        while faulty.calls["outcomes"] < 2:
            await checkpoint()
        go.set()
    assert results == [4]


@pytest.mark.usefixtures("quick_polls")
async def test_a_waiter_survives_a_broker_that_is_away_for_a_while(memory_app: App, faulty: FaultyBroker) -> None:
    @memory_app.task
    async def double(x: int) -> int:
        return 2 * x

    async with working(memory_app):
        faulty.fail("outcomes", times=5)
        assert await double.run(4) == 8
    assert faulty.calls["outcomes"] > 5


async def test_an_unknown_id_is_unknown_and_not_pending(app: App) -> None:
    async with app:
        with fail_after(DEADLINE), pytest.raises(UnknownJob, match="no job has the id 'nope'"):
            await app.handle("nope").result(timeout=DEADLINE)
        for ask in (app.handle("nope").status, app.handle("nope").ready, app.handle("nope").progress):
            with pytest.raises(UnknownJob):
                await ask()
        assert await app.handle("nope").cancel() is CancelAnswer.UNKNOWN


async def test_a_wait_that_is_over_says_where_the_job_is_and_that_nobody_works(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app:
        job = await add.enqueue(1, 2)
        with (
            fail_after(DEADLINE),
            pytest.raises(WaitTimedOut, match=r"still ready after 0.05 s; no worker") as caught,
        ):
            await job.result(timeout=0.05)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.job_id, caught.value.task, caught.value.workers) == (job.id, "add", 0)


async def test_a_wait_of_no_time_is_a_look(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with working(app):
        job = await add.enqueue(1, 2)
        assert await job == 3
        assert await job.result(timeout=0) == 3


async def test_giving_up_a_wait_changes_nothing(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app:
        job = await add.enqueue(1, 2)
        with move_on_after(0.01) as scope:
            await job
        assert scope.cancelled_caught
        async with app.open_worker():
            with fail_after(DEADLINE):
                assert await job == 3


async def test_many_may_wait_for_one_job(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app:
        job = await add.enqueue(1, 2)
        async with create_task_group() as tg:
            found: list[int] = []

            async def wait() -> None:
                found.append(await app.handle(job.id))

            for _ in range(50):
                tg.start_soon(wait)
            await checkpoint()
            async with app.open_worker():
                with fail_after(DEADLINE):
                    assert await job == 3
    assert found == [3] * 50


async def test_the_state_of_a_job_cannot_be_told_while_the_broker_is_away(memory_app: App, faulty: FaultyBroker) -> None:
    @memory_app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with memory_app:
        job = await add.enqueue(1, 2)
        with faulty.failing("outcomes"), pytest.raises(BrokerUnavailable):
            await job.status()


async def test_news_that_nobody_waits_for_does_not_wake_the_loop(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with working(app):
        waiter = app.connection.waiter
        assert not waiter.is_wanted(Hint("outcome", ("a", "b")))
        assert not waiter.is_wanted(Hint("outcome"))  # anything
        with waiter.expecting("b", look=False):
            assert waiter.is_wanted(Hint("outcome", ("a", "b")))
            assert waiter.is_wanted(Hint("outcome"))
            assert not waiter.is_wanted(Hint("outcome", ("a", "c")))
        assert await add.run(1, 2) == 3
