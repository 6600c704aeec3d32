"""An app on RabbitMQ without a store, for worker processes and for callers: `python storeless_program.py` awaits a job.

What handlers do is written as lines to the file LOG, and the broker's URL is in BROKER.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import anyio

from nursery_tasks import App, Retry, current_job

app = App(os.environ.get("BROKER", "memory:"))


def note(*words: object) -> None:
    with Path(os.environ["LOG"]).open("a") as log:
        print(*words, file=log, flush=True)


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task
async def stamp(name: str) -> float:
    note("ran", name)
    return time.time()


@app.task(retry=Retry(5, wait=0.3))
async def third_time() -> int:
    attempt = current_job().attempt
    note("attempt", attempt)
    if attempt < 3:
        raise OSError("not yet")
    return attempt


@app.task(retry=None)
async def fail(text: str) -> None:
    raise ValueError(text)


@app.task
async def slow(name: str, seconds: float) -> str:
    note("began", name)
    try:
        await anyio.sleep(seconds)
    except BaseException:
        note("cancelled", name)
        raise
    note("ended", name)
    return name


@app.task
async def gated(name: str) -> str:
    note("began", name)
    try:
        while not Path(f"{os.environ['LOG']}.open").exists():  # noqa: ASYNC110 - another process makes it
            await anyio.sleep(0.02)
    except BaseException:
        note("cancelled", name)
        raise
    note("ended", name)
    return name


async def main(name: str) -> None:
    async with app:
        await slow.run(name, 60.0)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
