"""Where the CPU time of a worker goes, per job that does nothing: its event loop, the claims, the settlements, and the rest.

A claim and a settlement run in threads and are for many jobs at once. The rest is switching between threads and what the
interpreter does for them.
"""

from __future__ import annotations

from measuring import Effort, Place, Table, in_turns, median
from report import alone
from sides import OURS


def measure(place: Place, effort: Effort) -> Table:
    by_name = {side.name: side for side in OURS}
    found: dict[str, list[list[float]]] = {name: [] for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        with place.fresh() as directory:
            by_name[name].client("fill", directory, count=effort.jobs)
            found[name].append(by_name[name].client("steps", directory, count=effort.jobs))
    table = Table(
        "CPU time per job",
        ["worker", "event loop", "claim", "settle", "rest", "all", "jobs per claim", "jobs per settle"],
        raw={"CPU seconds: loop, claims, settlements, all; jobs per claim, per settle": found},
    )
    for name in by_name:
        loop, claim, settle, process, per_claim, per_settle = (median(values) for values in zip(*found[name], strict=True))
        seconds = [loop, claim, settle, process - loop - claim - settle, process]
        table.rows.append([name, *(f"{value * 1e6:.1f} us" for value in seconds), f"{per_claim:.0f}", f"{per_settle:.0f}"])
    return table


if __name__ == "__main__":
    alone(measure)
