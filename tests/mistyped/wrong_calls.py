"""Calls that must be rejected, each marked with `# wrong`. `tests/test_typing.py` compares with what the checkers say."""

from __future__ import annotations

from collections.abc import AsyncIterator

from nursery_tasks import App, Retry, TaskClass, current_job, parallel, parallel_map, resource, run_process, sequence

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
    timeout = "soon"  # wrong: not a duration

    def run(self) -> None: ...


fetch = app.task(Fetch)
app.task(Fetch, timeot=3)  # wrong: no such option


@app.task
async def inject(a: int, text: str = resource(number)) -> None: ...  # wrong: the resource is an int


async def wrong_helpers() -> None:
    await fetch.run()  # wrong: an argument is missing
    await fetch.run(1)  # wrong: not a str
    await fetch.enqueue("a", size="b")  # wrong: not an int
    text: str = await fetch.run("a")  # wrong: the result is bytes
    current_job().wait(add.run, 1, "2")  # wrong: not an int
    await run_process("ls -l", env={"A": 1})  # wrong: not a text
    print(text)


async def wrong() -> None:
    await add.run(1)  # wrong: an argument is missing
    await add.run(1, "2")  # wrong: not an int
    await add.run(1, 2, 3)  # wrong: one too many
    await add.enqueue(a=1, c=2)  # wrong: no such parameter
    await shout.run(5)  # wrong: not a str
    add.job("1", "2")  # wrong: not ints
    result: str = await add.run(1, 2)  # wrong: the result is an int
    await add.options(dely=3).run(1, 2)  # wrong: no such option
    await add.options(priority="high").run(1, 2)  # wrong: not an int
    app.sync.enqueue(add)  # wrong: a task is not a job
    Retry(on=ValueError("x"))  # wrong: an instance, not a class
    text: int = shout("x")  # wrong: a plain call gives a str
    print(result, text)


@app.task(timeot=3)  # wrong: no such option
async def typo() -> None: ...


async def wrong_flows() -> None:
    add.job("1")  # wrong: not an int
    sequence(add, 3)  # wrong: 3 cannot run
    parallel([add, add])  # wrong: a list
    parallel(add, policy="first")  # wrong: no such policy
    parallel_map(add, then=3)  # wrong: 3 cannot run
    text: str = await sequence(shout, add.job(1)).run("a")  # wrong: the result is an int
    print(text)


async def wrong_groups() -> None:
    async with app.create_task_group() as group:
        group.start_soon(add, 1)  # wrong: an argument is missing
        group.start_soon(add, 1, "2")  # wrong: not an int
        child = group.start_soon(shout, "a")
        group.start_soon(print, "a")  # wrong: not a task
    number: int = child.return_value  # wrong: the result is a str
    print(number)
