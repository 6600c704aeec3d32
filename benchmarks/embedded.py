"""The same jobs with the broker in memory and the worker in the same process: what is left is our own Python."""

from __future__ import annotations

from measuring import Effort, Place, Table, in_turns, median, number
from report import alone
from sides import EMBEDDED


def measure(place: Place, effort: Effort) -> Table:
    by_name = {side.name: side for side in EMBEDDED}
    found: dict[str, list[list[float]]] = {name: [] for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        found[name].append(by_name[name].client("embedded", None, count=effort.jobs))
    table = Table(
        "In one process, in memory",
        ["program", "jobs queued/s", "CPU per job queued", "jobs run/s", "CPU per job run"],
        raw={"seconds queueing, CPU seconds, seconds running, CPU seconds": found, "jobs": effort.jobs},
    )
    for name in by_name:
        queueing, queueing_cpu, running, running_cpu = (
            median(values) / effort.jobs for values in zip(*found[name], strict=True)
        )
        row = [number(1 / queueing), f"{queueing_cpu * 1e6:.1f} us", number(1 / running), f"{running_cpu * 1e6:.0f} us"]
        table.rows.append([name, *row])
    return table


if __name__ == "__main__":
    alone(measure)
