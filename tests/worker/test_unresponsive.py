"""Handlers that do not end when they are told to: what is said of them, and what they cost."""

from __future__ import annotations

import logging
import threading
from typing import Any

import anyio
import pytest
from anyio import CancelScope, fail_after, get_cancelled_exc_class
from support import DEADLINE, Gate, History, admin, until, until_state, working

from nursery_tasks import App, JobState, check_cancelled
from nursery_tasks.errors import JobCancelled, JobStillRunning, JobTimedOut
from nursery_tasks.events import EventKind
from nursery_tasks.model.delivery import CancelAnswer

CLEANUP = 0.2


class Stubborn:
    """A handler in a shield or a thread, that ends when the test lets it."""

    def __init__(self, app: App, kind: str) -> None:
        self.release = threading.Event()
        self.entered = threading.Event()

        async def in_loop() -> str:
            self.entered.set()
            with CancelScope(shield=True):
                await until(self.release.is_set)
            await anyio.lowlevel.checkpoint()
            return "ended"

        def in_thread() -> str:
            self.entered.set()
            self.release.wait(DEADLINE)
            check_cancelled()
            return "ended"

        self.task: Any = app.task(name="stubborn")(in_loop if kind == "loop" else in_thread)


@pytest.fixture(params=["loop", "thread"])
def stubborn(request: pytest.FixtureRequest, app: App) -> Stubborn:
    return Stubborn(app, request.param)


async def test_a_cancelled_handler_that_does_not_end_is_unresponsive_until_it_does(app: App, stubborn: Stubborn) -> None:
    history = History(app)
    async with working(app, slots=2, cleanup=CLEANUP) as worker:
        job = await stubborn.task.enqueue()
        await until(stubborn.entered.is_set)
        assert await job.cancel("enough") is CancelAnswer.UNRESPONSIVE
        record = admin(app).job(job.id)
        assert (record.state, record.unresponsive) == (JobState.STARTED, True)
        assert worker._describe().unresponsive == (job.id,)
        assert await job.cancel() is CancelAnswer.UNRESPONSIVE  # asked again it says the same, without waiting
        stubborn.release.set()
        with pytest.raises(JobCancelled, match="enough"):
            await job
        await until(lambda: not worker._describe().unresponsive)
    assert EventKind.UNRESPONSIVE in history.of(job.id)


async def test_a_handler_out_of_time_that_does_not_end_has_failed_and_is_not_tried_again(app: App, stubborn: Stubborn) -> None:
    async with working(app, slots=2, cleanup=CLEANUP) as worker:
        job = await stubborn.task.options(timeout=0.05, retry=5).enqueue()
        with pytest.raises(JobTimedOut) as caught:
            await job
        assert not stubborn.release.is_set()
        assert "the job is not tried again: it may still be running" in caught.value.__notes__[0]
        assert worker._describe().unresponsive == (job.id,)
        stubborn.release.set()
        await until(lambda: not worker._describe().unresponsive)
        assert (await job.outcome()).attempt == 1
        assert await job.status() is JobState.FAILED


async def test_its_slot_is_lost_and_the_others_work(app: App, stubborn: Stubborn) -> None:
    gate = Gate()

    @app.task
    async def work() -> None:
        await gate.pass_through()

    async with working(app, slots=3, cleanup=CLEANUP) as worker:
        job = await stubborn.task.options(timeout=0.05).enqueue()
        with pytest.raises(JobTimedOut):
            await job
        for _ in range(4):
            await work.enqueue()
        await gate.wait_for(2)
        await anyio.wait_all_tasks_blocked()
        assert gate.inside == 2
        stubborn.release.set()
        await gate.wait_for(3)  # the slot is back
        gate.open()
        await until(lambda: worker.processed == 5)


async def test_the_log_shows_where_the_handler_is(app: App, stubborn: Stubborn, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "nursery_tasks.worker"):
        async with working(app, slots=2, cleanup=CLEANUP):
            job = await stubborn.task.enqueue()
            await until(stubborn.entered.is_set)
            await job.cancel("enough")
            stubborn.release.set()
    [warning] = [record for record in caplog.records if "has not ended" in record.getMessage()]
    text = warning.getMessage()
    assert text.startswith(f"stubborn {job.id} was cancelled (enough), and its handler has not ended")
    assert "test_unresponsive.py" in text
    assert "self.release" in text
    assert vars(warning)["job_id"] == job.id


async def test_too_many_lost_slots_recycle_the_worker(app: App, stubborn: Stubborn) -> None:
    asked: list[str] = []
    with fail_after(DEADLINE):
        async with app:
            options = {"slots": 2, "cleanup": CLEANUP, "on_recycle": lambda reason, drain: asked.append(reason)}
            async with app.open_worker(**options) as worker:  # type: ignore[arg-type]
                job = await stubborn.task.options(timeout=0.05).enqueue()
                await until(lambda: asked)
                assert asked == ["1 slot is lost to handlers that do not end"]
                assert worker.recycling == asked[0]
                stubborn.release.set()
                await worker.wait_drained()
            assert await job.status() is JobState.FAILED


async def test_who_awaits_it_hears_what_is_still_running(app: App, stubborn: Stubborn) -> None:
    scope = anyio.CancelScope()

    async def cancel_when_entered() -> None:
        await until(stubborn.entered.is_set)
        scope.cancel()

    async with working(app, slots=2, cleanup=CLEANUP) as worker, anyio.create_task_group() as tg:
        tg.start_soon(cancel_when_entered)
        app.connection.owned.grace_seconds = 2.0
        with pytest.raises(JobStillRunning) as caught, scope:
            await stubborn.task.run()
        [(job_id, task, state, where)] = caught.value.jobs
        assert (task, state, where) == ("stubborn", "unresponsive", worker.name)
        assert f"still running: stubborn ({job_id}) unresponsive on {worker.name}" in str(caught.value)
        stubborn.release.set()
        with pytest.raises(JobCancelled):
            await app.handle(job_id)


async def test_a_handler_that_swallows_each_cancel_is_seen_too(app: App) -> None:
    stop = False

    @app.task
    async def swallow() -> None:
        while not stop:
            try:
                await anyio.sleep(0.01)
            except get_cancelled_exc_class():
                await anyio.lowlevel.cancel_shielded_checkpoint()

    async with working(app, slots=2, cleanup=CLEANUP):
        job = await swallow.enqueue()
        await until_state(app, job.id, JobState.STARTED)
        assert await job.cancel() is CancelAnswer.UNRESPONSIVE
        stop = True
        assert (await job.outcome()).state in (JobState.CANCELLED, JobState.SUCCEEDED)  # it may finish before it looks again


async def test_a_handler_that_holds_up_the_end_of_the_worker_is_named(
    app: App, stubborn: Stubborn, caplog: pytest.LogCaptureFixture
) -> None:
    async def release_when_warned() -> None:
        await until(lambda: "has to end because the worker stops" in caplog.text)
        stubborn.release.set()

    with caplog.at_level(logging.WARNING, "nursery_tasks.worker"), fail_after(DEADLINE):
        async with app, anyio.create_task_group() as tg, app.open_worker(cleanup=CLEANUP, drain=0):
            job = await stubborn.task.enqueue()
            await until(stubborn.entered.is_set)
            tg.start_soon(release_when_warned)
    assert f"stubborn {job.id} has to end because the worker stops" in caplog.text
