"""Code that looks blocking and awaits: `current_job().wait()` in a `def` handler; and threads below an `async def` one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from anyio import Event, fail_after, from_thread, sleep_forever, to_thread, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from support import DEADLINE, Gate, gather, working

from nursery_tasks import App, CurrentJob, JobState, current_job
from nursery_tasks.errors import JobCancelled, JobTimedOut, NoLoopBehind, WouldBlockLoop
from nursery_tasks.testing import open_lab


async def add(a: int, b: int) -> int:
    await checkpoint()
    return a + b


async def test_a_def_handler_waits_for_an_async_function(app: App) -> None:
    @app.task
    def green(a: int) -> int:
        return current_job().wait(add, a, 2)

    async with working(app):
        assert await green.run(1) == 3


async def test_the_job_is_the_same_inside(memory_app: App) -> None:
    threads: list[int] = []

    async def look() -> str:
        threads.append(threading.get_ident())
        return current_job().id

    @memory_app.task
    def green() -> bool:
        job = current_job()
        return job.id == job.wait(look)

    async with working(memory_app):
        assert await green.run()
    assert threads == [threading.get_ident()]


async def test_its_error_comes_out(memory_app: App) -> None:
    async def fail() -> None:
        raise KeyError("inside")

    @memory_app.task
    def green() -> str:
        try:
            current_job().wait(fail)
        except KeyError as error:
            return str(error)
        return "nothing"

    async with working(memory_app):
        assert await green.run() == "'inside'"


async def test_a_hundred_overlap(memory_app: App) -> None:
    gate = Gate()

    @memory_app.task
    def green() -> None:
        current_job().wait(gate.pass_through)

    async def open_when_full() -> None:
        await gate.wait_for(100)
        gate.open()

    async with working(memory_app, slots=100):
        await gather(open_when_full, *[green.run] * 100)
    assert gate.most == 100


async def test_a_cancelled_job_leaves_its_wait(app: App) -> None:
    inside, seen = Event(), list[str]()

    async def wait_inside() -> None:
        inside.set()
        try:
            await sleep_forever()
        finally:
            seen.append("function")

    @app.task
    def green() -> None:
        try:
            current_job().wait(wait_inside)
        except Exception:
            seen.append("a cancellation is no Exception")
        finally:
            seen.append("handler")

    async with working(app):
        job = await green.enqueue()
        await inside.wait()
        await job.cancel()
        assert await job.status() is JobState.CANCELLED
    assert seen == ["function", "handler"]


async def test_a_wait_after_the_cancel_does_not_begin(memory_app: App) -> None:
    inside, seen = Event(), list[str]()

    async def wait_inside() -> None:
        inside.set()
        await sleep_forever()

    async def begin() -> None:
        seen.append("begun")

    @memory_app.task
    def green() -> None:
        try:
            current_job().wait(wait_inside)
        finally:
            current_job().wait(begin)

    async with working(memory_app):
        job = await green.enqueue()
        await inside.wait()
        await job.cancel()
        assert await job.status() is JobState.CANCELLED
    assert not seen


async def test_a_cancel_that_comes_just_before_the_function_begins_is_not_lost(
    memory_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, cancelled, run = Event(), threading.Event(), from_thread.run

    def run_late(function: Any) -> Any:
        from_thread.run_sync(looked.set)
        assert cancelled.wait(DEADLINE)
        return run(function)

    monkeypatch.setattr("nursery_tasks.loop.from_thread.from_thread.run", run_late)

    @memory_app.task
    def green() -> None:
        current_job().wait(sleep_forever)

    async with working(memory_app):
        job = await green.enqueue()
        await looked.wait()
        await job.cancel(wait=0)
        await wait_all_tasks_blocked()
        cancelled.set()
        with pytest.raises(JobCancelled):
            await job


async def test_a_timeout_ends_the_wait(memory_app: App) -> None:
    @memory_app.task(timeout=0.05)
    def green() -> None:
        current_job().wait(sleep_forever)

    async with working(memory_app):
        with pytest.raises(JobTimedOut):
            await green.run()


async def test_a_def_handler_owns_the_jobs_that_it_waits_for(memory_app: App) -> None:
    inside, left = Event(), Event()

    @memory_app.task
    async def inner() -> None:
        inside.set()
        try:
            await sleep_forever()
        finally:
            left.set()

    @memory_app.task
    def outer() -> None:
        current_job().wait(inner.run)

    async with working(memory_app):
        job = await outer.enqueue()
        await inside.wait()
        await job.cancel()
        assert left.is_set()


async def test_on_the_loop_it_is_refused(memory_app: App) -> None:
    @memory_app.task
    async def handler() -> None:
        current_job().wait(add, 1, 2)

    async with working(memory_app):
        with pytest.raises(WouldBlockLoop, match=r"write `await add\(\.\.\.\)` here"):
            await handler.run()


async def test_in_the_lab_a_def_handler_is_on_the_loop(memory_app: App) -> None:
    @memory_app.task
    def handler() -> None:
        current_job().wait(add, 1, 2)

    async with open_lab(memory_app):
        with pytest.raises(WouldBlockLoop):
            await handler.run()


def test_without_a_loop_behind_it_is_refused() -> None:
    with pytest.raises(NoLoopBehind, match="the thread that its worker started"):
        CurrentJob(id="1", task="t").wait(add, 1, 2)


async def test_a_thread_of_ones_own_has_no_loop_behind(memory_app: App) -> None:
    @memory_app.task
    def handler() -> str:
        job, caught = current_job(), list[Exception]()

        def other() -> None:
            try:
                job.wait(add, 1, 2)
            except Exception as error:
                caught.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return type(caught[0]).__name__

    async with working(memory_app):
        assert await handler.run() == "NoLoopBehind"


async def test_run_local_waits_too(memory_app: App) -> None:
    @memory_app.task
    def green(a: int) -> int:
        return current_job().wait(add, a, 2)

    assert await green.run_local(1) == 3


async def test_a_thread_below_an_async_handler_knows_its_job(memory_app: App) -> None:
    def in_thread() -> tuple[str, int]:
        job = current_job()
        return job.id, job.wait(add, 1, 2)

    @memory_app.task
    async def handler() -> bool:
        seen: Any = await to_thread.run_sync(in_thread)
        return bool(seen == (current_job().id, 3))

    async with working(memory_app):
        assert await handler.run()


# --- app.sync where a loop runs ----------------------------------------------------------------------------------------------


async def test_the_blocking_waits_are_refused_on_a_loop(app: App) -> None:
    @app.task
    async def handler() -> int:
        return 1

    async with working(app):
        with pytest.raises(WouldBlockLoop, match=r"write `await task\.run\(\.\.\.\)` here"):
            app.sync.run(handler.job())
        job = app.sync.enqueue(handler.job())
        for wait in (job.result, job.outcome):
            with pytest.raises(WouldBlockLoop, match=r"write `await app\.handle\(job\.id\)\.result\(\)` here"):
                wait()
        assert await app.handle(job.id).result() == 1
    app.sync.close()


@pytest.mark.parametrize("how", ["run", "result"])
async def test_a_cancelled_job_leaves_a_blocking_wait(memory_app: App, how: str) -> None:
    inside, let_go, seen = Event(), Event(), list[str]()

    @memory_app.task
    async def inner() -> None:
        inside.set()
        await let_go.wait()

    @memory_app.task
    def outer() -> None:
        try:
            if how == "run":
                memory_app.sync.run(inner.job())
            else:
                memory_app.sync.enqueue(inner.job()).result()
        except Exception:
            seen.append("a cancellation is no Exception")
        finally:
            seen.append("left")

    async with working(memory_app):
        job = await outer.enqueue()
        await inside.wait()
        await job.cancel()
        assert await job.status() is JobState.CANCELLED
        let_go.set()
    assert seen == ["left"]


async def test_the_blocking_waits_are_allowed_in_a_thread(app: App) -> None:
    @app.task
    async def inner() -> int:
        return 1

    @app.task
    def outer() -> int:
        return app.sync.run(inner.job(), timeout=DEADLINE)

    async with working(app):
        with fail_after(DEADLINE):
            assert await outer.run() == 1
            assert await to_thread.run_sync(lambda: app.sync.run(inner.job(), timeout=DEADLINE)) == 1
    app.sync.close()
