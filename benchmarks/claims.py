"""How long a claim takes that has to pass jobs which may not run: flat, however many there are?

    python benchmarks/claims.py              1 000 and 10 000 jobs in the way, a minute
    python benchmarks/claims.py --whole      up to 100 000 jobs, some minutes

- *one ordering key*: all of them have the same key, and the first of them runs
- *a full limit*: all of them need a place that one job has
- *a full queue*: likewise, in a queue of their own, which the worker serves before the one with jobs that may run
- *tenants*: each belongs to another one, in a fair queue; all may run, and a claim looks for the next turn

The broker is called as a worker's thread calls it: a claim takes one job, which is settled. Shown is the median of the time of
one claim in milliseconds, and in brackets the longest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager

from measuring import Place, Table, median, open_place, progress
from peers.servers import open_stage
from report import as_markdown, as_text

from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.model.delivery import Finished, Submission
from nursery_tasks.model.limits import Limit
from nursery_tasks.model.states import JobState

SIZES = (1_000, 10_000)
WHOLE = (1_000, 10_000, 100_000)
CLAIMS = 200
BATCH = 1_000
LEASE_SECONDS = 600.0
BROKERS = ("memory", "SQLite", "Redis")

KEY = Limit("order:k", most=1, ordered=True)
PLACE = Limit("concurrency:c", most=1)


def _jobs(name: str, count: int, queue: str = "q", limits: tuple[Limit, ...] = ()) -> Iterable[Submission]:
    return (Submission(f"{name}-{number}", queue, "task", b"x" * 100, limits=limits) for number in range(count))


def _tenants(count: int) -> Iterable[Submission]:
    return (Submission(f"t-{number}", "q", "task", b"x" * 100, share=f"tenant-{number}") for number in range(count))


# way -> what is in the way, what may run, the queues of the worker
WAYS: dict[str, Callable[[int], tuple[Iterable[Submission], Iterable[Submission], list[str]]]] = {
    "one ordering key": lambda count: (_jobs("k", count, limits=(KEY,)), _jobs("free", CLAIMS), ["q"]),
    "a full limit": lambda count: (_jobs("c", count, limits=(PLACE,)), _jobs("free", CLAIMS), ["q"]),
    "a full queue": lambda count: (_jobs("c", count, "full", (PLACE,)), _jobs("free", CLAIMS), ["full", "q"]),
    "tenants": lambda count: (_tenants(count), (), ["q"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help=f"up to {WHOLE[-1]} jobs in the way")
    parser.add_argument("--brokers", default=",".join(BROKERS), metavar="A,B", help="some of them")
    parser.add_argument("--ways", default=",".join(WAYS), metavar="A,B", help="some of them")
    parser.add_argument("--directory", help="where brokers keep their files; a file system on a real disk")
    parser.add_argument("--markdown", action="store_true", help="write the table for the documentation")
    given = parser.parse_args()
    sizes = WHOLE if given.whole else SIZES
    table = Table("The time of a claim", ["in the way", "broker", *(f"{size:,}".replace(",", " ") for size in sizes)])
    with open_place(given.directory) as place:
        for way in given.ways.split(","):
            for name in given.brokers.split(","):
                shown: list[str] = []
                for size in sizes:
                    progress(f"{way}, {name}, {size}")
                    with broker_of(name, place) as broker:
                        taken = claim_times(broker, way, size)
                    shown.append(f"{median(taken) * 1e3:.2f} ms ({max(taken) * 1e3:.1f})")
                table.rows.append([way, name, *shown])
    progress("")
    print(as_markdown(table) if given.markdown else as_text(table), flush=True)


@contextmanager
def broker_of(name: str, place: Place) -> Generator[Broker, None, None]:
    """Open a broker that is empty."""
    if name == "Redis":
        with open_stage(place) as stage, closing(open_broker(stage.url)) as broker:
            yield broker
    else:
        with place.fresh() as directory:
            url = "memory:" if name == "memory" else f"sqlite:///{directory / 'jobs.db'}"
            with closing(open_broker(url)) as broker:
                yield broker


def claim_times(broker: Broker, way: str, size: int) -> list[float]:
    """Return how long each claim took."""
    in_the_way, free, queues = WAYS[way](size)
    submit(broker, in_the_way)
    if way != "tenants":
        [_first] = broker.claim(queues, 1, "holder", LEASE_SECONDS)  # takes the only place, and keeps it
    submit(broker, free)
    taken: list[float] = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        claimed = broker.claim(queues, 1, "worker", LEASE_SECONDS)
        taken.append(time.perf_counter() - began)
        if not claimed:
            raise RuntimeError(f"{way}: a claim found none of {size} jobs that may run")
        broker.settle([Finished(claimed[0], JobState.SUCCEEDED, b"")])
    return taken[1:]  # the first one makes the statements


def submit(broker: Broker, jobs: Iterable[Submission]) -> None:
    """Submit jobs in batches."""
    batch: list[Submission] = []
    for job in jobs:
        batch.append(job)
        if len(batch) == BATCH:
            broker.submit(batch)
            batch = []
    if batch:
        broker.submit(batch)


if __name__ == "__main__":
    main()
