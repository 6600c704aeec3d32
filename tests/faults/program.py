"""The program under fire: an app on SQLite whose worker is a process of its own. Run as `python program.py BACKEND SLOTS`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio

from nursery_tasks import App, current_job

app = App()
LOG = Path(os.environ.get("LOG", "log"))
LEASE_SECONDS = 1.5


def note(word: str, number: int) -> None:
    """Append one line to the log in one write, so that several processes can share it."""
    with LOG.open("ab", buffering=0) as log:
        log.write(f"{word} {number} {os.getpid()} {current_job().attempt}\n".encode())


@app.task
async def work(number: int, seconds: float) -> int:
    note("begin", number)
    await anyio.sleep(seconds)
    note("end", number)
    return number


@app.task
async def kill_my_worker(number: int) -> None:
    note("begin", number)
    os.kill(os.getpid(), 9)


@app.task
async def block(number: int, seconds: float) -> int:
    """Block the event loop, as a handler should not."""
    note("begin", number)
    end = anyio.current_time() + seconds
    while anyio.current_time() < end:
        sum(range(10_000))
    note("end", number)
    return number


async def main(slots: int) -> None:
    async with app, app.open_worker(slots=slots, lease=LEASE_SECONDS):
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    backend, slots = sys.argv[1:]
    options: dict[str, Any] = {"use_uvloop": True} if backend == "uvloop" else {}
    anyio.run(main, int(slots), backend="trio" if backend == "trio" else "asyncio", backend_options=options)
