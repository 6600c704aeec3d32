"""What surrounds a handler: progress, resources, logs, strange messages, brokers without listings."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio import fail_after, sleep_forever
from support import DEADLINE, Gate, History, admin, until, until_state, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.errors import InvalidOptions, JobDead
from nursery_tasks.events import EventKind, JobEvent
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.listing import JobFilter

# --- progress ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_progress_can_be_seen_while_the_job_runs(app: App, kind: str) -> None:
    import threading

    let_go = threading.Event()

    async def in_loop() -> None:
        for done in range(4):
            current_job().progress({"done": done})
        while not let_go.is_set():  # noqa: ASYNC110 - an event of threads
            await anyio.sleep(0.005)

    def in_thread() -> None:
        for done in range(4):
            current_job().progress({"done": done})
        let_go.wait(DEADLINE)

    task = app.task(name="work")(in_loop if kind == "loop" else in_thread)
    async with working(app):
        job = await task.enqueue()
        assert await job.progress() is None
        with fail_after(DEADLINE):
            while await job.progress() != {"done": 3}:  # noqa: ASYNC110 - likewise
                await anyio.sleep(0.005)
        let_go.set()
        await job


async def test_the_last_progress_is_kept_with_the_outcome(app: App) -> None:
    @app.task
    async def quick() -> None:
        for done in range(3):
            current_job().progress(done)

    @app.task
    async def cancelled() -> None:
        try:
            await sleep_forever()
        except BaseException:
            current_job().progress("cleaned up")
            raise

    async with working(app):
        job = await quick.enqueue()
        await job
        assert await job.progress() == 2
        job = await cancelled.enqueue()
        await until_state(app, job.id, JobState.STARTED)
        await job.cancel()
        assert await job.progress() == "cleaned up"


async def test_progress_that_cannot_be_encoded_is_the_handlers_error(memory_app: App) -> None:
    @memory_app.task
    async def work() -> None:
        current_job().progress(object())

    async with working(memory_app):
        with pytest.raises(TypeError):
            await work.run()


# --- resources ---------------------------------------------------------------------------------------------------------------


async def test_resources_are_opened_before_the_first_job_and_closed_after_the_last(app: App) -> None:
    log: list[str] = []

    @app.lifespan
    async def database() -> AsyncGenerator[str, None]:
        log.append("open database")
        yield "the database"
        log.append("close database")

    @app.lifespan
    async def cache(given: App) -> AsyncIterator[str]:
        assert given is app
        log.append("open cache")
        yield "the cache"
        log.append("close cache")

    @app.lifespan
    @asynccontextmanager
    async def client() -> AsyncGenerator[int, None]:
        log.append("open client")
        yield 3
        log.append("close client")

    @app.task
    async def look() -> list[Any]:
        log.append("job")
        state = current_job().state
        return [state["database"], state["cache"], state["client"]]

    async with app:
        job = await look.enqueue()
        with fail_after(DEADLINE):
            async with app.open_worker():
                assert await job == ["the database", "the cache", 3]
    opened, closed = ["open database", "open cache", "open client"], ["close client", "close cache", "close database"]
    assert log == [*opened, "job", *closed]


async def test_a_resource_that_cannot_be_opened_is_the_error_of_the_worker_and_the_others_are_closed(app: App) -> None:
    log: list[str] = []

    @app.lifespan
    async def first() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            log.append("first closed")

    @app.lifespan
    async def second() -> AsyncGenerator[None, None]:
        raise ConnectionError("no database")
        yield

    async with app:
        with pytest.raises(ConnectionError, match="no database"):
            async with app.open_worker():
                pytest.fail("the worker must not run")
    assert log == ["first closed"]


async def test_a_resource_is_closed_after_a_drain_has_been_cut_short(app: App) -> None:
    gate, log = Gate(), []

    @app.lifespan
    async def database() -> AsyncGenerator[None, None]:
        yield
        log.append(gate.inside)

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app, drain=0):
        await hang.enqueue()
        await gate.wait_for(1)
    assert log == [0]


@pytest.mark.parametrize("wrong", ["a coroutine", "two arguments"])
def test_a_resource_is_a_generator_that_takes_nothing_or_the_app(memory_app: App, wrong: str) -> None:
    async def coroutine() -> None: ...

    async def two(a: App, b: int) -> AsyncIterator[None]:
        yield

    with pytest.raises(InvalidOptions, match="an async generator function that takes nothing, or the app"):
        memory_app.lifespan(coroutine if wrong == "a coroutine" else two)


# --- events ------------------------------------------------------------------------------------------------------------------


async def test_a_listener_that_fails_disturbs_nobody_and_hears_the_next_event(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[EventKind] = []

    def listen(event: JobEvent) -> None:
        heard.append(event.kind)
        raise ValueError("a bad listener")

    unsubscribe = app.subscribe(listen)

    @app.task
    async def work() -> int:
        return 3

    async with working(app):
        assert await work.run() == 3
        await until(lambda: EventKind.SUCCEEDED in heard)
        assert sorted(heard) == [EventKind.QUEUED, EventKind.STARTED, EventKind.SUCCEEDED]
        unsubscribe()
        await work.run()
    assert len(heard) == 3
    assert "a listener failed on started" in caplog.text


async def test_a_failure_is_told_with_its_traceback(app: App) -> None:
    history = History(app)

    @app.task
    async def fail() -> None:
        raise ValueError("mine")

    async with working(app, name="w"):
        with pytest.raises(ValueError, match="mine"):
            await fail.run()
        await until(lambda: history.count(EventKind.FAILED))
    [event] = [event for event in history.events if event.kind is EventKind.FAILED]
    assert (event.task, event.queue, event.attempt, event.worker) == ("fail", "default", 1, "w")
    assert event.detail == "ValueError: mine"
    assert "in fail" in event.remote_traceback
    assert event.seconds is not None


# --- strange messages --------------------------------------------------------------------------------------------------------


def push(app: App, job_id: str, payload: bytes, task: str = "work") -> None:
    """Store a message as a foreign producer would."""
    app.connection.gateway.broker.submit([Submission(id=job_id, queue="default", task=task, payload=payload)])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"not json", "undecodable: not a message: "),
        (b"garbage-no-pipe", "undecodable: not a message: "),
        (b"", "undecodable: not a message: "),
        (b"\xff\xfe\x00", "undecodable: not a message: "),
        (b'{"args": []}', "undecodable: not a message: Object missing required field `task`"),
        (b'{"task": "work", "v": 2}', "undecodable: message version 2, this worker understands 1"),
        (b'{"task": "work", "retry": {"waits": []}}', "undecodable: not a message: "),
        (b'{"task": "work", "retry": {"backoff": {"base": -1}}}', "undecodable: not a message: "),
        (b'{"task": "work", "args": ' + b"[" * 100_000, "undecodable: not a message: "),
        (b'{"task": "work", "args": ["' + b"x" * 2_000_000 + b'"]}', "oversize: 2,000,030 bytes"),
    ],
    ids=range(10),
)
async def test_a_message_that_cannot_be_read_is_put_aside_with_the_reason_and_the_next_one_runs(
    app: App, payload: bytes, reason: str
) -> None:
    @app.task
    async def work(*args: object) -> str:
        return "done"

    async with working(app, slots=1):
        push(app, "strange", payload)
        outcome = await app.handle("strange").outcome(timeout=DEADLINE)
        assert outcome.state is JobState.DEAD
        assert (outcome.reason or "").startswith(reason)
        assert await work.run() == "done"
        with pytest.raises(JobDead, match="is dead: "):
            await app.handle("strange")
        assert admin(app).job("strange").payload == payload  # as it came


async def test_the_smallest_message_is_a_job(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with working(app):
        push(app, "small", b'{"task": "add", "args": [1, 2]}', task="add")
        assert await app.handle("small") == 3
        push(
            app,
            "packed",
            msgspec.msgpack.encode({"task": "add", "kwargs": {"a": 1, "b": 2}, "of the future": True}),
            task="add",
        )
        assert await app.handle("packed") == 3


@pytest.mark.parametrize("timeout", [float("nan"), -1.0, float("inf")])
async def test_a_foreign_timeout_that_makes_no_sense_costs_only_its_own_job(memory_app: App, timeout: float) -> None:
    @memory_app.task
    async def work() -> str:
        await anyio.sleep(0.01)
        return "done"

    async with working(memory_app, slots=1):
        push(memory_app, "strange", msgspec.msgpack.encode({"task": "work", "timeout": timeout}))
        assert (await memory_app.handle("strange").outcome(timeout=DEADLINE)).state in (
            JobState.FAILED,
            JobState.DEAD,
            JobState.SUCCEEDED,
        )
        for _ in range(3):
            assert await work.run() == "done"


async def test_a_worker_runs_on_a_broker_that_can_do_only_the_least(memory_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    from toy_broker import ToyBroker  # type: ignore[import-not-found]

    @memory_app.task
    async def double(x: int) -> int:
        return 2 * x

    broker = ToyBroker()
    with memory_app.use_broker(broker):
        async with working(memory_app, slots=2):
            assert [await double.run(n) for n in range(5)] == [0, 2, 4, 6, 8]
            handles = await memory_app.enqueue_many(double.job(n) for n in range(50))
            assert [await handle for handle in handles] == [2 * n for n in range(50)]
    sys.modules.pop("toy_broker", None)


async def test_what_the_worker_says_of_itself_changes_with_what_it_does(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app, slots=3) as worker:
        job = await hang.enqueue()
        await gate.wait_for(1)
        assert (worker.running, worker.processed) == ([job.id], 0)
        gate.open()
        await job
        await until(lambda: worker.processed == 1)
        assert worker.running == []
        assert len(admin(app).list_jobs(JobFilter(), 10)) == 1
