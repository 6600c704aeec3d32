"""arq.

It polls: the worker for jobs and the client for results, each millisecond (its defaults: each half second; a worker starts no
more than `max_jobs` at each look, so throughput depends on it, too). A job stays in the queue until it has ended: that of a
dead worker is started again when its `job_timeout` and ten seconds are over.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from arq.connections import ArqRedis, RedisSettings, create_pool
from parts import POLL_SECONDS, RECOVERY_SECONDS, SLOTS, URL, Async, at_most, play, write_moment

uvloop.install()
asyncio.set_event_loop(uvloop.new_event_loop())  # the worker takes the one that is set
FLIGHT = 32


async def noop(ctx: dict[str, Any]) -> None:
    """Do nothing."""


async def moment(ctx: dict[str, Any]) -> None:
    write_moment()


async def dies(ctx: dict[str, Any]) -> None:
    write_moment()
    await asyncio.sleep(60)


LOGGING = {"version": 1, "loggers": {"arq": {"level": "WARNING"}}}  # it logs two lines per job


class WorkerSettings:
    functions = (noop, moment, dies)
    redis_settings = RedisSettings.from_dsn(URL)
    max_jobs = SLOTS
    poll_delay = POLL_SECONDS
    job_timeout = RECOVERY_SECONDS or 300


class Arq(Async):
    pool: ArqRedis

    async def open(self) -> None:
        self.pool = await create_pool(RedisSettings.from_dsn(URL))

    async def enqueue(self, task: str) -> None:
        await self.pool.enqueue_job(task)

    async def enqueue_many(self, count: int) -> None:
        await at_most(FLIGHT, count, lambda: self.pool.enqueue_job("noop"))

    async def run(self) -> None:
        job = await self.pool.enqueue_job("noop")
        assert job is not None
        await job.result(timeout=60, poll_delay=POLL_SECONDS)


if __name__ == "__main__":
    play(Arq())
