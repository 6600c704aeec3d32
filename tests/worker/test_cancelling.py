"""Cancelling: jobs that wait, jobs that run, jobs that are owned, and what comes between."""

from __future__ import annotations

import threading

import anyio
import pytest
from anyio import CancelScope, create_task_group, fail_after, move_on_after, to_thread
from support import DEADLINE, Gate, History, admin, states, until, until_state, working

from nursery_tasks import App, JobState, check_cancelled, current_job
from nursery_tasks.errors import JobCancelled, JobStillRunning
from nursery_tasks.events import EventKind
from nursery_tasks.model.delivery import CancelAnswer, Started
from nursery_tasks.testing import FaultyBroker, lab_backend, open_lab

IN_THE_LAB = pytest.mark.parametrize("anyio_backend", [lab_backend()], ids=["lab"])  # where no pause uses up a timeout

# --- jobs that wait ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 3600], ids=["queued", "delayed"])
async def test_a_job_that_is_cancelled_before_its_start_never_starts(app: App, delay: float) -> None:
    ran: list[str] = []

    @app.task
    async def note() -> None:
        ran.append(current_job().id)

    async with app:
        job = await note.options(delay=delay).enqueue()
        assert await job.cancel("not needed") is CancelAnswer.CANCELLED
        async with app.open_worker():
            other = await note.enqueue()
            with fail_after(DEADLINE):
                await other
                with pytest.raises(JobCancelled, match="was cancelled: not needed") as caught:
                    await job
        assert caught.value.reason == "not needed"
        assert (await job.outcome()).reason == "not needed"
        assert await job.cancel("again") is CancelAnswer.FINISHED
    assert ran == [other.id]


# --- jobs that run -----------------------------------------------------------------------------------------------------------


async def test_a_running_job_is_cancelled_with_everything_that_it_started(app: App) -> None:
    gate, cleaned = Gate(), []

    @app.task
    async def parent() -> None:
        try:
            async with create_task_group() as tg:
                for _ in range(5):
                    tg.start_soon(gate.pass_through)
        finally:
            cleaned.append(True)

    async with working(app):
        job = await parent.enqueue()
        await gate.wait_for(5)
        assert await job.cancel("enough") is CancelAnswer.CANCELLED
        assert (gate.inside, cleaned) == (0, [True])  # gone by the time that cancel() returns
        outcome = await job.outcome()
    assert (outcome.state, outcome.reason, outcome.attempt) == (JobState.CANCELLED, "enough", 1)


