# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Calls that must be rejected. `make check` has both type checkers read them: a comment that ignores nothing is an error."""

from __future__ import annotations

from collections.abc import AsyncIterator

from nursery_tasks import (
    App,
    Batch,
    Debounce,
    Retry,
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
    sequence,
)

app = App("memory:")


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task(timeout=3)
def shout(text: str) -> str:
    return text.upper()


@app.lifespan
async def number() -> AsyncIterator[int]:
    yield 1


class Fetch(TaskClass):
    timeout = 3

    async def run(self, url: str, size: int = 1) -> bytes:
        return url.encode()[:size]


class Late(TaskClass):
    timeout = "soon"  # type: ignore[assignment]  # not a duration

    def run(self) -> None: ...


fetch = app.task(Fetch)
app.task(Fetch, timeot=3)  # type: ignore[call-overload]  # no such option


@app.task
async def inject(a: int, text: str = resource(number)) -> None: ...  # type: ignore[assignment]  # the resource is an int


async def wrong_helpers() -> None:
    await fetch.run()  # type: ignore[call-arg]  # an argument is missing
    await fetch.run(1)  # type: ignore[arg-type]  # not a str
    await fetch.enqueue("a", size="b")  # type: ignore[arg-type]  # not an int
    text: str = await fetch.run("a")  # type: ignore[assignment]  # the result is bytes
    current_job().wait(add.run, 1, "2")  # type: ignore[arg-type]  # not an int
    await run_process("ls -l", env={"A": 1})  # type: ignore[dict-item]  # not a text
    print(text)


async def wrong() -> None:
    await add.run(1)  # type: ignore[call-arg]  # an argument is missing
    await add.run(1, "2")  # type: ignore[arg-type]  # not an int
    await add.run(1, 2, 3)  # type: ignore[call-arg]  # one too many
    await add.enqueue(a=1, c=2)  # type: ignore[call-arg]  # no such parameter
    await shout.run(5)  # type: ignore[arg-type]  # not a str
    add.job("1", "2")  # type: ignore[call-overload]  # not ints
    result: str = await add.run(1, 2)  # type: ignore[assignment]  # the result is an int
    await add.options(dely=3).run(1, 2)  # type: ignore[call-arg]  # no such option
    await add.options(priority="high").run(1, 2)  # type: ignore[arg-type]  # not an int
    await add.options(debounce=2).run(1, 2)  # type: ignore[arg-type]  # not a Debounce
    await add.options(throttle=Debounce(2)).run(1, 2)  # type: ignore[arg-type]  # not a Throttle
    Debounce("2")  # type: ignore[arg-type]  # not a duration
    Throttle(2, most=3)  # type: ignore[call-arg]  # only a debounce waits for others
    app.sync.enqueue(add)  # type: ignore[arg-type]  # a task is not a job
    Retry(on=ValueError("x"))  # type: ignore[arg-type]  # an instance, not a class
    text: int = shout("x")  # type: ignore[assignment]  # a plain call gives a str
    print(result, text)


@app.task(timeot=3)  # type: ignore[call-overload, untyped-decorator]  # no such option
async def typo() -> None: ...


async def wrong_flows() -> None:
    add.job("1")  # type: ignore[call-overload]  # not an int
    sequence(add, 3)  # type: ignore[call-overload]  # 3 cannot run
    parallel([add, add])  # type: ignore[call-overload]  # a list
    parallel(add, policy="first")  # type: ignore[call-overload]  # no such policy
    parallel_map(add, then=3)  # type: ignore[call-overload]  # 3 cannot run
    text: str = await sequence(shout, add.job(1)).run("a")  # type: ignore[assignment]  # the result is an int
    print(text)


def wrong_specs() -> None:
    every("5")  # type: ignore[arg-type]  # neither seconds nor a timedelta
    cron(5)  # type: ignore[arg-type]  # not a text
    at("2030-01-01")  # type: ignore[arg-type]  # not a datetime
    any_of("@daily")  # type: ignore[arg-type]  # not a spec


async def wrong_groups() -> None:
    async with app.create_task_group() as group:
        group.start_soon(add, 1)  # type: ignore[call-overload]  # an argument is missing
        group.start_soon(add, 1, "2")  # type: ignore[call-overload]  # not an int
        child = group.start_soon(shout, "a")
        group.start_soon(print, "a")  # type: ignore[call-overload]  # not a task
    number: int = child.return_value  # type: ignore[assignment]  # the result is a str
    print(number)


@app.task(batch=Batch(100))
async def index(docs: list[bytes]) -> list[int]:
    return [len(doc) for doc in docs]


@app.task(batch=100)  # type: ignore[call-overload, untyped-decorator]  # not a Batch
async def no_batch(docs: list[bytes]) -> list[int]:
    return []


@app.task(batch=Batch(100))  # type: ignore[arg-type]  # not a list
async def no_list(doc: bytes) -> list[int]:
    return []


async def wrong_batches() -> None:
    await index.run([b"a"])  # type: ignore[arg-type]  # one item, not a list
    await index.run("a")  # type: ignore[arg-type]  # not bytes
    await index(b"a")  # type: ignore[arg-type]  # a plain call takes the list
    text: str = await index.run(b"a")  # type: ignore[assignment]  # the result is an int
    print(text)
