"""taskiq on a Redis stream (taskiq-redis) or RabbitMQ (taskiq-aio-pika), with results stored in Redis.

A message is acknowledged when the result is saved, which is its default; another worker claims what nobody has acknowledged
for `idle_timeout`. A client asks for a result each millisecond (its default: each 0.2 s). Results live for ten minutes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from parts import ON_RABBITMQ, POLL_SECONDS, RECOVERY_SECONDS, RESULTS, SLOTS, URL, Async, at_most, play, write_moment
from taskiq import AsyncBroker
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

options: dict[str, Any] = {"idle_timeout": RECOVERY_SECONDS * 1000} if RECOVERY_SECONDS else {}
if ON_RABBITMQ:
    from taskiq_aio_pika import AioPikaBroker

    broker: AsyncBroker = AioPikaBroker(URL, qos=SLOTS)
else:
    broker = RedisStreamBroker(
        URL, consumer_id="0", unacknowledged_lock_timeout=10.0, xread_block=100 if RECOVERY_SECONDS else 2000, **options
    )
broker = broker.with_result_backend(RedisAsyncResultBackend(RESULTS, result_ex_time=600))
FLIGHT = 32


@broker.task(task_name="noop")
async def noop() -> None:
    """Do nothing."""


@broker.task(task_name="moment")
async def moment() -> None:
    write_moment()


@broker.task(task_name="dies")
async def dies() -> None:
    write_moment()
    await asyncio.sleep(60)


TASKS = {"noop": noop, "moment": moment, "dies": dies}


class Taskiq(Async):
    async def open(self) -> None:
        await broker.startup()

    async def enqueue(self, task: str) -> None:
        await TASKS[task].kiq()

    async def enqueue_many(self, count: int) -> None:
        await at_most(FLIGHT, count, noop.kiq)

    async def run(self) -> None:
        task = await noop.kiq()
        await task.wait_result(check_interval=POLL_SECONDS, timeout=60)


if __name__ == "__main__":
    play(Taskiq())
