"""Middleware: the user's context managers around attempts and submissions, and what becomes of a job when one of them fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio.lowlevel
import pytest
from anyio import Event, fail_after, get_cancelled_exc_class, sleep, sleep_forever
from support import DEADLINE, until_state, working

from nursery_tasks import App, Batch, CurrentJob, JobState, OutgoingJob, Retry, current_job
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.errors import InvalidOptions, JobTimedOut, MiddlewareMisused, NurseryTasksError
from nursery_tasks.testing import FaultyBroker

KINDS = ["loop", "thread"]


@pytest.fixture
def app(memory_app: App) -> App:
    @memory_app.task(name="loop")
    async def on_loop() -> dict[str, str]:
        return dict(current_job().headers)

    @memory_app.task(name="thread")
    def in_thread() -> dict[str, str]:
        return dict(current_job().headers)

    @memory_app.task
    async def parent() -> dict[str, str]:
        return await on_loop.run()

    return memory_app


@pytest.mark.parametrize("kind", KINDS)
async def test_they_stand_around_an_attempt_and_the_first_is_the_outermost(app: App, kind: str) -> None:
    said: list[str] = []

    @app.middleware
    async def outer(job: CurrentJob) -> AsyncGenerator[None, None]:
        said.append(f"outer enters {job.task} {job.attempt} {job.headers}")
        job.headers["seen"] = "outer"
        yield
        said.append("outer leaves")

    @app.middleware(around="attempt")
    @contextmanager
    def inner(job: CurrentJob) -> Generator[None, None, None]:
        assert current_job() is job
        said.append("inner enters")
        try:
            yield
        finally:
            said.append("inner leaves")

    async with working(app):
        assert await app.get_task(kind).options(headers={"a": "b"}).run() == {"a": "b", "seen": "outer"}
    assert said == [f"outer enters {kind} 1 {{'a': 'b'}}", "inner enters", "inner leaves", "outer leaves"]


async def test_what_it_changes_goes_to_the_children(app: App) -> None:
    @app.middleware
    async def trace(job: CurrentJob) -> AsyncGenerator[None, None]:
        if job.task == "parent":
            job.headers["trace"] = job.id
        yield

    async with working(app):
        handle = await app.get_task("parent").enqueue()
        assert await handle == {"trace": handle.id}


async def test_one_that_fails_before_the_handler_fails_the_attempt_and_the_retry_applies(memory_app: App) -> None:
    attempts, ran = list[int](), list[int]()

    @memory_app.middleware
    async def fails_once(job: CurrentJob) -> AsyncGenerator[None, None]:
        attempts.append(job.attempt)
        if job.attempt == 1:
            raise OSError("no connection yet")
        yield

    @memory_app.task(retry=Retry(2, wait=[0.0], on=(OSError,)))
    async def work() -> int:
        ran.append(current_job().attempt)
        return 7

    async with working(memory_app):
        assert await work.run() == 7
    assert (attempts, ran) == ([1, 2], [2])


async def test_one_that_fails_after_the_handler_makes_a_failure_of_it(app: App) -> None:
    @app.middleware
    async def fails(job: CurrentJob) -> AsyncGenerator[None, None]:
        yield
        raise ValueError("the books do not balance")

    async with working(app):
        handle = await app.get_task("loop").enqueue()
        with pytest.raises(ValueError, match="the books do not balance"):
            await handle
        assert await handle.status() is JobState.FAILED


async def test_errors_go_through_it_and_one_that_is_kept_makes_a_success(app: App) -> None:
    seen: list[str] = []

    @app.middleware
    @asynccontextmanager
    async def looks(job: CurrentJob) -> AsyncGenerator[None, None]:
        try:
            yield
        except ValueError as error:
            seen.append(str(error))
            if not job.headers:
                raise

    @app.task
    async def fail() -> int:
        raise ValueError("no good")

    async with working(app):
        with pytest.raises(ValueError, match="no good"):
            await fail.run()
        outcome = await (await fail.options(headers={"keep": "1"}).enqueue()).outcome()
    assert seen == ["no good", "no good"]
    assert (outcome.state, bytes(outcome.value)) == (JobState.SUCCEEDED, b"null")


async def test_a_cancel_that_is_kept_makes_no_success(app: App) -> None:
    started = Event()

    @app.middleware
    async def keeps(job: CurrentJob) -> AsyncGenerator[None, None]:
        with suppress(BaseException):
            yield

    @app.task
    async def nap() -> int:
        started.set()
        await sleep_forever()
        return 1

    async with working(app):
        handle = await nap.enqueue()
        await started.wait()
        await handle.cancel(wait=DEADLINE)
        assert await handle.status() is JobState.CANCELLED


async def test_it_is_cancelled_with_its_job_and_runs_on_the_jobs_time(app: App) -> None:
    inside, left = Event(), list[str]()

    @app.middleware
    async def waits(job: CurrentJob) -> AsyncGenerator[None, None]:
        try:
            if job.headers.get("wait") == "before":
                inside.set()
                await sleep_forever()
            yield
            if job.headers.get("wait") == "after":
                await sleep(DEADLINE)
        except get_cancelled_exc_class():
            left.append(job.headers["wait"])
            raise

    async with working(app):
        handle = await app.get_task("loop").options(headers={"wait": "before"}).enqueue()
        with fail_after(DEADLINE):
            await inside.wait()
        await handle.cancel("not needed")
        assert (await handle.outcome()).state is JobState.CANCELLED
        with pytest.raises(JobTimedOut):
            await app.get_task("loop").options(headers={"wait": "after"}, timeout=0.05).run()
    assert left == ["before", "after"]


async def test_a_batch_is_one_call(memory_app: App) -> None:
    sizes: list[int] = []

    @memory_app.middleware
    async def count(job: CurrentJob) -> AsyncGenerator[None, None]:
        sizes.append(len(job.batch))
        yield

    @memory_app.task(batch=Batch(3, wait=DEADLINE))
    async def add(numbers: list[int]) -> list[int]:
        return numbers

    async with working(memory_app):
        handles = await memory_app.enqueue_many([add.job(number) for number in range(3)])
        assert [await handle for handle in handles] == [0, 1, 2]
    assert sizes == [3]


async def test_around_a_submission_it_sees_the_job_and_changes_its_headers(app: App) -> None:
    seen: list[Any] = []

    @app.middleware(around="submission")
    async def outer(sent: OutgoingJob) -> AsyncGenerator[None, None]:
        seen.append((sent.task, sent.args, dict(sent.kwargs), sent.queue, sent.tags, dict(sent.headers)))
        sent.headers["from"] = "outer"
        yield
        seen.append("stored")

    @app.middleware(around="submission")
    async def inner(sent: OutgoingJob) -> AsyncGenerator[None, None]:
        sent.headers["from"] += ", inner"
        sent.headers.pop("secret", None)
        yield

    async with working(app):
        look, parent = app.get_task("loop"), app.get_task("parent")
        assert await look.options(headers={"secret": "x"}, tags=["t"]).run() == {"from": "outer, inner"}
        assert seen == [("loop", (), {}, "default", ("t",), {"secret": "x"}), "stored"]
        handles = await app.enqueue_many([look.job(), look.job()])
        assert [await handle for handle in handles] == [{"from": "outer, inner"}] * 2
        assert await (await look.enqueue_nowait()) == {"from": "outer, inner"}
        async with app.create_task_group() as group:
            child = group.start_soon(look)
        assert child.return_value == {"from": "outer, inner"}
        seen.clear()
        await parent.run()
    assert [each[0] for each in seen if each != "stored"] == ["parent", "loop"]
    assert seen[2][5] == {"from": "outer, inner"}  # what it inherits


async def test_one_that_fails_around_a_submission_stores_nothing_and_later_is_too_late(app: App) -> None:
    @app.middleware(around="submission")
    async def refuses(sent: OutgoingJob) -> AsyncGenerator[None, None]:
        if "refuse" in sent.headers:
            raise PermissionError("not today")
        yield
        if "late" in sent.headers:
            raise PermissionError("after all")

    async with app:  # nobody works
        look = app.get_task("loop")
        for submit in ("enqueue", "run", "enqueue_nowait"):
            with pytest.raises(PermissionError, match="not today"):
                await getattr(look.options(headers={"refuse": "1"}), submit)()
        assert await app.jobs.list() == []
        with pytest.raises(PermissionError, match="after all"):
            await look.options(id="detached", headers={"late": "1"}).enqueue()
        with pytest.raises(PermissionError, match="after all"):
            await look.options(id="owned", headers={"late": "1"}).run()
        await until_state(app, "owned", JobState.CANCELLED)
        await until_state(app, "detached", JobState.READY)


async def test_what_cannot_be_headers_is_refused_after_it(app: App) -> None:
    @app.middleware(around="submission")
    async def spoils(sent: OutgoingJob) -> AsyncGenerator[None, None]:
        sent.headers["Not Lower"] = "x"
        yield

    async with app:
        with pytest.raises(InvalidOptions, match="headers='Not Lower'"):
            await app.get_task("loop").enqueue()
        assert await app.jobs.list() == []


def test_without_a_loop_an_async_one_is_called_unless_it_waits(app: App) -> None:
    left: list[str] = []

    @app.middleware(around="submission")
    async def adds(sent: OutgoingJob) -> AsyncGenerator[None, None]:
        sent.headers["from"] = "async"
        yield
        left.append(sent.task)
        if sent.headers.get("wait"):
            await anyio.lowlevel.checkpoint()

    @app.middleware(around="submission")
    @contextmanager
    def plain(sent: OutgoingJob) -> Generator[None, None, None]:
        sent.headers["from"] += ", plain"
        yield

    with app.use_broker(FaultyBroker(MemoryBroker(), threads=True)):
        job = app.get_task("loop").options(id="a").job()
        app.sync.enqueue(job)
        info = app.sync.jobs.get("a")
        assert info is not None
        assert info.headers == {"from": "async, plain"}
        assert left == ["loop"]
        with pytest.raises(MiddlewareMisused, match=r"adds waits for something, and app.sync has no event loop"):
            app.sync.enqueue(job.with_options(id="b", headers={"wait": "1"}))


@pytest.mark.parametrize("around", ["attempt", "submission"])
async def test_what_is_no_context_manager_is_refused(app: App, around: Any) -> None:
    async def coroutine(given: object) -> None: ...

    def number_of(given: object) -> int:
        return 3

    for wrong in (coroutine, 3):
        with pytest.raises(InvalidOptions, match="middleware="):
            app.middleware(around=around)(wrong)  # type: ignore[type-var]
    with pytest.raises(InvalidOptions, match="around='job': expected 'attempt' or 'submission'"):
        app.middleware(around="job")(number_of)  # type: ignore[call-overload]

    app.middleware(around=around)(number_of)
    async with working(app):
        with pytest.raises(NurseryTasksError, match="has returned int, which is no context manager"):
            await app.get_task("loop").run()


async def test_one_that_keeps_the_error_of_a_submission_is_told_so(app: App) -> None:
    @app.middleware(around="submission")
    @asynccontextmanager
    async def keeps(sent: OutgoingJob) -> AsyncGenerator[None, None]:
        try:
            yield
        except ValueError:
            return

    @app.middleware(around="submission")
    async def fails(sent: OutgoingJob) -> AsyncGenerator[None, None]:
        if sent.task == "loop":
            raise ValueError("no good")
        yield

    async with app:
        for submit in ("enqueue", "run"):
            with pytest.raises(MiddlewareMisused, match="has kept an error of it to itself"):
                await getattr(app.get_task("loop"), submit)()
