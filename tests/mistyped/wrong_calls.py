"""Calls that must be rejected, each marked with `# wrong`. `tests/test_typing.py` compares with what the checkers say."""

from __future__ import annotations

from nursery_tasks import App, Retry

app = App("memory:")


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task(timeout=3)
def shout(text: str) -> str:
    return text.upper()


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
