"""The program under fire: durable workflows on a worker that is killed. Run as `python kill_program.py BACKEND SLOTS`.

Each line of the log is one write, and tells what happened, to which step, in which process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio

from nursery_tasks import App, current_job, sleep, step, wait_for_event

app = App()
LOG = Path(os.environ.get("LOG", "log"))
LEASE_SECONDS = 1.5
ROUNDS, WIDTH = 5, 8  # each round is a step, a fan-out and a step: 50 in all
STEPS = ROUNDS * (WIDTH + 2)


def note(word: str, what: object) -> None:
    """Append one line to the log."""
    with LOG.open("ab", buffering=0) as log:
        log.write(f"{word} {what} {os.getpid()} {current_job().id}\n".encode())


async def local(number: int) -> int:
    """Have a side effect, as a step."""
    note("begin", number)
    await anyio.sleep(0.02)
    note("end", number)
    return number


@app.task(max_crashes=1_000)
async def remote(number: int) -> int:
    """Have a side effect, as a job."""
    note("begin", number)
    await anyio.sleep(0.02 + number % 3 * 0.05)
    note("end", number)
    return number


@app.workflow(durable=True, max_crashes=1_000)
async def fifty() -> int:
    """Fifty steps, each known by its number; what it has got must not begin again."""
    note("run", 0)
    total = 0
    for turn in range(ROUNDS):
        first = turn * (WIDTH + 2)
        total += await step(local, first)
        note("got", first)
        async with app.create_task_group() as group:
            children = [group.start_soon(remote, first + 1 + place) for place in range(WIDTH)]
        for child in children:
            note("got", child.return_value)
            total += child.return_value
        total += await step(local, first + WIDTH + 1)
        note("got", first + WIDTH + 1)
    return total


@app.task(max_crashes=1_000)
async def take_back(number: int) -> None:
    note("undo", number)
    if LOG.read_text().count("undo ") == 1:
        await anyio.sleep_forever()  # until it is killed
    note("undone", number)


@app.task
async def fail() -> None:
    raise ValueError("the third one")


@app.workflow(durable=True, max_crashes=1_000)
async def three(hang: bool) -> None:
    """Do two things, then fail, or hang until somebody cancels."""
    for number in (1, 2):
        await step(local, number)
        step.undo_with(take_back, number)
    note("run", 0)
    if hang:
        await anyio.sleep_forever()
    await fail.run()


@app.workflow(durable=True, max_crashes=1_000)
async def patient(seconds: float) -> str:
    """Wait for a time and for somebody."""
    note("run", 0)
    await sleep(seconds)
    note("slept", 0)
    word: str = await wait_for_event("word", returns=str)
    return word


async def main(slots: int) -> None:
    async with app, app.open_worker(slots=slots, lease=LEASE_SECONDS):
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    backend, slots = sys.argv[1:]
    options: dict[str, Any] = {"use_uvloop": True} if backend == "uvloop" else {}
    anyio.run(main, int(slots), backend="trio" if backend == "trio" else "asyncio", backend_options=options)
