"""Calls that must be accepted, with the types that they must have. Only read by type checkers."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from nursery_tasks import App, Job, JobHandle, Retry, current_job
from nursery_tasks.client.sync import SyncJobHandle

app = App("memory:")


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
    assert_type(await add.run_local(1, 2), int)

    assert_type(await fetch.enqueue("https://a"), JobHandle[bytes])
    assert_type(await (await fetch.enqueue("https://a")), bytes)
    assert_type(await (await parse.enqueue(b"x")).result(timeout=3), dict[str, int])
    assert_type(fetch.handle("id"), JobHandle[bytes])

    assert_type(add.job(1, 2), Job[int])
    assert_type(await add.job(1, 2).run(), int)
    assert_type(app.job("anything", 1, x=2), Job[Any])
    assert_type(await app.enqueue_many([add.job(1, 2), parse.job(b"x")]), list[JobHandle[Any]])


async def check_plain_calls() -> None:
    assert_type(shout("x"), str)
    coroutine = add(1, 2)
    coroutine = assert_type(coroutine, Coroutine[Any, Any, int])
    assert_type(await coroutine, int)


def check_sync() -> None:
    assert_type(app.sync.enqueue(shout.job("x")), SyncJobHandle[str])
    assert_type(app.sync.enqueue(shout.job("x")).result(timeout=1), str)
    assert_type(app.sync.run(add.job(1, 2), timeout=5), int)


def check_current_job() -> None:
    assert_type(current_job().id, str)
    assert_type(current_job().queue, str | None)
