"""A broker that is away for a while: nothing is lost, nothing hangs, nothing grows without end."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import anyio
import msgspec
import pytest
from anyio import create_task_group, fail_after, to_thread
from support import DEADLINE, Gate, History, gather, states, until, working

from nursery_tasks import App, JobState, Retry, current_job
from nursery_tasks.errors import BrokerClosed, BrokerUnavailable
from nursery_tasks.events import EventKind
from nursery_tasks.model.codec import pack_outcome
from nursery_tasks.model.delivery import Finished
from nursery_tasks.model.outcome import Outcome
from nursery_tasks.testing import FaultyBroker


@pytest.fixture(autouse=True)
def quick_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.client.waiting.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("nursery_tasks.worker.backoff.FIRST_SECONDS", 0.005)


@pytest.mark.parametrize("method", ["claim", "settle", "sweep", "renew", "outcomes", "beat"])
@pytest.mark.parametrize("effect", [False, True], ids=["not made", "answer lost"])
async def test_calls_that_fail_for_a_while_lose_no_job(
    memory_app: App, faulty: FaultyBroker, method: str, effect: bool
) -> None:
    runs: list[int] = []

    @memory_app.task
    async def double(x: int) -> int:
        runs.append(x)
        await anyio.sleep(0.03 if x % 5 == 0 else 0)
        return 2 * x

    async with working(memory_app, slots=4, lease=0.5, fraction=lambda: 0.0):
        faulty.fail(method, times=3, effect=effect)
        assert await gather(*(lambda n=n: double.run(n) for n in range(40))) == [2 * n for n in range(40)]
    lost_claims = method == "claim" and effect
    assert set(runs) == set(range(40))
    assert lost_claims or len(runs) == 40


async def test_outcomes_are_stored_once_the_broker_is_back(
    memory_app: App, faulty: FaultyBroker, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    @memory_app.task
    async def note(n: int) -> int:
        ran.append(n)
        return n

    async with working(memory_app, slots=2, lease=3600, fraction=lambda: 0.0):
        with faulty.failing("settle"):
            handles = await memory_app.enqueue_many(note.job(n) for n in range(10))
            await until(lambda: len(ran) == 10 and faulty.calls["settle"])
            assert not any([await handle.ready() for handle in handles])
        assert [await handle for handle in handles] == list(range(10))
    messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "cannot store outcomes, and go on trying" in messages[0]
    assert "can store outcomes again" in messages[-1]
    assert len(messages) == 2  # said once, not once per try


async def test_a_call_that_works_now_and_then_does_not_fill_the_log(
    memory_app: App, faulty: FaultyBroker, caplog: pytest.LogCaptureFixture
) -> None:
    end = faulty.before("sweep", _every_other())
    async with working(memory_app, fraction=lambda: 0.0, pace=0.01):
        await until(lambda: faulty.calls["sweep"] >= 40)
    end()
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 2, said
    assert said[0].startswith("cannot sweep, and go on trying")
    assert said[1].startswith("can sweep again")


def _every_other() -> Callable[[object], None]:
    calls = itertools.count()

    def fail(args: object) -> None:
        if next(calls) % 2:
            raise BrokerUnavailable("memory:", "now and then, says the test")

    return fail


async def test_a_program_that_awaits_jobs_says_once_that_the_broker_is_away(
    memory_app: App, faulty: FaultyBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with memory_app:
        handle = await memory_app.job("t").enqueue()
        with faulty.failing("outcomes", "cancel", "renew_owners"):
            async with create_task_group() as waiting:
                waiting.start_soon(handle.result)
                await until(lambda: faulty.calls["outcomes"] > 2)
                waiting.cancel_scope.cancel()
    said = [record.message.partition(", trying again")[0] for record in caplog.records]
    assert said == ["cannot look up the jobs that are awaited"]


def test_a_program_without_a_loop_says_once_that_the_broker_is_away(
    memory_app: App, faulty: FaultyBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.client.sync_handle.POLL_SECONDS", 0.01)
    handle = memory_app.sync.enqueue(memory_app.job("t"))

    def fail(args: object) -> None:
        if faulty.calls["outcomes"] > 3:
            raise BrokerClosed("memory:")  # which ends the wait
        raise BrokerUnavailable("memory:", "it is gone, says the test")

    faulty.before("outcomes", fail)
    with pytest.raises(BrokerClosed):
        handle.result()
    said = [record.message.partition(", trying again")[0] for record in caplog.records]
    assert said == ["cannot look up a job that is awaited"]


async def test_the_outbox_is_bounded_and_then_nothing_new_starts(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.worker.settler.OUTBOX_LIMIT", 20)
    ran = []

    @memory_app.task
    async def note(n: int) -> int:
        ran.append(n)
        return n

    async with working(memory_app, slots=4, lease=3600, fraction=lambda: 0.0):
        with faulty.failing("settle"):
            handles = await memory_app.enqueue_many(note.job(n) for n in range(200))
            await until(lambda: len(ran) >= 20)
            settles = faulty.calls["settle"]
            await until(lambda: faulty.calls["settle"] >= settles + 5)
            assert len(ran) <= 20 + 4
        assert [await handle for handle in handles] == list(range(200))


async def test_an_outbox_of_lost_leases_does_not_stay_full(memory_app: App, faulty: FaultyBroker) -> None:
    history, ran = History(memory_app), []

    @memory_app.task
    async def note() -> int:
        ran.append(1)
        return len(ran)

    async with working(memory_app, slots=2, lease=0.5, fraction=lambda: 0.0):
        with faulty.failing("settle", "renew"):  # but sweeps come through; from before the job is there, which may end at once
            job = await note.enqueue()
            await until(lambda: history.count(EventKind.STALE) >= 1)
        assert await job >= 2  # somebody, here the same worker, ran it again
    stale = {
        event.detail for event in history.events if event.kind is EventKind.STALE
    }  # another may come before the link is back
    assert stale == {"it came too late: its lease was over, and the broker had taken the job back"}


async def test_what_has_ended_is_stored_after_an_outage_that_was_longer_than_its_lease(
    memory_app: App, faulty: FaultyBroker
) -> None:
    """The fence is for handlers; whether an outcome counts is up to the token."""
    history, ran = History(memory_app), []

    @memory_app.task
    async def note(how: str) -> str:
        ran.append(how)
        if how == "retries" and ran.count(how) == 1:
            raise Retry(wait=0)
        if how == "fails":
            raise ValueError(how)
        return how

    async with working(memory_app, slots=4, lease=0.5, fraction=lambda: 0.0):
        with faulty.failing("settle", "renew", "sweep"):
            jobs = await memory_app.enqueue_many(note.job(how) for how in ("returns", "fails", "retries"))
            await until(lambda: len(ran) == 3)
            held = faulty._broker._state.table.held  # type: ignore[attr-defined]
            await until(lambda: all(held[job.id].lease_until < faulty._broker._calls.clock() for job in jobs))  # type: ignore[attr-defined]
        assert await jobs[0] == "returns"
        assert (await jobs[1].outcome()).state is JobState.FAILED
        assert await jobs[2] == "retries"
    assert sorted(ran) == ["fails", "retries", "retries", "returns"]
    assert history.count(EventKind.STALE) == 0


async def test_a_running_handler_is_not_disturbed_by_a_short_outage(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task
    async def hold() -> str:
        await gate.pass_through()
        return "done"

    async with working(memory_app, lease=60, fraction=lambda: 0.0):
        job = await hold.enqueue()
        await gate.wait_for(1)
        with faulty.failing("claim", "settle", "renew", "sweep", "outcomes", "beat", "cancel", "submit"):
            await until(lambda: faulty.calls["sweep"] >= 3 and faulty.calls["claim"] >= 3)
            with pytest.raises(BrokerUnavailable):
                await hold.enqueue()
            gate.open()
        assert await job == "done"
    assert gate.entered == 1


async def test_enqueue_raises_within_its_deadline_when_the_broker_hangs(memory_app: App, faulty: FaultyBroker) -> None:
    task = memory_app.task(name="t")(lambda: 3)
    async with working(memory_app):
        memory_app.connection.gateway.call_seconds = 0.1
        stall = faulty.stall("submit")
        with fail_after(2):
            with pytest.raises(BrokerUnavailable, match=r"no answer to submit within 0\.1 s"):
                await task.enqueue()
            with pytest.raises(BrokerUnavailable, match="an earlier submit has not returned yet"):
                await task.enqueue()
        stall.release()
        memory_app.connection.gateway.call_seconds = DEADLINE
        with fail_after(DEADLINE):
            while True:
                try:
                    assert await task.run() == 3
                    break
                except BrokerUnavailable:
                    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("method", ["claim", "settle", "sweep", "beat"])
async def test_a_call_of_the_worker_that_hangs_is_given_up_and_made_again(
    memory_app: App, faulty: FaultyBroker, method: str
) -> None:
    task = memory_app.task(name="t")(lambda: 3)
    async with memory_app:
        job = await task.enqueue()  # as long as that may take
        memory_app.connection.gateway.call_seconds = 0.05
        stall = faulty.stall(method)
        # What the late claim has taken comes back with its lease.
        async with memory_app.open_worker(fraction=lambda: 0.0, lease=0.5), create_task_group() as tg:

            async def release_later() -> None:
                assert await to_thread.run_sync(stall.wait_until_reached)
                before = sum(faulty.calls.values())
                await until(lambda: sum(faulty.calls.values()) > before)
                stall.release()

            tg.start_soon(release_later)
            with fail_after(DEADLINE):
                assert await job == 3


async def test_an_idle_worker_waits_longer_and_longer_and_comes_back(memory_app: App, faulty: FaultyBroker) -> None:
    task = memory_app.task(name="t")(lambda: 3)
    with faulty.failing("claim", "sweep", "beat"):
        async with working(memory_app, fraction=lambda: 1.0):
            await until(lambda: faulty.calls["claim"] >= 4)
            calls = faulty.calls["claim"]
            assert calls < 50
    async with working(memory_app):
        assert await task.run() == 3


async def test_a_worker_can_be_stopped_while_the_broker_is_away(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.worker.levels.FLUSH_SECONDS", 0.1)
    gate = Gate()

    @memory_app.task
    async def hold() -> None:
        await gate.pass_through()

    @memory_app.task
    async def quick() -> None: ...

    async with memory_app:
        await hold.options(id="running").enqueue()
        with fail_after(5):
            async with memory_app.open_worker(drain=0.05):
                await gate.wait_for(1)
                end = faulty.fail("claim", "settle", "renew", "sweep", "beat")
        assert gate.inside == 0
        end()
        assert states(memory_app)["running"] in (JobState.CLAIMED, JobState.STARTED)  # until its lease is over


async def test_hints_may_all_be_lost(memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.client.waiting.POLL_SECONDS", 0.05)
    monkeypatch.setattr("nursery_tasks.worker.intake.POLL_SECONDS", 0.05)
    monkeypatch.setattr("nursery_tasks.worker.services.SWEEP_SECONDS", 0.05)
    faulty.hints = False
    task = memory_app.task(name="t")(lambda: 3)
    async with working(memory_app):
        assert await task.run() == 3
        assert await task.options(delay=0.05).run() == 3


async def test_a_worker_that_stops_tries_once_more_at_once(memory_app: App, faulty: FaultyBroker) -> None:
    """After a long outage the next try may be half a minute away, and the broker may be back already."""
    ran = anyio.Event()

    @memory_app.task
    async def note() -> None:
        ran.set()

    async with memory_app:
        job = await note.enqueue()
        with fail_after(DEADLINE):
            async with memory_app.open_worker(fraction=lambda: 10_000.0, lease=3600):
                with faulty.failing("settle"):
                    await ran.wait()
                    await until(lambda: faulty.calls["settle"] >= 1)  # other calls that work have it tried again
                    await anyio.wait_all_tasks_blocked()
        assert await job.status() is JobState.SUCCEEDED


@pytest.mark.parametrize("lost", [False, True], ids=["lease kept", "lease lost"])
async def test_an_outcome_that_is_stored_is_not_stale_when_its_answer_was_lost(
    memory_app: App, faulty: FaultyBroker, caplog: pytest.LogCaptureFixture, lost: bool
) -> None:
    history = History(memory_app)

    @memory_app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @memory_app.task(retry=Retry(2, wait=0.01))
    async def fail_once() -> int:
        if current_job().attempt == 1:
            raise ValueError
        return 3

    # A renewal of a job that has ended says that the lease is lost.
    async with working(memory_app, lease=0.5 if lost else 3600, fraction=lambda: 0.0) as worker:
        for task in (add.job(1, 2), fail_once.job()):
            settles, renewals = faulty.calls["settle"], faulty.calls["renew"]
            end = faulty.fail("settle", effect=True)
            job = await task.enqueue()
            await until(lambda settles=settles: faulty.calls["settle"] >= settles + 2)
            if lost:
                await until(lambda renewals=renewals: faulty.calls["renew"] > renewals)
                await until(lambda: not worker._in_flight)
            end()
            await until(lambda: not worker._in_flight)
            assert await job == 3
    assert history.count(EventKind.STALE) == 0


async def test_an_outcome_of_somebody_else_is_stale_also_after_an_outage(memory_app: App, faulty: FaultyBroker) -> None:
    history, gate = History(memory_app), Gate()

    @memory_app.task
    async def who() -> str:
        await gate.pass_through()
        return current_job().worker

    async with working(memory_app, name="first", lease=3600, fraction=lambda: 0.0) as first:
        job = await who.enqueue()
        await gate.wait_for(1)
        [delivery] = [job.delivery for job in first._in_flight.snapshot()]
        other = Outcome(state=JobState.SUCCEEDED, value=msgspec.Raw(b'"somebody else"'))
        faulty.fail("settle", times=1)
        assert faulty._broker.settle([Finished(delivery, JobState.SUCCEEDED, pack_outcome(other))]) == [True]
        gate.open()
        await until(lambda: history.count(EventKind.STALE) >= 1)
        assert await job == "somebody else"


async def test_the_sweeper_does_not_sleep_on_when_the_broker_says_that_it_is_back(
    memory_app: App, faulty: FaultyBroker
) -> None:
    with faulty.failing("sweep", "claim"):
        async with working(memory_app, fraction=lambda: 10_000.0) as worker:  # half a minute, unless it is told
            await until(lambda: worker._sweeper.outage.failing)
            sweeps = faulty.calls["sweep"]
            worker._sweeper.on_due("due", None)
            await until(lambda: faulty.calls["sweep"] > sweeps)


async def test_what_fails_is_tried_again_when_another_call_works(memory_app: App, faulty: FaultyBroker) -> None:
    task = memory_app.task(name="t")(lambda: 3)
    end = faulty.fail("sweep")
    async with working(memory_app, fraction=lambda: 10_000.0) as worker:
        await until(lambda: worker._sweeper.outage.failing)
        end()
        sweeps = faulty.calls["sweep"]
        while faulty.calls["sweep"] == sweeps:
            assert await task.run() == 3  # each of these claims and settles
