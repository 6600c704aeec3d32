"""The limit that a server and a driver set: claim, store a result, acknowledge, for batches of jobs, without a framework.

- `stream`: what one would write by hand with blocking redis-py: XREADGROUP, then a pipeline of SET, XACK and XDEL per job.
- `scripts`: the calls that a worker of ours makes to its broker, one after the other, with an outcome that is there already.
  Nobody decodes a message, runs a handler, or packs what it returned.

Prints jobs per second, and CPU microseconds per job of this process and of the server.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import redis

from nursery_tasks.brokers.url import open_broker
from nursery_tasks.model.delivery import Finished, Submission
from nursery_tasks.model.states import JobState

URL = os.environ["BENCH_URL"]
BATCH = 500
TTL_SECONDS = 3600
MESSAGE, OUTCOME = os.urandom(60), os.urandom(60)  # as long as those of a job that does nothing


def stream(client: redis.Redis, count: int) -> Callable[[], int]:
    """Queue jobs; returns what works off one batch and says how many there were."""
    client.xgroup_create("jobs", "workers", id="0", mkstream=True)
    for begin in range(0, count, 2_000):
        with client.pipeline(transaction=False) as pipe:
            for number in range(begin, min(begin + 2_000, count)):
                pipe.xadd("jobs", {b"id": b"%032d" % number, b"m": MESSAGE})
            pipe.execute()

    def batch() -> int:
        found = client.xreadgroup("workers", "one", {"jobs": ">"}, count=BATCH)
        if not found:
            return 0
        rows = found[0][1]
        with client.pipeline(transaction=True) as pipe:
            for place, fields in rows:
                pipe.set(b"result:" + fields[b"id"], OUTCOME, ex=TTL_SECONDS)
                pipe.xack("jobs", "workers", place)
                pipe.xdel("jobs", place)
            pipe.execute()
        return len(rows)

    return batch


def scripts(client: redis.Redis, count: int) -> Callable[[], int]:
    """Do the same with the broker's own scripts."""
    broker = open_broker(URL)
    for begin in range(0, count, 2_000):
        broker.submit(
            [
                Submission(id=f"{number:032d}", queue="default", task="noop", payload=MESSAGE)
                for number in range(begin, min(begin + 2_000, count))
            ]
        )

    def batch() -> int:
        claimed = broker.claim(("default",), BATCH, "one", 15.0)
        broker.settle([Finished(delivery, JobState.SUCCEEDED, OUTCOME) for delivery in claimed])
        return len(claimed)

    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["stream", "scripts"])
    parser.add_argument("--count", type=int, default=10_000)
    given = parser.parse_args()
    with redis.Redis.from_url(URL, protocol=2) as client:
        batch = {"stream": stream, "scripts": scripts}[given.part](client, given.count)
        batch()
        server = int(client.info("server")["process_id"])
        began, cpu_began, server_began, done = time.perf_counter(), time.process_time(), _seconds(server), 0
        while number := batch():
            done += number
        taken, cpu, server_cpu = time.perf_counter() - began, time.process_time() - cpu_began, _seconds(server) - server_began
    print(json.dumps([done / taken, cpu / done * 1e6, server_cpu / done * 1e6]))


def _seconds(pid: int) -> float:
    if not Path("/proc").exists():
        return 0.0
    return time.clock_gettime((~pid << 3) | 2)


if __name__ == "__main__":
    main()
