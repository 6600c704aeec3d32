"""dramatiq on Redis or RabbitMQ, with the `Results` middleware on Redis.

A message is acknowledged after its result is stored; what a dead worker held goes back to the queue when nothing was heard of
that worker for `heartbeat_timeout`. Its consumer looks for work with growing pauses (`dramatiq_worker_timeout`, a second), here
at least each millisecond; a client blocks on the result. RabbitMQ confirms each message, and pushes.
"""

from __future__ import annotations

import time
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from parts import ON_RABBITMQ, RECOVERY_SECONDS, RESULTS, URL, Blocking, play, write_moment

options: dict[str, Any] = {}
if RECOVERY_SECONDS:
    options = {"heartbeat_timeout": RECOVERY_SECONDS * 1000, "maintenance_chance": 1_000_000}
broker: dramatiq.Broker = RabbitmqBroker(url=URL, confirm_delivery=True) if ON_RABBITMQ else RedisBroker(url=URL, **options)
broker.add_middleware(Results(backend=RedisBackend(url=RESULTS)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def noop() -> None:
    """Do nothing."""


@dramatiq.actor(store_results=True)
def moment() -> None:
    write_moment()


@dramatiq.actor(store_results=True)
def dies() -> None:
    write_moment()
    time.sleep(60)


ACTORS = {"noop": noop, "moment": moment, "dies": dies}


class Dramatiq(Blocking):
    def enqueue(self, task: str) -> None:
        ACTORS[task].send()

    def enqueue_many(self, count: int) -> None:
        for _ in range(count):
            noop.send()

    def run(self) -> None:
        noop.send().get_result(block=True, timeout=60_000)


if __name__ == "__main__":
    play(Dramatiq())
