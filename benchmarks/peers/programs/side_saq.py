"""SAQ.

A job is enqueued with `retries=3`: with its default of 1 a job whose worker dies is swept and then given up. A job is swept
when it has lasted longer than its `timeout`. Who waits for a result looks each millisecond (`Queue.apply(poll_interval=)`, by
default each half second).
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from parts import POLL_SECONDS, RECOVERY_SECONDS, SLOTS, URL, Async, at_most, play, write_moment
from saq import Queue

uvloop.install()
queue = Queue.from_url(URL)
FLIGHT = 20  # enqueues at a time: the queue's own limit (max_concurrent_ops)


async def noop(ctx: dict[str, Any]) -> None:
    """Do nothing."""


async def moment(ctx: dict[str, Any]) -> None:
    write_moment()


async def dies(ctx: dict[str, Any]) -> None:
    write_moment()
    await asyncio.sleep(60)


settings: dict[str, Any] = {"queue": queue, "functions": [noop, moment, dies], "concurrency": SLOTS}
if RECOVERY_SECONDS:
    settings["timers"] = {"sweep": 1}


class Saq(Async):
    async def open(self) -> None:
        await queue.connect()

    async def enqueue(self, task: str) -> None:
        await queue.enqueue(task, retries=3, **({"timeout": RECOVERY_SECONDS} if RECOVERY_SECONDS else {}))

    async def enqueue_many(self, count: int) -> None:
        await at_most(FLIGHT, count, lambda: queue.enqueue("noop", retries=3))

    async def run(self) -> None:
        await queue.apply("noop", poll_interval=POLL_SECONDS, retries=3)


if __name__ == "__main__":
    play(Saq())
