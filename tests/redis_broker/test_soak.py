"""Everything is killed, again and again, under load. What the broker has accepted ends, and the count is printed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import pytest
from redis_server import RedisServer, need_server, open_redis_broker

from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.delivery import Submission

from . import outage_program

WORKER_KILLS = int(os.environ.get("NURSERY_TASKS_WORKER_KILLS", "50"))
SERVER_KILLS = int(os.environ.get("NURSERY_TASKS_SERVER_KILLS", "20"))
WORKERS = 3
BATCH = 20
END_SECONDS = 180.0  # from the last kill until the last job has ended


class Load:
    """Submits batches until it is stopped; a batch that may or may not have arrived is sent again, with its ids."""

    def __init__(self, broker: RedisBroker) -> None:
        self.accepted: list[str] = []
        self.repeated = 0
        self._broker = broker
        self._stop = Event()
        self._thread = Thread(target=self._submit)
        self._thread.start()

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


def start_worker(server: RedisServer, log: Path, number: int) -> subprocess.Popen[bytes]:
    backend = ("asyncio", "trio")[number % 2]
    environment = {**os.environ, "NURSERY_TASKS_BROKER": server.url, "LOG": str(log), "LEASE": "2"}
    words = [sys.executable, outage_program.__file__, backend]
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.soak
def test_no_accepted_job_is_lost_when_workers_and_servers_are_killed(tmp_path: Path) -> None:
    need_server()
    log = tmp_path / "log"
    kills = ["worker"] * WORKER_KILLS + ["server"] * SERVER_KILLS
    random.shuffle(kills)
    with (
        TemporaryDirectory() as folder,
        RedisServer(Path(folder), "--appendonly", "yes", "--appendfsync", "everysec") as server,
    ):
        broker = open_redis_broker(f"{server.url}?timeout=2")
        workers = [start_worker(server, log, number) for number in range(WORKERS)]
        load = Load(broker)
        try:
            for number, victim in enumerate(kills):
                time.sleep(random.uniform(0.2, 1.5))
                if victim == "server":
                    server.kill()
                    time.sleep(random.uniform(0, 0.5))
                    server.start()
                else:
                    place = random.randrange(WORKERS)
                    workers[place].kill()
                    workers[place].wait()
                    workers[place] = start_worker(server, log, number)
                for place, worker in enumerate(workers):  # one that began while there was no server has ended
                    if worker.poll() is not None:
                        workers[place] = start_worker(server, log, number)
            load.stop()
            counts = wait_for_the_end(broker, load.accepted)
        finally:
            load.stop()
            for worker in workers:
                worker.kill()
                worker.wait()
            broker.close()
    lines = Counter(log.read_text().split())
    print(
        f"\n{WORKER_KILLS} workers and {SERVER_KILLS} servers killed: {len(load.accepted)} jobs accepted, "
        f"{load.repeated} submissions repeated, {counts}, {sum(lines.values()) - len(lines)} attempts repeated"
    )
    assert counts == {"succeeded": len(load.accepted)}


def wait_for_the_end(broker: RedisBroker, ids: list[str]) -> dict[str, int]:
    """Wait until all have ended; return how many are in which state, `lost` among them."""
    end = time.monotonic() + END_SECONDS
    while True:
        found = broker.outcomes(ids)
        if all(each is not None and each.state.ended for each in found) or time.monotonic() > end:
            return dict(Counter("lost" if each is None else str(each.state) for each in found))
        time.sleep(0.2)
