"""A worker that a test stops and lets go on. Run as `python frozen_program.py BACKEND [MAX_STALL_SECONDS]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio

from nursery_tasks import App
from nursery_tasks.worker import leases

app = App()
LOG = Path(os.environ["LOG"])
LEASE_SECONDS = 1.5


def note(word: str, name: str) -> None:
    """Append one line to the log in one write, so that several processes can share it."""
    with LOG.open("ab", buffering=0) as log:
        log.write(f"{word} {name}\n".encode())


@app.task
async def work(name: str, seconds: float) -> str:
    note("begin", name)
    await anyio.sleep(seconds)
    note("end", name)
    return name


async def main() -> None:
    async with app, app.open_worker(lease=LEASE_SECONDS, on_wedged=lambda seconds: os._exit(70)):
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        leases.MAX_STALL_SECONDS = float(sys.argv[2])  # type: ignore[misc]  # a minute is too long for a test
    anyio.run(main, backend=sys.argv[1])
