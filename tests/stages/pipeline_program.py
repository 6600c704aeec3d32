"""A pipeline that is killed: python pipeline_program.py URL COUNT LOG; see `test_pipelines_killed.py`.

Each number goes through a handler into a collector, whose total is [how many numbers, their sum], so that one that is lost and
one that is doubled cannot hide each other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio

from nursery_tasks import App
from nursery_tasks.stages import publisher
from nursery_tasks.worker import forward_line

publisher.LOCK_LEASE_SECONDS = 1.0  # type: ignore[misc]
forward_line.LEASE_SECONDS = 1.0  # type: ignore[misc]

URL, COUNT, LOG = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
app = App(URL)


@app.publisher("numbers", buffer=200)
def numbers() -> Iterator[int]:
    for number in range(COUNT):
        if number % 50 == 0:
            time.sleep(0.02)  # so that a kill meets it in the middle
        yield number


@app.handler("numbers", reply="halves", many=True, max_crashes=100)
async def halve(number: int) -> list[int]:
    return [number, -number]


@app.collector("halves", every=500, running=True, initial=[0, 0], reply="ledger", max_crashes=100)
def add(total: list[int], number: int) -> list[int]:
    return [total[0] + 1, total[1] + abs(number)]


@app.listener("ledger", max_crashes=100)
def write(total: list[int]) -> None:
    with LOG.open("a") as log:
        log.write(f"{total[0]} {total[1]}\n")


async def main() -> None:
    async with app:
        await app.run_pipeline(lease=1, slots=20)


if __name__ == "__main__":
    anyio.run(main)
