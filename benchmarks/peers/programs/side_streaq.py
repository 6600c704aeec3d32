"""streaq, a queue on Redis streams for AnyIO.

Task logging off (`silent`): its log costs as much as its job. A dead worker's tasks are claimed by others after `idle_timeout`.
Results are stored for its default of five minutes.
"""

from __future__ import annotations

from typing import Any

from parts import RECOVERY_SECONDS, SLOTS, URL, Async, play, write_moment
from streaq import Worker

options: dict[str, Any] = {"idle_timeout": RECOVERY_SECONDS} if RECOVERY_SECONDS else {}
worker = Worker(redis_url=URL, concurrency=SLOTS, anyio_kwargs={"use_uvloop": True}, **options)


@worker.task(silent=True)
async def noop() -> None:
    """Do nothing."""


@worker.task(silent=True)
async def moment() -> None:
    write_moment()


@worker.task(silent=True)
async def dies() -> None:
    write_moment()
    import anyio

    await anyio.sleep(60)


TASKS = {"noop": noop, "moment": moment, "dies": dies}


class Streaq(Async):
    async def open(self) -> None:
        await worker.__aenter__()

    async def close(self) -> None:
        await worker.__aexit__(None, None, None)

    async def enqueue(self, task: str) -> None:
        await TASKS[task].enqueue()

    async def enqueue_many(self, count: int) -> None:
        await worker.enqueue_many([noop.enqueue() for _ in range(count)])

    async def run(self) -> None:
        task = await noop.enqueue()
        await task.result(timeout=60)


if __name__ == "__main__":
    play(Streaq())
