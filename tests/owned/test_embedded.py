"""What is owned, in one program: edges that need an exact order and not many processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from anyio import Event, create_task_group, fail_after, from_thread, get_cancelled_exc_class, sleep_forever
from support import DEADLINE, app, url, working

from nursery_tasks import App, JobState, check_cancelled
from nursery_tasks.errors import JobCancelled, WaitTimedOut
from nursery_tasks.model.delivery import CancelAnswer
from nursery_tasks.model.reasons import DEADLINE_OVER

__all__ = ["app", "url"]


async def test_a_thread_that_awaits_a_job_after_its_cancel_is_told_so_and_starts_nothing(app: App) -> None:
    began, said = Event(), list[str]()

    @app.task
    async def other() -> None:
        said.append("other has run")

    @app.task
    def late() -> None:
        from_thread.run_sync(began.set)
        try:
            while True:
                check_cancelled()
                time.sleep(0.001)
        except BaseException:
            try:
                app.sync.run(other.job())
            except Exception as error:  # handlers catch these, and would go on
                said.append(repr(error))
            raise

    async with working(app):
        handle = await late.enqueue()
        await began.wait()
        await handle.cancel("enough")
        assert (await handle.outcome()).state is JobState.CANCELLED
    assert said == []


async def test_a_job_that_is_cancelled_while_its_thread_awaits_another_raises_the_cancellation_in_it(app: App) -> None:
    began, said = Event(), list[str]()

    @app.task
    async def other() -> None:
        began.set()
        await sleep_forever()

    @app.task
    def caller() -> None:
        try:
            app.sync.run(other.job())
        except BaseException as error:
            cancelled = from_thread.run_sync(get_cancelled_exc_class)
            said.append("cancelled" if isinstance(error, cancelled) else repr(error))
            raise

    async with working(app):
        handle = await caller.enqueue()
        await began.wait()
        await handle.cancel("enough")
        assert (await handle.outcome()).reason == "enough"
    assert said == ["cancelled"]


async def test_a_job_that_its_worker_ended_at_our_deadline_does_not_overtake_the_deadline(app: App) -> None:
    began = Event()

    @app.task
    async def wait() -> None:
        began.set()
        await sleep_forever()

    async def end_it() -> None:
        await began.wait()
        await app.cancel_jobs(task="wait", reason=DEADLINE_OVER)  # as a worker does whose clock is a little ahead

    async with working(app), create_task_group() as tg:
        tg.start_soon(end_it)
        with pytest.raises(TimeoutError), fail_after(0.2):
            await wait.run()
        tg.cancel_scope.cancel()  # where it had not begun by then


@pytest.mark.parametrize("put_off", [0.2, 60])
async def test_a_deadline_that_was_put_off_does_not_keep_the_caller(
    app: App, put_off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.client.owned.DEADLINE_GAP_SECONDS", DEADLINE)  # so none is far away
    began = Event()

    @app.task
    async def wait() -> None:
        began.set()
        await sleep_forever()

    async with working(app), create_task_group() as tg:
        with fail_after(DEADLINE / 2) as scope:

            async def end_it() -> None:
                await began.wait()
                scope.deadline += put_off
                await app.cancel_jobs(task="wait", reason=DEADLINE_OVER)

            tg.start_soon(end_it)
            with pytest.raises(JobCancelled):
                await wait.run()


async def test_a_sync_caller_whose_timeout_its_worker_saw_first_has_timed_out(app: App) -> None:
    began = Event()

    @app.task
    async def wait() -> None:
        began.set()
        await sleep_forever()

    async def end_it() -> None:
        await began.wait()
        await app.cancel_jobs(task="wait", reason=DEADLINE_OVER)

    @app.task
    def caller() -> str:
        try:
            app.sync.run(wait.job(), timeout=0.2)
        except WaitTimedOut:
            return "timed out"
        return "no error"

    async with working(app), create_task_group() as tg:
        tg.start_soon(end_it)
        assert await caller.run() == "timed out"
        tg.cancel_scope.cancel()  # where it had not begun by then


def test_a_sync_cancel_of_what_a_dead_worker_holds_is_answered_without_any_worker(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    handle = app.sync.enqueue(app.job("nothing"))
    [_] = app.sync.broker().claim(["default"], 1, "dead", 0.5)
    assert handle.cancel(wait=0.1) is CancelAnswer.CANCELLED
    assert handle.status() is JobState.CANCELLED
    app.sync.close()
