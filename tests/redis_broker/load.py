"""Load on a broker that breaks, and the count of what became of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event, Thread

from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.delivery import Submission

from . import outage_program

BATCH = 20
END_SECONDS = 180.0  # from the last break until the last job has ended


class Load:
    """Submits batches until it is stopped; a batch that may or may not have arrived is sent again, with its ids."""

    def __init__(self, broker: Broker) -> None:
        self.accepted: list[str] = []
        self.repeated = 0
        self._broker = broker
        self._stop = Event()
        self._thread = Thread(target=self._submit)
        self._thread.start()

    def wait_for_more(self, number: int) -> None:
        """Wait until so many more jobs are accepted."""
        wanted, end = len(self.accepted) + number, time.monotonic() + END_SECONDS
        while len(self.accepted) < wanted:
            assert time.monotonic() < end, f"{len(self.accepted)} of {wanted} jobs were accepted"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _job(self, number: int) -> Submission:
        payload = b'{"task":"work","args":[%d,0.02]}' % number
        return Submission(id=f"job-{number}", queue="default", task="work", payload=payload, max_crashes=1_000)

    def _submit(self) -> None:
        number = 0
        while not self._stop.is_set():
            numbers = range(number, number := number + BATCH)
            jobs = [self._job(n) for n in numbers]
            while True:
                try:
                    self._broker.submit(jobs)
                    break
                except BrokerUnavailable:
                    self.repeated += 1
                    time.sleep(0.05)
            self.accepted.extend(job.id for job in jobs)
            time.sleep(0.02)


def start_worker(url: str, log: Path, backend: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "NURSERY_TASKS_BROKER": url, "LOG": str(log), "LEASE": "2"}
    words = [sys.executable, outage_program.__file__, backend]
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_the_end(broker: Broker, ids: list[str]) -> dict[str, int]:
    """Wait until all have ended; return how many are in which state, `lost` among them."""
    end = time.monotonic() + END_SECONDS
    while True:
        try:
            found = broker.outcomes(ids)
        except BrokerUnavailable:
            if time.monotonic() > end:
                raise
            continue
        if all(each is not None and each.state.ended for each in found) or time.monotonic() > end:
            return dict(Counter("lost" if each is None else str(each.state) for each in found))
        time.sleep(0.2)
