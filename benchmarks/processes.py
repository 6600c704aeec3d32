"""How long it takes to call a function that does nothing in another process, once that process is there.

A job with `run_in="process"`, through a whole worker in the same program: submitted, claimed, run in its host, outcome stored,
result read. Beside it what a program would do without a queue: `anyio.to_process.run_sync` and the standard library's
`ProcessPoolExecutor`, which store nothing and give a crash to whoever waits.
"""

from __future__ import annotations

from measuring import Effort, Place, Table, in_turns, median, percentile
from report import alone
from sides import EMBEDDED

WAYS = {
    "job, sqlite": "process-jobs",
    "job, memory": "process-jobs",
    "anyio.to_process": "to-process",
    "ProcessPoolExecutor": "pool",
}


def measure(place: Place, effort: Effort) -> Table:
    sides = {side.name: side for side in EMBEDDED}
    names = [f"{way}, {loop}" for way in WAYS for loop in (sides if way != "ProcessPoolExecutor" else ["asyncio"])]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for name in in_turns(effort.rounds, names):
        way, _, loop = name.rpartition(", ")
        with place.fresh() as directory:
            taken = sides[loop].client(WAYS[way], None if way == "job, memory" else directory, count=effort.round_trips)
        found[name].append((median(taken) * 1e3, percentile(taken, 99) * 1e3))
    table = Table("A call in a warm process", ["way", "median", "p99"], raw={"median ms, p99 ms": found})
    for name in names:
        table.rows.append([name, *(f"{median(values):.2f} ms" for values in zip(*found[name], strict=True))])
    return table


if __name__ == "__main__":
    alone(measure)
