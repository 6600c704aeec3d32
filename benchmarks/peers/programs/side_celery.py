"""Celery on Redis or RabbitMQ, results on Redis.

`acks_late`, because by default it acknowledges a task before it runs and loses it with its worker; what nobody has
acknowledged for `visibility_timeout` goes back to the queue. A prefetch that suits short tasks, no gossip, no mingle, no
heartbeats. RabbitMQ confirms each message. A client waits for the result over pub/sub.
"""

from __future__ import annotations

import time

from celery import Celery
from parts import ON_RABBITMQ, RECOVERY_SECONDS, RESULTS, URL, Blocking, play, write_moment

app = Celery("bench", broker=URL, backend=RESULTS)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=True,
)
if ON_RABBITMQ:
    app.conf.broker_transport_options = {"confirm_publish": True}
elif RECOVERY_SECONDS:
    app.conf.broker_transport_options = {"visibility_timeout": RECOVERY_SECONDS}


@app.task(name="noop")
def noop() -> None:
    """Do nothing."""


@app.task(name="moment")
def moment() -> None:
    write_moment()


@app.task(name="dies")
def dies() -> None:
    write_moment()
    time.sleep(60)


TASKS = {"noop": noop, "moment": moment, "dies": dies}


class OnCelery(Blocking):
    def enqueue(self, task: str) -> None:
        TASKS[task].delay()

    def enqueue_many(self, count: int) -> None:
        for _ in range(count):
            noop.delay()

    def run(self) -> None:
        noop.delay().get(timeout=60)


if __name__ == "__main__":
    play(OnCelery())
