"""Calls that must be accepted, with the types that they must have. Only read by type checkers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from nursery_tasks import (
    App,
    Batch,
    BatchedJob,
    CompletedRun,
    Debounce,
    Flow,
    Job,
    JobHandle,
    JobInfo,
    JobState,
    JobUpdate,
    PartialJob,
    QueueInfo,
    Retry,
    RetryAnswer,
    TaskClass,
    Throttle,
    any_of,
    at,
    cron,
    current_job,
    every,
    parallel,
    parallel_map,
    resource,
    run_process,
    run_process_sync,
    sequence,
)
from nursery_tasks.channels import ChannelMessage, Item
from nursery_tasks.client.sync_handle import SyncJobHandle
from nursery_tasks.model.delivery import CancelAnswer

app = App("memory:")

assert_type(cron("@daily", tz="Europe/Rome").next_after(datetime.now(UTC)), datetime | None)
any_of(every(0.5), every(timedelta(hours=1), anchor="00:25"), at(datetime.now(UTC))).explain()


@app.lifespan
async def alphabet() -> AsyncIterator[str]:
    yield "abc"


@app.lifespan
@asynccontextmanager
async def numbers(text: str = resource(alphabet)) -> AsyncGenerator[list[int], None]:
    yield [len(text)]


@app.task
async def inject(n: int, text: str = resource(alphabet), counts: list[int] = resource(numbers)) -> int:
    return n + len(text) + counts[0]


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task(timeout=10, retry=Retry(5, on=(OSError,)), queue="web", priority=3)
async def fetch(url: str, *, size: int = 10) -> bytes:
    return url.encode()[:size]


@app.task
def parse(data: bytes) -> dict[str, int]:
    return {"length": len(data)}


@app.task(run_in="thread", name="shout")
def shout(text: str) -> str:
    return text.upper()


async def check_tasks() -> None:
    assert_type(await add.run(1, 2), int)
    assert_type(await add.run(a=1, b=2), int)
    assert_type(await fetch.run("https://a", size=3), bytes)
    assert_type(await parse.run(b"x"), dict[str, int])
    assert_type(await add.options(delay=3, priority=1).run(1, 2), int)
    assert_type(await add.options(debounce=Debounce(2, key="{a}", most=timedelta(minutes=1))).run(1, 2), int)
    assert_type(await add.options(throttle=Throttle(timedelta(hours=1), key=max)).run(1, 2), int)
    assert_type(await add.options(debounce=None, throttle=None).enqueue(1, 2), JobHandle[int])
    assert_type(await add.run_local(1, 2), int)

    assert_type(await fetch.enqueue("https://a"), JobHandle[bytes])
    assert_type(await (await fetch.enqueue("https://a")), bytes)
    assert_type(await (await parse.enqueue(b"x")).result(timeout=3), dict[str, int])
    assert_type(fetch.handle("id"), JobHandle[bytes])

    assert_type(add.job(1, 2), Job[int])
    assert_type(await add.job(1, 2).run(), int)
    assert_type(app.job("anything", 1, x=2), Job[Any])
    assert_type(await app.enqueue_many([add.job(1, 2), parse.job(b"x")]), list[JobHandle[Any]])


class Web(TaskClass):
    timeout = 60
    retry = Retry(5)


class Download(Web):
    queue = "web"

    async def run(self, url: str, *, size: int = 10) -> bytes:
        self.log.info("attempt %d", self.job.attempt)
        return url.encode()[:size]


class Count(TaskClass):
    def run(self, text: str, letters: str = resource(alphabet)) -> int:
        return sum(letter in letters for letter in text)


download = app.task(Download)
count = app.task(Count, name="count", timeout=timedelta(minutes=1))


async def check_classes() -> None:
    assert_type(await download.run("https://a", size=3), bytes)
    assert_type(await download.enqueue("https://a"), JobHandle[bytes])
    assert_type(await count.run("hello"), int)
    assert_type(count("hello", "l"), int)


async def check_plain_calls() -> None:
    assert_type(shout("x"), str)
    coroutine = add(1, 2)
    coroutine = assert_type(coroutine, Coroutine[Any, Any, int])
    assert_type(await coroutine, int)


async def check_resources() -> None:
    assert_type(resource(alphabet), str)
    assert_type(resource(numbers), list[int])
    assert_type(await inject.run(3), int)


async def check_programs() -> None:
    assert_type(await run_process(["ls"], on_output=print, timeout=3), CompletedRun)
    assert_type(run_process_sync(["ls", "-l"], stdin="x").text, str)


def check_green() -> None:
    assert_type(current_job().wait(add.run, 1, 2), int)


@app.workflow
async def plain(n: int) -> str:
    return await shout.run(str(n))


@app.workflow(queue="flows", timeout=60, name="other")
async def with_words(n: int, *, loud: bool = False) -> list[int]:
    return [await add.run(n, 1), len(await plain.run(n))]


async def check_workflows() -> None:
    assert_type(await plain.run(1), str)
    assert_type(await plain(1), str)
    assert_type(await with_words.options(priority=1).enqueue(1, loud=True), JobHandle[list[int]])
    assert_type(plain.job(2), Job[str])
    async with app.create_task_group() as group:
        assert_type((await group.start_soon(with_words, 1, loud=True)), list[int])


def check_sync() -> None:
    assert_type(app.sync.enqueue(shout.job("x")), SyncJobHandle[str])
    assert_type(app.sync.enqueue(shout.job("x")).result(timeout=1), str)
    assert_type(app.sync.run(add.job(1, 2), timeout=5), int)


def check_current_job() -> None:
    assert_type(current_job().id, str)
    assert_type(current_job().queue, str | None)


async def flows() -> None:
    assert_type(parse.job(), PartialJob[dict[str, int]])
    assert_type(add.job(1), PartialJob[int])
    assert_type(await add.job(1).run(2), int)
    assert_type(sequence(fetch.job("https://a"), parse), Flow[dict[str, int]])
    assert_type(sequence(fetch, parse.job(), len, add.job(3)), Flow[int])
    assert_type(sequence(add.job(1, 2), parallel(add, add)), Flow[list[int]])
    assert_type(parallel(add, add.job(1), sequence(add, add), policy="wait_all"), Flow[list[int]])
    assert_type(parallel(add, add, policy="first_success"), Flow[int])
    assert_type(parallel(fetch, print, then=parse, limit=3), Flow[dict[str, int]])
    assert_type(parallel_map(fetch.options(timeout=3)), Flow[list[bytes]])
    assert_type(parallel_map(fetch, then=parse), Flow[dict[str, int]])
    assert_type(parallel_map(fetch, then=join), Flow[str])
    flow = sequence(fetch, parse)
    assert_type(await flow.run("https://a"), dict[str, int])
    assert_type(await flow.run_local("https://a"), dict[str, int])
    assert_type(await flow.enqueue("https://a"), JobHandle[dict[str, int]])
    assert_type(flow.job("https://a").with_options(timeout=3), Job[dict[str, int]])
    assert_type(flow.to_mermaid(), str)


async def join(bodies: list[bytes]) -> str:
    return str(bodies)


async def groups() -> None:
    async with app.create_task_group() as group:
        one = group.start_soon(add, 1, b=2)
        two = group.start_soon(parse, b"x")
        three = group.start_soon(fetch.options(timeout=3), "https://a", size=3)
        four = group.start_soon(add.job(1, 2))
        assert_type(await one, int)
    assert_type(one.return_value, int)
    assert_type(two.return_value, dict[str, int])
    assert_type(three.return_value, bytes)
    assert_type(four.return_value, int)
    assert_type(await app.cancel_jobs(task="add", reason="enough"), dict[CancelAnswer, int])
    assert_type(await one, int)


async def looking() -> None:
    handle = add.handle("7")
    assert_type(await handle, int)
    async for update in handle.watch():
        assert_type(update, JobUpdate)
    for update in app.sync.handle("7", "add").watch(timeout=3):
        assert_type(update.state, JobState)
    assert_type(await app.jobs.list(states=["dead"], limit=3), list[JobInfo])
    assert_type(app.sync.jobs.get("7"), JobInfo | None)
    assert_type(await app.jobs.retry(["7"]), dict[str, RetryAnswer])
    assert_type(await app.jobs.purge("video"), int)
    assert_type(app.sync.queues.list(), list[QueueInfo])
    assert_type(await app.queues.send("video", b"x"), str)


@app.task(batch=Batch(100, wait=0.5), retry=3)
async def index(docs: list[bytes]) -> list[int]:
    return [len(doc) for doc in docs]


@app.task(batch=Batch(100, wait=timedelta(seconds=1)))
async def index_some(docs: list[bytes], text: str = resource(alphabet)) -> list[int | Exception]:
    return [len(doc) if doc else ValueError(text) for doc in docs]


@app.task(batch=Batch(100))
async def note(docs: list[bytes]) -> None: ...


@app.task(batch=Batch(100), run_in="process", kill_after=3)
def index_there(docs: list[bytes]) -> list[int] | None:
    return [len(doc) for doc in docs]


@app.task(batch=Batch(100))
def index_in_thread(docs: list[bytes]) -> list[str | Exception]:
    return [doc.decode() for doc in docs]


async def batches() -> None:
    assert_type(await index.run(b"a"), int)
    assert_type(await index.enqueue(b"a"), JobHandle[int])
    assert_type(index.job(b"a"), Job[int])
    assert_type(await index([b"a"]), list[int])
    assert_type(await index_some.options(priority=3).run(b"a"), int)
    assert_type(await index_some([b"a"]), list[int | Exception])
    assert_type(await note.run(b"a"), None)
    assert_type(await index_there.run(b"a"), int | None)
    assert_type(await index_in_thread.run_local(b"a"), str)
    assert_type(index_in_thread([b"a"]), list[str | Exception])
    assert_type(app.sync.run(index.job(b"a")), int)
    assert_type(current_job().batch, tuple[BatchedJob, ...])
    async with app.create_task_group() as group:
        assert_type(group.start_soon(index, b"a").return_value, int)


@app.handler("orders", reply=["bills", "copies"], timeout=5)
async def bill(order: dict[str, int]) -> bytes:
    return b""


@app.handler("words", reply="letters", many=True)
def letters(word: str) -> Iterator[str]:
    yield from word


@app.handler("pages", reply="links", many=True, prefetch=5)
async def links(page: ChannelMessage) -> AsyncIterator[ChannelMessage]:
    yield page


@app.listener("events", run_in="process")
def hear(event: bytes) -> None: ...


@app.publisher("rows")
async def rows(cursor: int | None = None) -> AsyncIterator[Item[str]]:
    yield Item("a", cursor=1)


@app.collector("sales", every=10, initial=0.0, on_flush=print)
def taken(total: float, sale: int) -> float:
    return total + sale


@app.collector("words", running=True, initial=[])
async def longest(total: list[str], word: str) -> list[str]:
    return [*total, word]


async def stages() -> None:
    assert_type(await bill({"nails": 1}), bytes)
    assert_type(await bill.run({"nails": 1}), bytes)
    assert_type(await letters.enqueue("word"), JobHandle[list[str]])
    assert_type(await links.run(ChannelMessage(body=b"")), list[ChannelMessage])
    assert_type(hear(b""), None)
    assert_type(await rows.done(), bool)
    assert_type(await taken.total(), float)
    assert_type(await longest.total(), list[str])
