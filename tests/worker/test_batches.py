"""Batch tasks: one call for many jobs, each with an end of its own."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import CancelScope, create_task_group, current_time, fail_after
from support import DEADLINE, Gate, History, depth, states, unchecked, until, until_state, working

from nursery_tasks import App, Batch, JobState, Retry, at, check_cancelled, current_job
from nursery_tasks.errors import InvalidArguments, InvalidBatchResult, JobCancelled, JobTimedOut
from nursery_tasks.events import EventKind
from nursery_tasks.model.delivery import CancelAnswer
from nursery_tasks.testing import lab_backend, open_lab

IN_THE_LAB = pytest.mark.parametrize("anyio_backend", [lab_backend()], ids=["lab"])
LONG = 300.0  # seconds that a batch waits that is not to begin by itself
WENT_ON = "its batch had begun, and went on for the others"


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Collecting and sharing out is the worker's: one broker that is called on the loop and one in threads show all of it."""
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"


def calls_of(app: App, size: int, wait: float = LONG, **options: Any) -> tuple[Any, list[list[int]]]:
    """Register a batch task that doubles numbers; returns it, and the list that notes its calls."""
    calls: list[list[int]] = []

    @app.task(batch=Batch(size, wait=wait), **options)
    async def double(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        return [2 * number for number in numbers]

    return double, calls


# --- collecting --------------------------------------------------------------------------------------------------------------


async def test_one_call_gets_as_many_jobs_as_a_batch_has_places(app: App) -> None:
    double, calls = calls_of(app, 10)
    async with working(app, slots=2):
        handles = await app.enqueue_many(double.job(number) for number in range(30))
        assert [await handle for handle in handles] == [2 * number for number in range(30)]
    assert sorted(len(call) for call in calls) == [10, 10, 10]
    assert sorted(number for call in calls for number in call) == list(range(30))


async def test_a_batch_that_does_not_get_full_begins_when_its_time_has_come(app: App) -> None:
    double, calls = calls_of(app, 100, wait=0.05)
    async with working(app):
        handles = await app.enqueue_many(double.job(number) for number in range(3))
        assert [await handle for handle in handles] == [0, 2, 4]
        assert await double.run(numbers=5) == 10
    assert calls == [[0, 1, 2], [5]]


@IN_THE_LAB
async def test_runs_of_schedules_see_their_slots() -> None:
    app, moment = App("memory:"), datetime(2030, 1, 1, 1, tzinfo=UTC)  # an hour after the lab begins
    seen: list[tuple[str, datetime | None]] = []
    first: list[datetime | None] = []

    @app.task(batch=Batch(3, wait=LONG))
    async def note(numbers: list[int]) -> None:
        seen.extend((job.id, job.slot) for job in current_job().batch)
        first.append(current_job().slot)

    async with open_lab(app):
        for number in range(2):
            await app.schedules.put(f"run-{number}", note.job(number), at(moment))
        await anyio.sleep(3600)
        by_hand = await note.enqueue(2)
        await by_hand
    assert {job_id.partition("@")[0]: slot for job_id, slot in seen} == {"run-0": moment, "run-1": moment, by_hand.id: None}
    assert first == [seen[0][1]]


@IN_THE_LAB
async def test_the_time_of_a_batch_counts_from_its_first_job() -> None:
    app = App("memory:")
    began: list[tuple[float, int]] = []

    @app.task(batch=Batch(100, wait=10))
    async def note(numbers: list[int]) -> None:
        began.append((lab.elapsed_seconds, len(numbers)))
        await anyio.sleep(3)

    async with open_lab(app) as lab:
        first = await note.enqueue(1)
        await anyio.sleep(9)
        second = await note.enqueue(2)
        await anyio.sleep(2)
        third = await note.enqueue(3)  # the first batch runs: this is another one
        assert [await job for job in (first, second, third)] == [None, None, None]
        assert lab.elapsed_seconds == pytest.approx(24)
        assert lab.history(third.id) == [EventKind.QUEUED, EventKind.STARTED, EventKind.SUCCEEDED]
    assert [round(at) for at, _ in began] == [10, 21]
    assert [size for _, size in began] == [2, 1]


async def test_collecting_takes_no_slot(app: App) -> None:
    double, calls = calls_of(app, 3)

    @app.task
    async def other() -> str:
        return "done"

    async with working(app, slots=1) as worker:
        first = await app.enqueue_many([double.job(1), double.job(2)])
        await until(lambda: "double" in worker._collecting.open and worker._collecting.open["double"].places == 1)
        assert await other.run() == "done"
        assert worker.running == []
        assert await double.run(3) == 6
        assert [await job for job in first] == [2, 4]
    assert calls == [[1, 2, 3]]


async def test_several_batches_of_a_task_run_at_once_and_no_more_is_collected_than_one(app: App) -> None:
    gate = Gate()

    @app.task(batch=Batch(5, wait=LONG))
    async def hold(numbers: list[int]) -> list[int]:
        await gate.pass_through()
        return numbers

    async with working(app, slots=3) as worker:
        handles = await app.enqueue_many(hold.job(number) for number in range(30))
        await gate.wait_for(3)
        assert len(worker.running) == 15
        assert sum(len(batch.members) for batch in worker._collecting.open.values()) < 5
        gate.open()
        assert [await handle for handle in handles] == list(range(30))
    assert (gate.most, gate.entered) == (3, 6)


async def test_a_handler_may_wait_for_a_batch_in_the_only_slot(app: App) -> None:
    double, _ = calls_of(app, 10, wait=0.01)

    @app.task
    async def parent() -> int:
        return sum([await double.run(number) for number in (1, 2)])

    async with working(app, slots=1):
        assert await parent.run() == 6


async def test_a_batch_may_wait_for_other_jobs_in_the_only_slot(app: App) -> None:
    double, _ = calls_of(app, 10, wait=0.01)

    @app.task(batch=Batch(2, wait=LONG))
    async def parent(numbers: list[int]) -> list[int]:
        return [await double.run(number) for number in numbers]

    async with working(app, slots=1), create_task_group() as tg:
        tg.start_soon(parent.run, 1)
        assert await parent.run(2) == 4


async def test_tasks_in_threads_and_without_annotations_have_batches(app: App) -> None:
    threads = set[int]()

    @app.task(batch=Batch(2, wait=LONG))
    def shout(texts):  # type: ignore[no-untyped-def]
        threads.add(threading.get_ident())
        check_cancelled()
        return [text.upper() for text in texts]

    async with working(app):
        handles = await app.enqueue_many([shout.job("a"), shout.job("b")])
        assert [await handle for handle in handles] == ["A", "B"]
    assert threading.get_ident() not in threads


# --- outcomes ----------------------------------------------------------------------------------------------------------------


async def test_an_exception_in_the_list_is_the_failure_of_its_job_alone(app: App) -> None:
    attempts: list[list[tuple[int, int]]] = []

    @app.task(batch=Batch(3, wait=0.02), retry=Retry(3, on=(OSError,), wait=0.01))
    async def send(numbers: list[int]) -> list[str | Exception]:
        jobs = current_job().batch
        attempts.append([(number, job.attempt) for number, job in zip(numbers, jobs, strict=True)])
        return [_sent(number, job.attempt) for number, job in zip(numbers, jobs, strict=True)]

    def _sent(number: int, attempt: int) -> str | Exception:
        if number == 1 and attempt < 3:
            return OSError("away")
        return ValueError("never") if number == 2 else f"sent {number}"

    async with working(app):
        handles = await app.enqueue_many(send.job(number) for number in range(3))
        assert await handles[0] == "sent 0"
        assert await handles[1] == "sent 1"
        with pytest.raises(ValueError, match="never"):
            await handles[2]
        assert [(await handle.outcome()).attempt for handle in handles] == [1, 3, 1]
    assert attempts == [[(0, 1), (1, 1), (2, 1)], [(1, 2)], [(1, 3)]]


async def test_none_from_the_call_is_the_success_of_all(app: App) -> None:
    @app.task(batch=Batch(2, wait=LONG))
    async def note(numbers: list[int]) -> None: ...

    async with working(app):
        assert [await handle for handle in await app.enqueue_many([note.job(1), note.job(2)])] == [None, None]


@pytest.mark.parametrize(
    ("result", "came"), [([1], "a list of 1"), ([1, 2, 3], "a list of 3"), ((1, 2), "a value of type tuple")]
)
async def test_what_cannot_be_shared_out_is_a_failure_of_all(app: App, result: Any, came: str) -> None:
    @app.task(batch=Batch(2, wait=LONG))
    async def wrong(numbers: list[int]) -> list[int]:
        return result  # type: ignore[no-any-return]

    async with working(app):
        for handle in await app.enqueue_many([wrong.job(1), wrong.job(2)]):
            with pytest.raises(InvalidBatchResult, match=re.escape(f"wrong returned {came} for 2 jobs: expected a list of 2")):
                await handle


async def test_what_the_call_raises_is_the_failure_of_each_job_by_its_own_policy(app: App) -> None:
    calls: list[list[int]] = []

    @app.task(batch=Batch(2, wait=0.02))
    async def fail(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        raise OSError("away")

    async with working(app):
        handles = await app.enqueue_many([fail.job(1), fail.options(retry=Retry(2, wait=0.01)).job(2)])
        for handle in handles:
            with pytest.raises(OSError, match="away"):
                await handle
        assert [(await handle.outcome()).attempt for handle in handles] == [1, 2]
    assert calls == [[1, 2], [2]]


async def test_a_result_that_cannot_travel_fails_its_job_alone(app: App) -> None:
    @app.task(batch=Batch(2, wait=LONG))
    async def make(numbers: list[int]) -> list[Any]:
        return [1, object()]

    async with working(app):
        good, bad = await app.enqueue_many([make.job(1), make.job(2)])
        assert await good == 1
        with pytest.raises(TypeError, match="the result of make"):
            await bad


async def test_an_argument_that_does_not_fit_fails_its_job_alone(app: App) -> None:
    double, calls = calls_of(app, 2)
    async with working(app):
        first, wrong, second = await app.enqueue_many([double.job(1), unchecked(app, "double", "x"), double.job(2)])
        assert (await first, await second) == (2, 4)
        with pytest.raises(InvalidArguments, match=r"argument .numbers.*the task is double\(numbers: one of list\[int\]\)"):
            await wrong
    assert calls == [[1, 2]]


async def test_the_handler_sees_its_jobs_and_what_it_says_of_its_progress_is_said_of_all(app: App) -> None:
    gate, seen = Gate(), []

    @app.task(batch=Batch(2, wait=LONG))
    async def look(numbers: list[int]) -> None:
        job = current_job()
        seen.append(job)
        job.progress({"done": len(numbers)})
        await gate.pass_through()

    async with working(app, name="here"):
        handles = await app.enqueue_many([look.options(tags=["red"]).job(1), look.job(2)])
        for handle in handles:
            while await handle.progress() != {"done": 2}:  # noqa: ASYNC110 - as in `until`
                await anyio.sleep(0.005)
        gate.open()
        for handle in handles:
            await handle
    (job,) = seen
    assert [each.id for each in job.batch] == [handle.id for handle in handles]
    assert (job.id, job.tags, job.worker, job.task) == (handles[0].id, ("red",), "here", "look")
    assert job.batch[1].tags == ()


# --- cancels and time limits -------------------------------------------------------------------------------------------------


async def test_a_job_that_is_collected_is_cancelled_at_once(app: App) -> None:
    double, calls = calls_of(app, 3)
    async with working(app) as worker:
        jobs = await app.enqueue_many([double.job(1), double.job(2)])
        await until(lambda: "double" in worker._collecting.open and worker._collecting.open["double"].places == 1)
        assert await jobs[0].cancel("not needed") in (CancelAnswer.REQUESTED, CancelAnswer.CANCELLED)
        with pytest.raises(JobCancelled, match=r"was cancelled: not needed$"):
            await jobs[0]
        more = await app.enqueue_many([double.job(3), double.job(4)])
        assert [await job for job in (jobs[1], *more)] == [4, 6, 8]
    assert calls == [[2, 3, 4]]


async def test_nothing_runs_of_a_batch_whose_jobs_were_all_cancelled_before(app: App) -> None:
    double, calls = calls_of(app, 3)
    async with working(app) as worker:
        job = await double.enqueue(1)
        await until(lambda: worker._collecting.open)
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job
        assert worker._collecting.open == {}
        assert [await job for job in await app.enqueue_many(double.job(n) for n in (2, 3, 4))] == [4, 6, 8]
    assert calls == [[2, 3, 4]]


async def test_a_job_that_is_cancelled_in_a_running_batch_ends_with_it(app: App) -> None:
    gate = Gate()

    @app.task(batch=Batch(2, wait=LONG))
    async def hold(numbers: list[int]) -> list[int]:
        await gate.pass_through()
        return numbers

    async with working(app) as worker:
        first, second = await app.enqueue_many([hold.job(1), hold.job(2)])
        await gate.wait_for(1)
        assert await first.cancel("enough", wait=0) is CancelAnswer.REQUESTED
        await until(lambda: any(job.cancelled for job in worker._in_flight.snapshot()))
        assert await first.status() is JobState.STARTED
        gate.open()
        assert await second == 2
        with pytest.raises(JobCancelled) as caught:
            await first
        assert caught.value.reason == f"enough ({WENT_ON})"
        await until(lambda: worker.running == [])


async def test_the_call_is_cancelled_when_none_of_its_jobs_is_wanted_any_more(app: App) -> None:
    gate = Gate()

    @app.task(batch=Batch(2, wait=LONG))
    async def hold(numbers: list[int]) -> None:
        await gate.pass_through()

    async with working(app):
        jobs = await app.enqueue_many([hold.job(1), hold.job(2)])
        await gate.wait_for(1)
        for job in jobs:
            await job.cancel("enough", wait=0)
        for job in jobs:
            with pytest.raises(JobCancelled) as caught:
                await job
            assert caught.value.reason == "enough"
    assert gate.inside == 0


async def test_a_caller_who_goes_away_cancels_its_own_job_alone(app: App) -> None:
    gate, scope = Gate(), CancelScope()

    @app.task(batch=Batch(2, wait=LONG))
    async def hold(numbers: list[int]) -> list[int]:
        await gate.pass_through()
        return numbers

    async def impatient() -> None:
        with scope:
            await hold.run(1)

    async with working(app) as worker:
        async with create_task_group() as tg:
            tg.start_soon(impatient)
            await until(lambda: worker._collecting.open)
            other = await hold.enqueue(2)
            await gate.wait_for(1)
            scope.cancel()
            await until(lambda: any(job.cancelled for job in worker._in_flight.snapshot()))
            gate.open()
            assert await other == 2
        assert sorted(states(app).values()) == [JobState.CANCELLED, JobState.SUCCEEDED]


@IN_THE_LAB
async def test_the_call_goes_on_until_the_last_callers_deadline() -> None:
    app, ended = App("memory:"), []

    @app.task(batch=Batch(2, wait=LONG))
    async def hold(numbers: list[int]) -> None:
        try:
            await anyio.sleep(3600)
        finally:
            ended.append(lab.elapsed_seconds)

    async def caller(seconds: float) -> None:
        with pytest.raises(TimeoutError), fail_after(seconds):
            await hold.run(1)

    async with open_lab(app) as lab, create_task_group() as tg:
        tg.start_soon(caller, 5)
        tg.start_soon(caller, 9)
    assert ended == [pytest.approx(9)]


async def test_the_time_limit_is_that_of_the_call(app: App) -> None:
    @app.task(batch=Batch(2, wait=LONG), timeout=0.05)
    async def hold(numbers: list[int]) -> None:
        await anyio.sleep_forever()

    async with working(app):
        for job in await app.enqueue_many([hold.job(1), hold.job(2)]):
            with pytest.raises(JobTimedOut):
                await job


async def test_the_jobs_of_a_handler_that_does_not_end_have_failed_when_their_time_is_over(app: App) -> None:
    history, release = History(app), anyio.Event()

    @app.task(batch=Batch(2, wait=LONG), timeout=0.05, retry=5)
    async def stubborn(numbers: list[int]) -> list[int]:
        with CancelScope(shield=True):
            await release.wait()
        return numbers

    async with working(app, cleanup=0.1) as worker:
        jobs = await app.enqueue_many([stubborn.job(1), stubborn.job(2)])
        for job in jobs:
            with pytest.raises(JobTimedOut):
                await job
            assert EventKind.UNRESPONSIVE in history.of(job.id)
        assert set(worker.unfinished) == {job.id for job in jobs}
        release.set()
        await until(lambda: not worker.unfinished)
        assert list(states(app).values()) == [JobState.FAILED, JobState.FAILED]


# --- stopping, leases and deaths ----------------------------------------------------------------------------------------------


async def test_what_is_collected_is_given_back_when_the_worker_stops_and_what_runs_may_end(app: App) -> None:
    gate = Gate()

    @app.task(batch=Batch(2, wait=LONG))
    async def hold(numbers: list[int]) -> list[int]:
        await gate.pass_through()
        return numbers

    with fail_after(DEADLINE):
        async with app:
            async with app.open_worker() as worker:
                jobs = await app.enqueue_many([hold.job(number) for number in range(3)])
                await gate.wait_for(1)
                await until(lambda: worker._collecting.open)
                worker.stop()
                await until(lambda: depth(app) == 1)
                gate.open()
            assert [await job for job in jobs[:2]] == [0, 1]
            assert await jobs[2].status() is JobState.READY


async def test_the_jobs_of_an_interrupted_batch_go_back_and_no_attempt_counts(app: App) -> None:
    gate = Gate()

    @app.task(batch=Batch(2, wait=LONG))
    async def hold(numbers: list[int]) -> list[int]:
        await gate.pass_through()
        return numbers

    with fail_after(DEADLINE):
        async with app:
            async with app.open_worker(drain=0) as worker:
                jobs = await app.enqueue_many([hold.job(1), hold.job(2)])
                await gate.wait_for(1)
                cancelled = jobs[0]
                await cancelled.cancel("enough", wait=0)
                await until(lambda: any(job.cancelled for job in worker._in_flight.snapshot()))
            assert worker.interrupted == 1
            await until_state(app, cancelled.id, JobState.CANCELLED)
            assert depth(app) == 1
            await jobs[1].cancel()


async def test_what_is_delivered_at_most_once_is_dead_when_its_batch_is_interrupted_and_the_others_go_back(app: App) -> None:
    gate = Gate()

    @app.task(batch=Batch(2, wait=LONG))
    async def hold(numbers: list[int]) -> None:
        await gate.pass_through()

    with fail_after(DEADLINE):
        async with app:
            async with app.open_worker(drain=0) as worker:
                once, other = await app.enqueue_many([hold.options(delivery="at_most_once").job(1), hold.job(2)])
                await gate.wait_for(1)
                assert await once.status() is JobState.STARTED  # that was stored before the call
            assert worker.interrupted == 2
            await until_state(app, once.id, JobState.DEAD)
            assert depth(app) == 1
            await other.cancel()


async def test_a_job_whose_lease_is_lost_is_not_stored_and_the_others_are(app: App) -> None:
    gate = Gate()

    @app.task(batch=Batch(2, wait=LONG))
    async def hold(numbers: list[int]) -> list[int]:
        await gate.pass_through()
        return numbers

    async with working(app) as worker:
        lost, kept = await app.enqueue_many([hold.job(1), hold.job(2)])
        await gate.wait_for(1)
        (job,) = worker._in_flight.find([lost.id])
        job.refuse()  # what the lease keeper does
        gate.open()
        assert await kept == 2
        await until(lambda: worker._collecting.open)  # it has come back, and is collected again
        assert not await lost.ready()
        await lost.cancel()


async def test_jobs_on_which_two_leases_have_run_out_come_one_at_a_time(app: App) -> None:
    double, calls = calls_of(app, 3)
    async with app:
        jobs = await app.enqueue_many(double.job(number) for number in (1, 2))
        broker = app.connection.gateway.broker
        for _ in range(2):
            taken = broker.claim(["default"], 10, "dead", 0.0, app.registry.known)
            assert len(taken) == 2
            await until(lambda: broker.sweep(100).returned or depth(app) == 2)
        async with app.open_worker():
            with fail_after(DEADLINE):
                assert [await job for job in jobs] == [2, 4]
    assert sorted(calls) == [[1], [2]]


async def test_a_worker_that_is_to_be_replaced_after_so_many_jobs_counts_those_in_batches(app: App) -> None:
    asked: list[Any] = []
    double, calls = calls_of(app, 2)
    async with working(app, slots=1, max_jobs=4, fraction=lambda: 0.0, on_recycle=lambda *a: asked.append(a)) as worker:
        jobs = await app.enqueue_many(double.job(number) for number in range(4))
        assert [await job for job in jobs] == [0, 2, 4, 6]
        await until(lambda: asked)
        assert worker.recycling == "it has begun 4 of 4 jobs"
    assert len(calls) == 2


async def test_plain_jobs_do_not_wait_behind_an_open_batch(app: App) -> None:
    """A claim may bring as many jobs more as a batch has places; what no slot takes goes back to the queue."""
    double, calls = calls_of(app, 50)
    gate = Gate()

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with working(app, slots=2) as worker:
        first = await double.enqueue(1)
        await until(lambda: worker._collecting.open)
        held = await app.enqueue_many(hold.job() for _ in range(10))
        await gate.wait_for(2)
        began = current_time()
        await until(lambda: len(worker._hand_over) == 0)
        assert current_time() - began < DEADLINE
        gate.open()
        for job in held:
            await job
        await first.cancel()
    assert (gate.most, calls) == (2, [])
