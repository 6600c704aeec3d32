"""How ours grows: with the jobs that are queued, with the slots, with the worker processes, and with the size of messages.

    python benchmarks/growth.py                         small sizes, two minutes
    python benchmarks/growth.py --whole                 up to a million jobs, 2 000 slots, 16 processes, 1 MB: half an hour
    python benchmarks/growth.py --kinds depth,slots     some of them

- *depth*: with so many jobs queued, microseconds per job of a batch of 500 that is submitted, and of one that is claimed and
  settled. Flat is the aim.
- *slots*: jobs that wait for ten milliseconds, by one worker with so many slots: jobs per second. It grows until the core
  is full.
- *processes*: jobs that do nothing, by so many worker processes: jobs per second, and CPU microseconds per job.
- *payload*: jobs that get so many random bytes, by one worker: jobs per second, and megabytes per second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from claims import BROKERS, LEASE_SECONDS, broker_of, submit
from measuring import Place, Table, median, number, open_place, progress
from peers.servers import FilePlace, Stage, open_stage
from peers.sides import OURS, SQLITE_SIDES, Side
from peers.throughput import work_off
from report import as_markdown, as_text

from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.model.delivery import Finished, Submission
from nursery_tasks.model.states import JobState

BATCH = 500
BATCHES = 20
MOST_SECONDS = 6.0
BYTES = 100_000_000  # all payloads of one measurement, at most
NOOPS = 20_000
SIDES: dict[str, Side] = {"SQLite": SQLITE_SIDES[0], "Redis": OURS[0]}

SIZES = {"depth": (1, 10_000), "slots": (1, 100), "processes": (1, 2), "payload": (100, 10_000)}
WHOLE = {
    "depth": (1, 1_000, 10_000, 100_000, 1_000_000),
    "slots": (1, 10, 100, 500, 1_000, 2_000),
    "processes": (1, 2, 4, 8, 16),
    "payload": (100, 1_000, 10_000, 100_000, 1_000_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="all sizes")
    parser.add_argument("--kinds", default=",".join(SIZES), metavar="A,B", help="some of them")
    parser.add_argument("--brokers", default=",".join(BROKERS), metavar="A,B", help="some of them; memory has depth alone")
    parser.add_argument("--directory", help="where brokers keep their files; a file system on a real disk")
    parser.add_argument("--markdown", action="store_true", help="write the tables for the documentation")
    given = parser.parse_args()
    with open_place(given.directory) as place:
        for kind in given.kinds.split(","):
            sizes = (WHOLE if given.whole else SIZES)[kind]
            table = Table(kind, ["broker", *(number(size) for size in sizes)])
            for broker in given.brokers.split(","):
                if kind == "depth" or broker in SIDES:
                    table.rows.append([broker, *(measure(kind, broker, size, place) for size in sizes)])
            progress("")
            print(as_markdown(table) if given.markdown else as_text(table), flush=True)


def measure(kind: str, broker: str, size: int, place: Place) -> str:
    """Return what the table shows of one size."""
    progress(f"{kind}: {broker}, {size}")
    if kind == "depth":
        with broker_of(broker, place) as opened:
            return depth(opened, size)
    kinds: dict[str, Callable[[Side, Stage, int], str]] = {"slots": slots, "processes": processes, "payload": payload}
    with open_stage(FilePlace(place.root) if broker == "SQLite" else place) as stage:
        return kinds[kind](SIDES[broker], stage, size)


def depth(broker: Broker, size: int) -> str:
    submit(broker, (_job("before", number) for number in range(size)))
    submitting, running = list[float](), list[float]()
    for turn in range(BATCHES):
        batch = [_job(f"batch-{turn}", number) for number in range(BATCH)]
        began = time.perf_counter()
        broker.submit(batch)
        submitted = time.perf_counter()
        claimed = broker.claim(["q"], BATCH, "worker", LEASE_SECONDS)
        broker.settle([Finished(delivery, JobState.SUCCEEDED, b"") for delivery in claimed])
        submitting.append((submitted - began) / BATCH)
        running.append((time.perf_counter() - submitted) / len(claimed))
    return f"{median(submitting) * 1e6:.1f} + {median(running) * 1e6:.1f} us"


def _job(name: str, number: int) -> Submission:
    return Submission(f"{name}-{number}", "q", "task", b"x" * 100)


def slots(side: Side, stage: Stage, size: int) -> str:
    rate, _ = _work(side, stage, max(100, min(30_000, size * 200)), more=(f"--slots={size}",), task="pause")
    return f"{number(rate)}/s"


def processes(side: Side, stage: Stage, size: int) -> str:
    rate, cpu = _work(side, stage, NOOPS, workers=size)
    return f"{number(rate)}/s, {number(cpu)} us"


def payload(side: Side, stage: Stage, size: int) -> str:
    rate, _ = _work(side, stage, max(60, min(NOOPS, BYTES // size)), task="swallow", size=size)
    return f"{number(rate)}/s, {rate * size / 1e6:.1f} MB/s"


def _work(
    side: Side, stage: Stage, jobs: int, *, workers: int = 1, more: tuple[str, ...] = (), **options: Any
) -> tuple[float, float]:
    """Return jobs per second, and CPU microseconds per job."""
    side.client("fill", stage, count=jobs, **options)
    ended = side.ended(stage)
    with ExitStack() as stack:
        started = [stack.enter_context(side.worker(stage, each + 1, more=more)) for each in range(workers)]
        rate, cpu, _ = work_off(side, ended, started, jobs, MOST_SECONDS)
        return rate, cpu


if __name__ == "__main__":
    main()
