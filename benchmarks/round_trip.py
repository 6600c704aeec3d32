"""How long it takes to submit a job, have another process run it, and get its result.

At rest: one caller, who pauses 5 ms between two jobs, so that both processes have gone to sleep. Under load: eight callers,
each of whom submits the next job as soon as the last one's result is there.

The files are not new: thousands of jobs have gone through each. While SQLite's log grows for the first time every sync takes
longer, because the file system has to find room; afterwards the log is written over.
"""

from __future__ import annotations

import time

from measuring import Effort, Place, Table, in_turns, median, number, percentile, until
from report import alone
from sides import SIDES

PAUSE_SECONDS = 0.005
CALM_SECONDS = 1.5  # so that the worker has tidied up


def measure(place: Place, effort: Effort) -> Table:
    by_name = {side.name: side for side in SIDES}
    rest: dict[str, list[tuple[float, float]]] = {name: [] for name in by_name}
    load: dict[str, list[tuple[float, float, float]]] = {name: [] for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        side = by_name[name]
        with place.fresh() as directory, side.worker(directory) as worker:
            side.client("fill", directory, count=effort.jobs)
            with side.watch(directory) as ended:
                until(lambda: ended() >= effort.jobs, worker)
            time.sleep(CALM_SECONDS)
            taken = side.client("trips", directory, count=effort.round_trips, pause=PAUSE_SECONDS)
            rest[name].append((median(taken) * 1e3, percentile(taken, 99) * 1e3))
            taken = side.client("trips", directory, count=effort.round_trips, callers=effort.callers)
            rate = effort.callers / (sum(taken) / len(taken))
            load[name].append((median(taken) * 1e3, percentile(taken, 99) * 1e3, rate))
    table = Table(
        "Round trip between two processes",
        ["both sides", "at rest: median", "p99", f"{effort.callers} callers: median", "p99", "jobs/s"],
        raw={"at rest: median ms, p99 ms": rest, "under load: median ms, p99 ms, jobs/s": load},
    )
    for name in by_name:
        middle, late = (median(values) for values in zip(*rest[name], strict=True))
        busy_middle, busy_late, rate = (median(values) for values in zip(*load[name], strict=True))
        shown = [f"{value:.2f} ms" for value in (middle, late, busy_middle, busy_late)]
        table.rows.append([name, *shown, number(rate)])
    return table


if __name__ == "__main__":
    alone(measure)
