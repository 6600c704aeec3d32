"""How fast one program submits: jobs by one caller, by many at a time, and 10 000 in one call; on the disk when a call returns.

The first two are measured after a warm-up of 1 500 jobs: while SQLite's log grows for the first time every sync takes longer.
"""

from __future__ import annotations

from measuring import Effort, Place, Table, in_turns, median, number
from report import alone
from sides import SIDES

CROWD = 32  # children of a nursery, or threads


def measure(place: Place, effort: Effort) -> Table:
    by_name = {side.name: side for side in SIDES}
    singles: dict[str, list[tuple[float, float]]] = {name: [] for name in by_name}
    crowds: dict[str, list[float]] = {name: [] for name in by_name}
    bulk: dict[str, list[float]] = {name: [] for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        with place.fresh() as directory:
            taken = by_name[name].client("singles", directory, count=effort.single_jobs)
        singles[name].append((len(taken) / sum(taken), median(taken) * 1e6))
        with place.fresh() as directory:
            taken = by_name[name].client("singles", directory, count=effort.single_jobs * 4, callers=CROWD)
        crowds[name].append(CROWD * len(taken) / sum(taken))
        with place.fresh() as directory:
            [seconds] = by_name[name].client("fill", directory, count=effort.jobs)
        bulk[name].append((effort.jobs - 1) / seconds)
    table = Table(
        "Submitting",
        ["program", "one caller, jobs/s", "median", f"{CROWD} callers, jobs/s", f"{number(effort.jobs)} in one call, jobs/s"],
        raw={"one caller: jobs/s, median us": singles, "many callers: jobs/s": crowds, "one call: jobs/s": bulk},
    )
    for name, side in by_name.items():
        rate, one = (median(values) for values in zip(*singles[name], strict=True))
        note = "" if side.has_bulk else " (a loop)"
        table.rows.append(
            [name, number(rate), f"{one:.0f} us", number(median(crowds[name])), number(median(bulk[name])) + note]
        )
    return table


if __name__ == "__main__":
    alone(measure)
