"""`app.jobs` and `app.queues`, and their blocking twins: what the command line can do, from a program."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from anyio import to_thread
from support import Gate, working

from nursery_tasks import App, CancelAnswer, JobState, RetryAnswer
from nursery_tasks.client.sync_admin import SyncJobs, SyncQueues
from nursery_tasks.errors import InvalidOptions, NotSupported


class Asking:
    """Asks `app.jobs` and `app.queues`, or their twins in a thread: everything here holds for both."""

    def __init__(self, app: App, blocking: bool) -> None:
        self._app, self._blocking = app, blocking

    async def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        side, _, method = name.partition(".")
        if not self._blocking:
            return await getattr(getattr(self._app, side), method)(*args, **kwargs)
        call: Callable[[], Any] = partial(getattr(getattr(self._app.sync, side), method), *args, **kwargs)
        return await to_thread.run_sync(call)


@pytest.fixture(params=[False, True], ids=["awaited", "blocking"])
def ask(app: App, request: pytest.FixtureRequest) -> Asking:
    return Asking(app, request.param)


@dataclass
class Point:
    x: int


@asynccontextmanager
async def worked(app: App) -> AsyncGenerator[dict[str, str], None]:
    """Open the app, with one job of each kind, whose ids are given."""

    @app.task
    async def good(x: int) -> Point:
        return Point(x)

    @app.task(queue="others")
    async def bad() -> None:
        raise ValueError("no good")

    async with app:
        async with app.open_worker():
            done = await good.options(tags=["a"]).enqueue(7)
            await done
            failed = await bad.enqueue()
            await failed.outcome()
        waits = await good.enqueue(8)
        late = await good.options(delay=1000, key="k").enqueue(9)
        yield {"done": done.id, "failed": failed.id, "waits": waits.id, "late": late.id}


async def test_jobs_are_listed_and_decoded(app: App, ask: Asking) -> None:
    async with worked(app) as ids:
        listed = await ask("jobs.list")
        assert [info.id for info in listed] == [ids["done"], ids["failed"], ids["waits"], ids["late"]]
        done, failed, waits, late = listed
        assert (done.task, done.state, done.args, done.result, done.tags) == ("good", JobState.SUCCEEDED, [7], {"x": 7}, ("a",))
        assert (failed.error.type, failed.error.text, failed.attempts, failed.queue) == ("ValueError", "no good", 1, "others")
        assert (waits.state, waits.result, waits.error, waits.outcome) == (JobState.READY, None, None, None)
        assert (late.key, late.kwargs, late.problem) == ("k", {}, None)
        newest = await ask("jobs.list", newest_first=True, limit=1)
        assert [info.id for info in newest] == [ids["late"]]
        assert [info.id for info in await ask("jobs.list", after=done.cursor, limit=1)] == [ids["failed"]]
        assert [info.id for info in await ask("jobs.list", states=["failed"])] == [ids["failed"]]
        assert [info.id for info in await ask("jobs.list", tag="a")] == [ids["done"]]
        assert (await ask("jobs.get", ids["done"])).result == {"x": 7}
        assert await ask("jobs.get", "nosuch") is None


async def test_a_handle_by_the_tasks_name_converts_the_result(app: App) -> None:
    async with worked(app) as ids:
        assert await app.handle(ids["done"], "good") == Point(7)
        assert await app.handle(ids["done"]) == {"x": 7}
        assert await app.handle(ids["done"], "a task of another program") == {"x": 7}
        assert await app.get_task("good").handle(ids["done"]) == Point(7)
        assert await to_thread.run_sync(lambda: app.sync.handle(ids["done"], "good").result()) == Point(7)


async def test_jobs_are_run_again(app: App, ask: Asking) -> None:
    async with worked(app) as ids:
        answers = await ask("jobs.retry", [*ids.values(), "nosuch"])
        assert answers == {
            ids["done"]: RetryAnswer.SUCCEEDED,
            ids["failed"]: RetryAnswer.READY,
            ids["waits"]: RetryAnswer.NOT_ENDED,
            ids["late"]: RetryAnswer.NOT_ENDED,
            "nosuch": RetryAnswer.UNKNOWN,
        }
        assert await ask("jobs.retry", states=["failed", "dead"]) == {}
        await ask("jobs.cancel", [ids["failed"]])
        assert await ask("jobs.retry", states=["cancelled"], queue="others") == {ids["failed"]: RetryAnswer.READY}
        for wrong in ({}, {"ids": ["a"], "states": ["dead"]}, {"states": ["dying"]}):
            with pytest.raises(InvalidOptions):
                await ask("jobs.retry", **wrong)


async def test_a_key_that_another_job_has_by_now_is_told(app: App, ask: Asking) -> None:
    async with app:
        first = await app.job("nobody").with_options(key="k").enqueue()
        await first.cancel()
        await app.job("nobody").with_options(key="k").enqueue()
        assert await ask("jobs.retry", [first.id]) == {first.id: RetryAnswer.KEY_TAKEN}


async def test_jobs_are_cancelled_and_deleted(app: App, ask: Asking) -> None:
    async with worked(app) as ids:
        assert await ask("jobs.cancel", task="good", reason="enough") == {CancelAnswer.CANCELLED: 2}
        assert (await ask("jobs.get", ids["late"])).reason == "enough"
        assert await ask("jobs.cancel", list(ids.values())) == {CancelAnswer.FINISHED: 4}
        assert await ask("jobs.purge", "default") == 0
        assert await ask("jobs.purge", "default", states=["cancelled"]) == 2
        with pytest.raises(InvalidOptions, match="cancel"):
            await ask("jobs.purge", "default", states=["started"])
        with pytest.raises(InvalidOptions):
            await ask("jobs.cancel")


async def test_a_running_job_is_waited_for_when_it_is_cancelled(app: App, ask: Asking) -> None:
    gate = Gate()

    @app.task
    async def long() -> None:
        await gate.pass_through()

    async with working(app):
        handle = await long.enqueue()
        await gate.wait_for(1)
        assert await ask("jobs.cancel", [handle.id]) == {CancelAnswer.CANCELLED: 1}


async def test_queues_are_listed_paused_and_purged(app: App, ask: Asking) -> None:
    async with worked(app):
        await ask("queues.pause", "others", "empty")
        queues = {info.name: info for info in await ask("queues.list")}
        assert queues["default"].counts == {JobState.SUCCEEDED: 1, JobState.READY: 1, JobState.SCHEDULED: 1}
        assert (queues["default"].depth, queues["default"].paused, queues["others"].paused) == (1, False, True)
        await ask("queues.resume", "others", "empty")
        assert not any(info.paused for info in await ask("queues.list"))
        purged = await ask("queues.purge", "default")
        assert purged.jobs == 2
        assert (purged.messages is None) == (not app.url.startswith("amqp"))
        with pytest.raises(InvalidOptions):
            await ask("queues.pause", "no such name")


async def test_queues_at_a_server_are_made_looked_into_and_deleted(app: App, ask: Asking) -> None:
    async with app:
        if not app.url.startswith("amqp"):
            for call in (("create", "q"), ("delete", "q"), ("peek", "q")):
                with pytest.raises(NotSupported):
                    await ask(f"queues.{call[0]}", call[1])
            return
        assert await ask("queues.create", "q") is True
        assert await ask("queues.create", "q") is False
        assert await ask("queues.send", "q", '{"task": "x"}', id="mine", correlation_id="c") == "mine"
        [message] = await ask("queues.peek", "q")
        assert (message.id, message.body, message.correlation_id) == ("mine", b'{"task": "x"}', "c")
        [info] = [info for info in await ask("queues.list", "q") if info.name == "q"]
        assert info.messages is not None
        assert (await ask("queues.purge", "q")).messages == 1
        assert await ask("queues.delete", "q", force=True) is True
        assert await ask("queues.delete", "q") is False


async def test_a_message_is_sent_as_another_program_would(app: App, ask: Asking) -> None:
    @app.task(queue="inbox")
    async def greet(name: str) -> str:
        return f"Hello, {name}"

    async with working(app):
        if app.url == "memory:":
            with pytest.raises(NotSupported):
                await ask("queues.send", "inbox", "{}")
            return
        assert await ask("queues.send", "inbox", b'{"task": "greet", "args": ["Ada"]}', id="mine") == "mine"
        with pytest.raises(InvalidOptions, match="enqueue"):
            await ask("queues.send", "inbox", {"task": "greet"})


def test_the_blocking_twins_have_everything(memory_app: App) -> None:
    for ours, twin in ((memory_app.jobs, SyncJobs), (memory_app.queues, SyncQueues)):
        names = {name for name in dir(type(ours)) if not name.startswith("_")}
        assert names == {name for name in dir(twin) if not name.startswith("_")}
