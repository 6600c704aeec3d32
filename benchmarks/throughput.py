"""How many jobs that do nothing one worker process gets done, and what each costs in CPU time.

All jobs are queued before the worker starts. From outside its database is asked every few milliseconds how many results are
stored; measured is from the first to the last of them, so starting up is not in it. The CPU time is that of the worker's whole
process between the same moments, plus a quarter of a second after, in which it tidies up.
"""

from __future__ import annotations

import time
from pathlib import Path

from measuring import Effort, Place, Table, in_turns, median, number, process_seconds, until
from report import alone
from sides import SIDES, Side

TIDY_SECONDS = 0.25


def measure(place: Place, effort: Effort) -> Table:
    by_name = {side.name: side for side in SIDES}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        with place.fresh() as directory:
            found[name].append(run(by_name[name], directory, effort.jobs))
    table = Table("Jobs that do nothing", ["worker", "jobs/s", "CPU per job", "delivery"], raw={"jobs/s, us per job": found})
    for name, side in by_name.items():
        rate, cost = (median(values) for values in zip(*found[name], strict=True))
        table.rows.append([name, number(rate), f"{cost:.0f} us", side.delivery])
    return table


def run(side: Side, directory: Path, jobs: int) -> tuple[float, float]:
    """Return jobs per second, and CPU microseconds per job."""
    side.client("fill", directory, count=jobs)
    with side.watch(directory) as ended, side.worker(directory) as worker:
        until(lambda: ended() > 0, worker)
        first, began, cpu_began = ended(), time.perf_counter(), process_seconds(worker.pid)
        until(lambda: ended() >= jobs, worker)
        seconds = time.perf_counter() - began
        time.sleep(TIDY_SECONDS)
        cpu = process_seconds(worker.pid) - cpu_began
    return (jobs - first) / seconds, cpu / (jobs - first) * 1e6


if __name__ == "__main__":
    alone(measure)
