"""A queue with a length whose worker is killed: what it held comes back, and no place stays taken."""

from __future__ import annotations

import signal
import threading

import pytest

from nursery_tasks import App, Job, JobState
from nursery_tasks.errors import QueueFull
from nursery_tasks.model.states import WAITING

from .test_kill import DEADLINE, Fleet, until
from .test_kill import fleet as fleet

MOST, JOBS = 20, 200


def test_a_killed_worker_leaves_no_place_taken(fleet: Fleet) -> None:
    client = App(fleet.url)
    client.queue("default", max_length=MOST)
    deepest, sent = [0], list[str]()

    def depth() -> int:
        counts = [info.counts for info in client.sync.queues.list() if info.name == "default"]
        return sum(counts[0].get(state, 0) for state in WAITING) if counts else 0

    def job(number: int, seconds: float) -> Job[object]:
        return client.job("work", number, seconds)

    def produce() -> None:
        for number in range(JOBS):
            sent.append(client.sync.enqueue(job(number, 0.02), timeout=DEADLINE).id)

    victim = fleet.start("asyncio", slots=2)  # slower than the producer
    producer = threading.Thread(target=produce)
    producer.start()
    until(lambda: len(fleet.lines("end")) >= 30 and depth() == MOST, "a full queue")
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    fleet.start("trio", slots=2)
    while producer.is_alive():
        deepest[0] = max(deepest[0], depth())
        producer.join(0.02)
    assert len(sent) == JOBS
    assert deepest[0] <= MOST + 2 * 2, "what the victim held comes back, and is not refused"
    until(lambda: len({number for number, *_ in fleet.lines("end")}) == JOBS, "all jobs")
    until(lambda: {client.sync.handle(job_id).status() for job_id in sent} == {JobState.SUCCEEDED}, "all outcomes")
    client.sync.queues.pause("default")
    for number in range(MOST):
        client.sync.enqueue_nowait(job(number, 0))
    with pytest.raises(QueueFull):
        client.sync.enqueue_nowait(job(MOST, 0))
    client.sync.close()
