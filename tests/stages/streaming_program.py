"""A handler that makes many items of one message, and is killed: python streaming_program.py URL COUNT LOG."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio

from nursery_tasks import App
from nursery_tasks.worker import forward_line

forward_line.LEASE_SECONDS = 1.0  # type: ignore[misc]

URL, COUNT, LOG = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
app = App(URL)


@app.handler("counts", reply="numbers", many=True, max_crashes=100)
def count(most: int) -> Iterator[int]:
    for number in range(most):
        if number % 100 == 0:
            time.sleep(0.005)  # so that a kill meets it in the middle
        yield number


@app.listener("numbers", max_crashes=100)
def write(number: int) -> None:
    with LOG.open("a") as log:
        log.write(f"{number}\n")


async def main() -> None:
    async with app:
        if not LOG.exists():
            await app.queues.send("counts", str(COUNT))
        await app.run_pipeline(lease=1, slots=20)
        [jobs] = [queue.counts for queue in await app.queues.list() if queue.name == "numbers"]
        print(sum(jobs.values()))  # each message has become one, also one that was sent twice


if __name__ == "__main__":
    anyio.run(main)
