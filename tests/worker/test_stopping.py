"""Stopping: draining, being interrupted, and leaving nothing behind, wherever the cancel hits."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import CancelScope, create_task_group, fail_after, get_running_tasks, move_on_after, to_thread
from anyio.lowlevel import checkpoint
from support import DEADLINE, Gate, History, admin, states, until, until_state, working

from nursery_tasks import App, JobState, Retry, current_job
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.events import EventKind
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.testing import FaultyBroker

# --- draining ----------------------------------------------------------------------------------------------------------------


async def test_leaving_the_block_lets_running_jobs_end_and_starts_nothing_new(app: App) -> None:
    gate = Gate()

    @app.task
    async def hold() -> str:
        await gate.pass_through()
        return "done"

    async with app:
        handles = await app.enqueue_many(hold.job() for _ in range(5))
        with fail_after(DEADLINE):
            async with app.open_worker(slots=2) as worker:
                await gate.wait_for(2)
                worker.stop()
                worker.stop()  # again changes nothing
                await anyio.wait_all_tasks_blocked()
                gate.open()
        assert gate.entered == 2
        assert worker.interrupted == 0
        assert worker.processed == 2
        assert sorted([await handle.status() for handle in handles]) == [JobState.READY] * 3 + [JobState.SUCCEEDED] * 2


async def test_a_drain_that_is_over_gives_the_jobs_back_and_counts_no_attempt(app: App) -> None:
    gate, history = Gate(), History(app)

    @app.task
    async def hold() -> int:
        await gate.pass_through()
        return current_job().attempt

    async with app:
        job = await hold.enqueue()
        with fail_after(DEADLINE):
            async with app.open_worker(drain=0.1) as worker:
                await gate.wait_for(1)
                await until_state(app, job.id, JobState.STARTED)
            assert gate.inside == 0
            assert worker.interrupted == 1
            assert await job.status() is JobState.READY
            record = admin(app).job(job.id)
            assert (record.attempts, record.crashes) == (0, 0)
            gate.open()
            async with app.open_worker():
                assert await job == 1
    [released] = [event for event in history.events if event.kind is EventKind.RELEASED]
    assert released.detail == "the worker stops"


async def test_a_drain_can_be_cut_short(app: App) -> None:
    gate = Gate()

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with app:
        job = await hold.enqueue()
        with fail_after(DEADLINE):
            async with app.open_worker(drain=3600) as worker:
                await gate.wait_for(1)
                worker.cancel_running()
            assert worker.interrupted == 1
        assert await job.status() is JobState.READY


@pytest.mark.parametrize("how", ["returns", "raises", "asks for a retry"])
async def test_what_a_handler_does_when_it_is_interrupted_is_never_a_failure(app: App, how: str) -> None:
    gate = Gate()

    @app.task(retry=3)
    async def hold() -> str:
        try:
            await gate.pass_through()
        except BaseException:
            if how == "returns":
                return "saved"
            if how == "raises":
                raise ValueError("in the clean-up") from None
            raise Retry(wait=0) from None
        return "never"

    async with app:
        job = await hold.enqueue()
        with fail_after(DEADLINE):
            async with app.open_worker(drain=0):
                await gate.wait_for(1)
        assert await job.status() is (JobState.SUCCEEDED if how == "returns" else JobState.READY)


async def test_a_thread_is_waited_for_and_its_outcome_counts(app: App) -> None:
    inside, let_go = threading.Event(), threading.Event()

    @app.task
    def block() -> str:
        inside.set()
        let_go.wait(DEADLINE)
        return "done"

    async with app:
        job = await block.enqueue()
        with fail_after(DEADLINE):
            async with app.open_worker(drain=0):
                assert await to_thread.run_sync(inside.wait, DEADLINE)
                threading.Timer(0.05, let_go.set).start()
        assert await job.status() is JobState.SUCCEEDED


async def test_what_was_fetched_ahead_is_given_back(app: App) -> None:
    gate = Gate()

    @app.task
    async def quick() -> None: ...

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with app:
        async with app.open_worker(slots=2, drain=0):
            for handle in await app.enqueue_many(quick.job() for _ in range(30)):
                await handle.result(timeout=DEADLINE)
            held = await app.enqueue_many(hold.job() for _ in range(50))
            await gate.wait_for(2)
        assert {await handle.status() for handle in held} == {JobState.READY}
        assert {admin(app).job(handle.id).attempts for handle in held} == {0}


async def test_an_error_in_the_block_interrupts_and_comes_out_as_itself(app: App) -> None:
    gate = Gate()

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with app:
        job = await hold.enqueue()
        with fail_after(DEADLINE), pytest.raises(ZeroDivisionError):  # noqa: PT012 - the whole block is the statement
            async with app.open_worker(drain=3600):
                await gate.wait_for(1)
                raise ZeroDivisionError
        assert await job.status() is JobState.READY


# --- nothing left behind -----------------------------------------------------------------------------------------------------


def our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("nursery-tasks")}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts files by /proc")
async def test_a_worker_and_an_app_leave_no_thread_task_or_file_behind(app: App) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    async def work() -> None:
        async with working(app):
            assert await double.run(2) == 4

    threads = our_threads()  # of other tests, if any
    await work()
    await until(lambda: our_threads() <= threads)
    gc.collect()
    tasks, files = {task.id for task in get_running_tasks()}, open_files()
    for _ in range(3):
        await work()
    await until(lambda: our_threads() <= threads)
    gc.collect()
    assert {task.id for task in get_running_tasks()} == tasks
    assert open_files() <= files + 1  # AnyIO keeps an idle worker thread


async def test_many_workers_in_one_program_do_not_disturb_each_other(app: App) -> None:
    @app.task
    async def double(x: int) -> int:
        return 2 * x

    async with working(app):
        for _ in range(3):
            async with app.open_worker(slots=1), app.open_worker(slots=1):
                assert await double.run(2) == 4
        assert await double.run(2) == 4


# --- a cancel from above, everywhere -----------------------------------------------------------------------------------------


async def run_until_cancelled(app: App, after: int) -> bool:
    """Run a worker with jobs of all kinds, and cancel it from above after so many rounds of the loop; False: it was done."""
    gate = Gate()

    @app.task
    async def quick() -> None: ...

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    @app.task(retry=Retry(3, wait=0))
    async def flaky() -> None:
        if current_job().attempt < 3:
            raise ValueError("again")

    @app.task
    async def family() -> None:
        async with create_task_group() as tg:
            tg.start_soon(checkpoint)
            tg.start_soon(checkpoint)

    @app.lifespan
    async def resource() -> AsyncGenerator[None, None]:
        await checkpoint()
        try:
            yield
        finally:
            with CancelScope(shield=True):
                await checkpoint()

    await app.enqueue_many([quick.job(), hold.job(), flaky.job(), family.job(), *(quick.job() for _ in range(4))])
    with CancelScope() as scope:
        async with create_task_group() as tg:

            async def count_rounds() -> None:
                with CancelScope(shield=True):
                    for _ in range(after):
                        await checkpoint()
                scope.cancel()

            tg.start_soon(count_rounds)
            async with app.open_worker(slots=2, drain=0, lease=3600):
                await gate.wait_for(1)
                await until(lambda: sum(state.ended for state in states(app).values()) == 7)
            tg.cancel_scope.cancel()
    return scope.cancelled_caught


ALLOWED = {JobState.READY, JobState.SCHEDULED, JobState.SUCCEEDED}


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("trio", {})], ids=["asyncio", "trio"])
@pytest.mark.parametrize("threads", [False, True], ids=["on the loop", "in threads"])
async def test_wherever_a_cancel_from_above_hits_no_job_stays_claimed(threads: bool) -> None:
    after, done = 0, False
    while not done:
        after += 1 if after < 60 else 7
        app, broker = App("memory:"), FaultyBroker(MemoryBroker(), threads=threads)
        with app.use_broker(broker), fail_after(DEADLINE):
            async with app:
                done = not await run_until_cancelled(app, after)
                assert set(states(app).values()) <= ALLOWED, f"cancelled after {after} rounds"
                attempts = {
                    record.id: record.attempts
                    for record in broker.admin.list_jobs(JobFilter(), 100)
                    if record.state is JobState.READY
                }
                assert set(attempts.values()) <= {0, 1, 2}
        done = done or after > 400
    assert after > 10  # how many rounds fit into the waits depends on how busy the machine is


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("trio", {})], ids=["asyncio", "trio"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["listen", "claim", "settle", "sweep", "beat"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_cancel_during_a_call_to_the_broker_leaves_no_job_claimed(method: str, when: str, nth: int) -> None:
    app, broker, gate = App("memory:"), FaultyBroker(MemoryBroker(), threads=True), Gate()

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    @app.task
    async def quick() -> None: ...

    calls = 0
    reached = anyio.Event()
    token = anyio.lowlevel.current_token()

    def hook(args: tuple[Any, ...]) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            anyio.from_thread.run_sync(cancel, token=token)

    def cancel() -> None:
        reached.set()
        scope.cancel()

    with app.use_broker(broker), fail_after(DEADLINE):
        async with app:
            await app.enqueue_many([quick.job(), hold.job(), quick.job(), hold.job(), *(quick.job() for _ in range(5))])
            add: Callable[..., Any] = broker.before if when == "before" else broker.after
            with CancelScope() as scope:
                remove = add(method, hook)
                async with app.open_worker(slots=3, lease=3600):
                    await until(lambda: reached.is_set() or sum(s.ended for s in states(app).values()) == 7, seconds=3)
                    scope.cancel()
                    await checkpoint()
            remove()
            assert gate.inside == 0
            assert set(states(app).values()) <= ALLOWED


async def test_a_cancel_before_the_worker_has_begun_leaves_everything_as_it_was(app: App) -> None:
    task = app.task(name="t")(lambda: 3)
    async with app:
        await task.options(id="a").enqueue()
        with move_on_after(0):
            async with app.open_worker():
                await anyio.sleep_forever()
        assert states(app) == {"a": JobState.READY}


async def test_the_program_around_may_be_cancelled_with_app_and_worker_and_all(app: App) -> None:
    gate = Gate()

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    @asynccontextmanager
    async def program() -> AsyncGenerator[None, None]:
        async with app, app.open_worker():
            await hold.options(id="a").enqueue()
            await gate.wait_for(1)
            yield

    with fail_after(DEADLINE):
        with CancelScope() as scope:
            async with program():
                if app.url == "memory:":
                    broker = app.connection.gateway.broker
                scope.cancel()
                await checkpoint()
        assert gate.inside == 0
        if app.url != "memory:":
            async with app:
                assert states(app) == {"a": JobState.READY}
        else:
            assert scope.cancelled_caught
            assert broker is not None
