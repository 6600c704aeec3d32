"""huey on SQLite in the same parts as `ours.py`, with the settings that suit it best.

Every write is synced and results are stored, as in ours. It takes a job out of the queue when it fetches it, so a job whose
worker dies is lost: at most once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huey import SqliteHuey  # type: ignore[import-untyped]
from huey.consumer import Consumer  # type: ignore[import-untyped]

FILE = os.environ["BENCH_FILE"]
WARM_UP = 1_500  # jobs, as in ours
huey = SqliteHuey("bench", filename=FILE, fsync=True, journal_mode="wal", store_none=True)


@huey.task()  # type: ignore[untyped-decorator]
def noop() -> None:
    """Do nothing."""


@huey.task()  # type: ignore[untyped-decorator]
def moment() -> None:
    """Write down when it ran."""
    Path(f"{FILE}.moment").write_text(str(time.time()))


def fill(count: int) -> list[float]:
    """Submit jobs in a loop: it has no call for many."""
    noop()
    began = time.perf_counter()
    for _ in range(count - 1):
        noop()
    return [time.perf_counter() - began]


def singles(count: int, callers: int) -> list[float]:
    """Let each of *callers* submit jobs one after the other; return how long each took."""
    taken: list[float] = []

    def caller() -> None:
        for _ in range(count // callers):
            began = time.perf_counter()
            noop()
            taken.append(time.perf_counter() - began)

    for _ in range(WARM_UP):
        noop()
    in_threads(caller, callers)
    return taken


def in_threads(function: Callable[[], None], callers: int) -> None:
    threads = [threading.Thread(target=function) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def trips(count: int, callers: int, pause: float) -> list[float]:
    """Run jobs in another process and wait for each; return how long each took."""
    taken: list[float] = []

    def run() -> None:
        noop().get(blocking=True, backoff=1.0, max_delay=0.001)  # looks each millisecond

    def caller() -> None:
        for _ in range(count):
            time.sleep(pause)
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)

    for _ in range(20):  # warm-up
        run()
    in_threads(caller, callers)
    return taken


def enqueue_moment() -> list[float]:
    """Submit one job that writes down when it ran."""
    moment()
    return []


def make_consumer(threads: int, delay: float) -> Consumer:
    """Make a consumer.

    Args:
        delay: How often each thread looks for work, in seconds; 0: huey's own defaults (0.1 s, growing to 10 s when idle).
    """
    logging.getLogger("huey").setLevel(logging.WARNING)  # it logs two lines per job, which costs more than the job
    polling = {"initial_delay": delay, "backoff": 1.0, "max_delay": delay} if delay else {}
    return huey.create_consumer(workers=threads, periodic=False, **polling)


def work(threads: int, delay: float) -> list[float]:
    """Be a consumer, until Ctrl-C."""
    make_consumer(threads, delay).run()
    return []


def count_calls(threads: int, delay: float, seconds: float) -> list[float]:
    """Be a consumer with nothing to do, and return how many calls it made to its storage."""
    counts: Counter[str] = Counter()
    for name in ("dequeue", "read_schedule"):
        setattr(huey.storage, name, counting(getattr(huey.storage, name), name, counts))
    consumer = make_consumer(threads, delay)
    consumer.start()
    time.sleep(1.0)
    counts.clear()
    time.sleep(seconds)
    found = counts.total()
    consumer.stop(graceful=True)
    return [found]


def counting(function: Callable[..., Any], name: str, counts: Counter[str]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        counts[name] += 1
        return function(*args)

    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["worker", "fill", "singles", "trips", "enqueue-moment", "count-calls"])
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.001)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    parts: dict[str, Callable[[], list[float]]] = {
        "worker": lambda: work(given.threads, given.delay),
        "fill": lambda: fill(given.count),
        "singles": lambda: singles(given.count, given.callers),
        "trips": lambda: trips(given.count, given.callers, given.pause),
        "enqueue-moment": enqueue_moment,
        "count-calls": lambda: count_calls(given.threads, given.delay, given.seconds),
    }
    print(json.dumps(parts[given.part]()))


if __name__ == "__main__":
    main()
