"""What the log of events costs a worker: how many jobs that do nothing it gets done without the log and with it.

As in `throughput.py`, on SQLite, and on a Redis server of its own for each measurement. With the log, the worker appends two
events for each job, that it began and that it succeeded. A round is one measurement of each, now this one first and now that
one, and the two of a round are compared: what disturbs the machine for a while disturbs both. It takes many rounds: where the
machine does something else as well, two measurements of the same differ by more than is to be seen here.
"""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

import peers.sides
import sides
import throughput
from measuring import Effort, Place, Table, in_turns, median, number
from peers.servers import open_stage
from peers.throughput import work_off
from report import alone

LOG = {"BENCH_EVENT_LOG": "3600"}
LOOPS = ("asyncio", "trio")
MOST_SECONDS = 120.0
JOBS = ROUNDS = 3  # times what a measurement of throughput has


def measure(place: Place, effort: Effort) -> Table:
    names = [f"{broker}, {loop}" for broker in ("Redis", "SQLite") for loop in LOOPS]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for name in in_turns(ROUNDS * effort.rounds, names):
        found[name].append(_visit(name, place, JOBS * effort.jobs, is_first=len(found[name]) % 2 > 0))
    table = Table(
        "The log of events",
        ["worker", "jobs/s without", "jobs/s with", "fewer", "CPU per job without", "with", "more"],
        raw={"jobs/s, us per job, without and with": found},
    )
    for name in names:
        rates, costs, with_rates, with_costs = (list(values) for values in zip(*found[name], strict=True))
        fewer = 1 - median([after / before for before, after in zip(rates, with_rates, strict=True)])
        more = median([after / before for before, after in zip(costs, with_costs, strict=True)]) - 1
        rate, with_rate = number(median(rates)), number(median(with_rates))
        cost, with_cost = f"{median(costs):.1f} us", f"{median(with_costs):.1f} us"
        table.rows.append([name, rate, with_rate, f"{100 * fewer:.1f} %", cost, with_cost, f"{100 * more:.1f} %"])
    return table


def _visit(name: str, place: Place, jobs: int, *, is_first: bool) -> list[float]:
    """Return jobs per second and CPU microseconds per job, without the log and then with it; *is_first*: that comes first."""
    broker, loop = name.split(", ")
    run = _run_on_redis if broker == "Redis" else _run_on_sqlite
    figures: dict[bool, list[float]] = {}
    for is_on in (is_first, not is_first):
        with patch.dict(os.environ, LOG if is_on else {}):
            figures[is_on] = run(loop, place, jobs)
    return figures[False] + figures[True]


def _run_on_sqlite(loop: str, place: Place, jobs: int) -> list[float]:
    [side] = [side for side in sides.OURS if side.name.endswith(loop)]
    with place.fresh() as directory:
        return list(throughput.run(side, Path(directory), jobs))


def _run_on_redis(loop: str, place: Place, jobs: int) -> list[float]:
    [side] = [side for side in peers.sides.OURS if side.name.endswith(loop)]
    with open_stage(place) as stage:
        side.client("fill", stage, count=jobs)
        ended = side.ended(stage)
        with side.worker(stage) as worker:
            rate, cost, _ = work_off(side, ended, [worker], jobs, MOST_SECONDS)
    return [rate, cost]


if __name__ == "__main__":
    alone(measure)
