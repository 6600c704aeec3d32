"""How fast one program submits: one job after the other, each on the disk when its call returns; and many in one call."""

from __future__ import annotations

from measuring import Effort, Place, Table, in_turns, median, number
from report import alone
from sides import SIDES


def measure(place: Place, effort: Effort) -> Table:
    by_name = {side.name: side for side in SIDES}
    singles: dict[str, list[tuple[float, float]]] = {name: [] for name in by_name}
    bulk: dict[str, list[float]] = {name: [] for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        with place.fresh() as directory:
            taken = by_name[name].client("singles", directory, count=effort.single_jobs)
        singles[name].append((len(taken) / sum(taken), median(taken) * 1e6))
        with place.fresh() as directory:
            [seconds] = by_name[name].client("fill", directory, count=effort.jobs)
        bulk[name].append((effort.jobs - 1) / seconds)
    table = Table(
        "Submitting",
        ["program", "one by one, jobs/s", "median of one", f"{number(effort.jobs)} at once, jobs/s"],
        raw={"one by one: jobs/s, median us": singles, "at once: jobs/s": bulk},
    )
    for name, side in by_name.items():
        rate, one = (median(values) for values in zip(*singles[name], strict=True))
        note = "" if side.has_bulk else " (a loop)"
        table.rows.append([name, number(rate), f"{one:.0f} us", number(median(bulk[name])) + note])
    return table


if __name__ == "__main__":
    alone(measure)
