"""`app.sync`: the same names for programs without an event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group, fail_after, to_thread
from support import DEADLINE, Gate, History, working

from nursery_tasks import App, JobState
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.needed import admin_of
from nursery_tasks.errors import (
    BrokerUnavailable,
    InvalidArguments,
    JobCancelled,
    NoWorkers,
    UnknownJob,
    WaitTimedOut,
)
from nursery_tasks.events import EventKind
from nursery_tasks.model.delivery import CancelAnswer
from nursery_tasks.testing import FaultyBroker


@pytest.fixture
def app(app: App) -> Generator[App, None, None]:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task
    async def fail() -> None:
        raise KeyError("k")

    @app.task
    async def sleep() -> None:
        await anyio.sleep(DEADLINE)

    yield app
    app.sync.close()


@contextmanager
def worker_elsewhere(app: App, backend: str = "asyncio") -> Generator[None, None, None]:
    """Run a worker in a thread with a loop of its own, as another process would."""
    stop: Callable[[], object] | None = None
    ready = threading.Event()

    async def main() -> None:
        nonlocal stop
        end = anyio.Event()
        async with app, app.open_worker():
            token = anyio.lowlevel.current_token()
            stop = lambda: anyio.from_thread.run_sync(end.set, token=token)  # noqa: E731
            ready.set()
            await end.wait()

    thread = threading.Thread(target=anyio.run, args=[main], kwargs={"backend": backend})
    thread.start()
    try:
        assert ready.wait(DEADLINE)
        yield
    finally:
        assert stop is not None
        stop()
        thread.join()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_without_a_loop_submits_and_waits(app: App, backend: str) -> None:
    add = app.get_task("add")
    with worker_elsewhere(app, backend):
        assert app.sync.run(add.job(1, 2), timeout=DEADLINE) == 3
        handle = app.sync.enqueue(add.job(2, 2))
        assert handle.result(timeout=DEADLINE) == 4
        assert (handle.ready(), handle.succeeded(), handle.failed()) == (True, True, False)
        assert handle.status() is JobState.SUCCEEDED
        assert handle.outcome().attempt == 1
        assert repr(handle) == f"<SyncJobHandle add {handle.id}>"
        handles = app.sync.enqueue_many(add.job(n, n) for n in range(20))
        assert [handle.result(timeout=DEADLINE) for handle in handles] == [2 * n for n in range(20)]
        with pytest.raises(KeyError, match="k"):
            app.sync.run(app.get_task("fail").job(), timeout=DEADLINE)
        assert app.sync.handle(handle.id).result() == 4


def test_a_view_of_a_web_framework_hands_out_an_id_and_asks_for_it_later(tmp_path: Path) -> None:
    """Flask calls a view in any thread, without a loop, and the next view may run in another process."""
    url = f"sqlite:///{tmp_path}/jobs.db"

    def make_app() -> App:
        app = App(url)

        @app.task
        async def add(a: int, b: int) -> int:
            return a + b

        return app

    def order(app: App) -> dict[str, Any]:
        return {"id": app.sync.enqueue(app.get_task("add").job(20, 22)).id}

    def look(app: App, job_id: str) -> dict[str, Any]:
        handle = app.sync.handle(job_id, "add")
        return {"state": str(handle.status()), "result": handle.result() if handle.ready() else None}

    views, other_views = make_app(), make_app()
    found: list[dict[str, Any]] = []
    for view in (lambda: order(views), lambda: look(views, found[0]["id"])):
        thread = threading.Thread(target=lambda view=view: found.append(view()))
        thread.start()
        thread.join()
    assert found[1] == {"state": "ready", "result": None}
    with worker_elsewhere(make_app()):
        assert other_views.sync.handle(found[0]["id"]).result(timeout=DEADLINE) == 42
    assert look(other_views, found[0]["id"]) == {"state": "succeeded", "result": 42}
    views.sync.close()
    other_views.sync.close()


def test_arguments_are_checked_here_too(app: App) -> None:
    with pytest.raises(InvalidArguments):
        app.sync.enqueue(app.get_task("add").job(1))


def test_an_unknown_id_is_unknown(app: App) -> None:
    handle = app.sync.handle("nope")
    for ask in (handle.status, handle.ready, handle.result):
        with pytest.raises(UnknownJob):
            ask()
    assert handle.cancel() is CancelAnswer.UNKNOWN


def test_a_wait_that_is_over_says_that_nobody_works(app: App) -> None:
    handle = app.sync.enqueue(app.get_task("add").job(1, 2))
    with pytest.raises(WaitTimedOut, match=r"still ready after 0.05 s; no worker is running"):
        handle.result(timeout=0.05)
    assert handle.status() is JobState.READY


def test_a_run_whose_wait_is_over_cancels_its_job(app: App) -> None:
    job = app.get_task("add").options(id="mine").job(1, 2)
    with pytest.raises(WaitTimedOut):
        app.sync.run(job, timeout=0.05)
    outcome = app.sync.handle("mine").outcome()
    assert (outcome.state, outcome.reason) == (JobState.CANCELLED, "its caller went away")


def test_a_run_that_met_an_equal_job_does_not_cancel_it(app: App) -> None:
    job = app.get_task("add").options(id="theirs").job(1, 2)
    assert app.sync.enqueue(job).created
    with pytest.raises(WaitTimedOut):
        app.sync.run(job, timeout=0.05)
    assert app.sync.handle("theirs").status() is JobState.READY


async def test_a_job_that_runs_is_cancelled_from_another_thread(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        job = await hang.enqueue()
        await gate.wait_for(1)
        assert await to_thread.run_sync(app.sync.handle(job.id).cancel, "enough") is CancelAnswer.CANCELLED
        with pytest.raises(JobCancelled, match="enough"):
            await job


async def test_threads_and_the_loop_share_one_app(app: App) -> None:
    add = app.get_task("add")
    found: list[int] = []

    async def from_thread(n: int) -> None:
        found.append(await to_thread.run_sync(lambda: app.sync.run(add.job(n, n), timeout=DEADLINE)))

    async with working(app):
        async with create_task_group() as tg:
            for n in range(10):
                tg.start_soon(from_thread, n)
        assert await add.run(1, 1) == 2
    assert sorted(found) == [2 * n for n in range(10)]


async def test_a_handler_in_a_thread_may_submit_and_knows_who_it_is(app: App) -> None:
    @app.task
    def parent() -> str:
        return app.sync.enqueue(app.get_task("add").options(id="child").job(1, 2)).id

    async with working(app):
        job = await parent.enqueue()
        assert await app.handle(await job) == 3
        record = app.connection.gateway.admin.job("child")
        assert record is not None
        assert record.parent == job.id


def test_it_can_be_told_that_nobody_listens(url: str) -> None:
    app = App(url, require_workers=True)
    task = app.task(name="t", queue="mail")(lambda: 3)
    with pytest.raises(NoWorkers, match="no worker serves queue 'mail'"):
        app.sync.enqueue(task.job())
    with worker_elsewhere(app):
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            try:
                assert app.sync.run(task.job(), timeout=DEADLINE) == 3
                break
            except NoWorkers:
                continue
        else:
            pytest.fail("the worker never told the broker that it lives")
    app.sync.close()


def test_listeners_hear_of_what_is_queued(app: App) -> None:
    history = History(app)
    job = app.get_task("add").options(id="once").job(1, 2)
    app.sync.enqueue(job)
    app.sync.enqueue(job)
    assert history.of("once") == [EventKind.QUEUED]


def test_a_local_job_goes_to_the_queue_of_this_node(app: App) -> None:
    app.sync.enqueue(app.get_task("add").options(local=True, id="l").job(1, 2))
    record = admin_of(app.sync.broker()).job("l")
    assert record.queue == f"default@{app.node}"


def test_a_wait_survives_a_broker_that_is_away_for_a_while(memory_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.client.sync_handle.POLL_SECONDS", 0.02)
    broker = FaultyBroker(MemoryBroker(), threads=True)
    task = memory_app.task(name="t")(lambda: 3)
    with memory_app.use_broker(broker), worker_elsewhere(memory_app):
        handle = memory_app.sync.enqueue(task.job())
        broker.fail("outcomes", times=3)
        broker.hints = False
        assert handle.result(timeout=DEADLINE) == 3
        with broker.failing("outcomes"), pytest.raises(BrokerUnavailable):
            handle.result(timeout=0.05)


async def test_the_loop_may_be_open_or_not(app: App) -> None:
    add = app.get_task("add")
    before = await to_thread.run_sync(app.sync.enqueue, add.job(1, 2))
    async with working(app):
        assert await app.handle(before.id) == 3
    assert await to_thread.run_sync(before.status) is JobState.SUCCEEDED
    with fail_after(DEADLINE):
        async with app, app.open_worker():
            assert await add.run(3, 4) == 7