async def test_a_reason_is_no_must(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        job = await hang.enqueue()
        await gate.wait_for(1)
        assert await job.cancel() is CancelAnswer.CANCELLED
        with pytest.raises(JobCancelled) as caught:
            await job
    assert caught.value.reason is None


async def test_a_handler_that_finishes_in_spite_of_the_cancel_has_succeeded(app: App) -> None:
    gate = Gate()

    @app.task
    async def stubborn() -> str:
        with CancelScope(shield=True):
            await gate.pass_through()
        return "done"

    async with working(app):
        job = await stubborn.enqueue()
        await gate.wait_for(1)
        assert await job.cancel(wait=0) is CancelAnswer.REQUESTED
        gate.open()
        assert await job == "done"
        assert await job.cancel() is CancelAnswer.FINISHED


async def test_what_the_clean_up_raises_is_told_beside_the_cancel(app: App) -> None:
    gate = Gate()

    @app.task
    async def clumsy() -> None:
        try:
            await gate.pass_through()
        finally:
            raise ValueError("dropped it")

    async with working(app):
        job = await clumsy.enqueue()
        await gate.wait_for(1)
        assert await job.cancel("enough") is CancelAnswer.CANCELLED
        outcome = await job.outcome()
    assert (outcome.state, outcome.reason) == (JobState.CANCELLED, "enough")
    assert outcome.error is not None
    assert outcome.error.text == "dropped it"


async def test_a_cancelled_job_is_not_tried_again(app: App) -> None:
    gate = Gate()

    @app.task(retry=5)
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        job = await hang.enqueue()
        await gate.wait_for(1)
        await job.cancel()
        assert (await job.outcome()).state is JobState.CANCELLED
    assert gate.entered == 1


async def test_a_job_in_a_thread_leaves_when_it_looks(app: App) -> None:
    inside, left = threading.Event(), threading.Event()

    @app.task
    def loop() -> None:
        inside.set()
        try:
            while True:
                check_cancelled()
                left.wait(0.001)
        finally:
            left.set()

    async with working(app):
        job = await loop.enqueue()
        assert await to_thread.run_sync(inside.wait, DEADLINE)
        assert await job.cancel("enough") is CancelAnswer.CANCELLED
        assert left.is_set()


async def test_one_cancel_does_not_touch_the_neighbours(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang(number: int) -> int:
        await gate.pass_through()
        return number

    async with working(app, slots=10):
        handles = await app.enqueue_many(hang.job(n) for n in range(10))
        await gate.wait_for(10)
        await handles[4].cancel()
        assert gate.inside == 9
        gate.open()
        assert [await handle for n, handle in enumerate(handles) if n != 4] == [n for n in range(10) if n != 4]


async def test_a_hundred_running_jobs_are_cancelled_together(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app, slots=100):
        handles = await app.enqueue_many(hang.job() for _ in range(100))
        await gate.wait_for(100)
        async with create_task_group() as tg:
            for handle in handles:
                tg.start_soon(handle.cancel, "all of you")
        assert gate.inside == 0
        assert set(states(app).values()) == {JobState.CANCELLED}


# --- owned jobs --------------------------------------------------------------------------------------------------------------


async def test_an_owned_job_is_gone_when_its_scope_is_left(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        with move_on_after(DEADLINE) as scope:
            async with create_task_group() as tg:
                tg.start_soon(hang.options(id="owned").run)
                await gate.wait_for(1)
                scope.cancel()
        assert gate.inside == 0
        outcome = await app.handle("owned").outcome()
        assert (outcome.state, outcome.reason) == (JobState.CANCELLED, "its caller went away")


async def test_the_failure_of_one_owned_job_cancels_its_siblings(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    @app.task
    async def fail() -> None:
        await gate.wait_for(9)
        raise ValueError("one of ten")

    async with working(app, slots=10):
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the whole nursery is the statement
            async with create_task_group() as tg:
                for _ in range(9):
                    tg.start_soon(hang.run)
                tg.start_soon(fail.run)
        assert [str(error) for error in caught.value.exceptions] == ["one of ten"]
        assert gate.inside == 0
        assert sorted(states(app).values()) == [JobState.CANCELLED] * 9 + [JobState.FAILED]


async def test_an_owned_job_that_still_waits_never_starts_when_its_scope_is_left(app: App) -> None:
    ran: list[int] = []

    @app.task
    async def note() -> None:
        ran.append(1)

    async with app:
        with move_on_after(DEADLINE):
            async with create_task_group() as tg:
                tg.start_soon(note.options(id="owned").run)
                await until(lambda: states(app))
                tg.cancel_scope.cancel()
        assert states(app) == {"owned": JobState.CANCELLED}
    assert ran == []


async def test_a_scope_that_is_cancelled_already_sends_nothing(app: App) -> None:
    @app.task
    async def note() -> None: ...

    async with app:
        with CancelScope() as scope:
            scope.cancel()
            with fail_after(DEADLINE):
                await note.run()
        assert scope.cancelled_caught
        assert states(app) == {}


async def test_a_detached_job_outlives_its_caller(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> str:
        await gate.pass_through()
        return "done"

    async with working(app):
        with move_on_after(DEADLINE) as scope:
            job = await hang.enqueue()
            await gate.wait_for(1)
            scope.cancel()
            await job
        assert scope.cancelled_caught
        assert gate.inside == 1
        gate.open()
        assert await job == "done"


async def test_jobs_within_jobs_are_cancelled_with_their_owner(app: App) -> None:
    gate = Gate()

    @app.task
    async def leaf() -> None:
        await gate.pass_through()

    @app.task
    async def branch() -> None:
        async with create_task_group() as tg:
            tg.start_soon(leaf.run)
            tg.start_soon(leaf.run)

    @app.task
    async def root() -> None:
        async with create_task_group() as tg:
            tg.start_soon(branch.run)
            tg.start_soon(branch.run)

    async with working(app, slots=10):
        job = await root.enqueue()
        await gate.wait_for(4)
        assert await job.cancel() is CancelAnswer.CANCELLED
        assert gate.inside == 0
        assert list(states(app).values()) == [JobState.CANCELLED] * 7


async def test_who_is_cancelled_does_not_wait_for_a_broker_that_is_away(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task
    async def hang() -> None:
        await gate.pass_through()

    async def left_with_an_error() -> None:
        with pytest.raises(JobStillRunning, match="it will be cancelled when the broker is back"):
            await hang.run()

    async with working(memory_app):
        with faulty.failing("cancel"), fail_after(DEADLINE) as limit:
            async with create_task_group() as tg:
                tg.start_soon(left_with_an_error)
                await gate.wait_for(1)
                limit.deadline = anyio.current_time() + 1
                tg.cancel_scope.cancel()
        assert gate.inside == 1  # nobody could be told
        gate.open()


# --- races -------------------------------------------------------------------------------------------------------------------


async def test_a_cancel_while_the_claim_is_on_its_way_back_is_seen_at_once(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task
    async def hang() -> None:
        await gate.pass_through()

    async with memory_app:
        job = await hang.enqueue()
        stall = faulty.stall("claim", effect=True)
        async with memory_app.open_worker(lease=3600):
            assert await to_thread.run_sync(stall.wait_until_reached)
            assert await job.status() is JobState.CLAIMED
            answers: list[CancelAnswer] = []

            async def cancel() -> None:  # also without a wait it is not answered while the handler may yet start
                answers.append(await job.cancel("early", wait=0))

            async with create_task_group() as tg:
                tg.start_soon(cancel)
                await anyio.wait_all_tasks_blocked()
                assert not answers
                stall.release()
            assert answers == [CancelAnswer.CANCELLED]
            with pytest.raises(JobCancelled, match="early"):
                await job.result(timeout=DEADLINE)
    assert gate.inside == 0


async def test_a_cancel_while_the_start_is_being_stored_keeps_the_handler_from_starting(
    memory_app: App, faulty: FaultyBroker
) -> None:
    ran: list[int] = []

    @memory_app.task
    async def note() -> None:
        ran.append(1)

    async with memory_app:
        job = await note.enqueue()
        [delivery] = faulty.claim(["default"], 1, "dead worker", 0.0)  # its lease is over at once
        faulty.settle([Started(delivery)])
        faulty.sweep(10)
        stall = faulty.stall("settle", effect=True)
        with fail_after(DEADLINE):
            async with memory_app.open_worker(lease=3600) as worker:
                assert await to_thread.run_sync(stall.wait_until_reached)
                assert await job.cancel("early", wait=0) is CancelAnswer.REQUESTED
                await until(lambda: worker._in_flight.snapshot()[0].cancelled)
                stall.release()
                with pytest.raises(JobCancelled, match="early"):
                    await job
    assert ran == []


async def test_a_cancel_whose_hint_is_lost_is_seen_with_the_next_renewal(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(memory_app, lease=0.5):
        job = await hang.enqueue()
        await gate.wait_for(1)
        faulty.hints = False
        memory_app.connection.waiter.poll_seconds = 0.05
        await job.cancel("quietly", wait=0)
        await until(lambda: gate.inside == 0)
        await until_state(memory_app, job.id, JobState.CANCELLED)


async def test_a_cancel_that_cannot_be_looked_up_now_is_seen_later(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(memory_app, lease=0.5):
        job = await hang.enqueue()
        await gate.wait_for(1)
        faulty.fail("renew", times=1)
        assert await job.cancel("later") is CancelAnswer.CANCELLED
    assert gate.inside == 0


async def test_a_retry_of_a_job_that_was_cancelled_meanwhile_is_its_end(app: App) -> None:
    gate = Gate()

    @app.task(retry=5)
    async def fail() -> None:
        with CancelScope(shield=True):
            await gate.pass_through()
        raise ValueError("again")

    async with working(app):
        job = await fail.enqueue()
        await gate.wait_for(1)
        assert await job.cancel("enough", wait=0) is CancelAnswer.REQUESTED
        gate.open()
        assert (await job.outcome()).state is JobState.CANCELLED
    assert gate.entered == 1


async def test_the_reason_that_we_use_ourselves_is_no_magic_word(app: App) -> None:
    gate, history = Gate(), History(app)

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        job = await hang.enqueue()
        await gate.wait_for(1)
        assert await job.cancel("lease lost") is CancelAnswer.CANCELLED
        assert sorted(history.of(job.id)) == [EventKind.CANCELLED, EventKind.QUEUED, EventKind.STARTED]
        assert admin(app).job(job.id).attempts == 1


@IN_THE_LAB
@pytest.mark.parametrize("raises", [False, True], ids=["quietly", "with an error"])
async def test_a_cancelled_handler_is_cancelled_also_when_its_clean_up_outlasts_its_timeout(
    memory_app: App, raises: bool
) -> None:
    gate = Gate()

    @memory_app.task(timeout=0.2)
    async def hang() -> None:
        try:
            await gate.pass_through()
        finally:
            with CancelScope(shield=True):
                await anyio.sleep(0.3)
            if raises:
                raise ValueError("in its clean-up")

    async with open_lab(memory_app):
        job = await hang.enqueue()
        await gate.wait_for(1)
        assert await job.cancel("not needed") is CancelAnswer.CANCELLED
        assert (await job.outcome()).reason == "not needed"


@IN_THE_LAB
async def test_an_interrupted_job_goes_back_also_when_its_clean_up_outlasts_its_timeout(memory_app: App) -> None:
    gate = Gate()

    @memory_app.task(timeout=0.2, queue="apart")
    async def hang() -> None:
        try:
            await gate.pass_through()
        finally:
            with CancelScope(shield=True):
                await anyio.sleep(0.3)

    async with open_lab(memory_app, queues=["default"]):
        async with memory_app.open_worker(queues=["apart"], drain=0):
            job = await hang.enqueue()
            await gate.wait_for(1)
        assert await job.status() is JobState.READY
