"""How long after a scope's end everything below it has ended: a tree of jobs on three levels, on two worker processes.

The caller has `move_on_after(0.3)` around a job that starts three others, each of which starts three: thirteen jobs that would
take a minute. *Heard* is when the last handler of a tree saw its cancellation, *left* when the caller's scope was left, which
is after all of them have ended and their outcomes are stored. Both count from the scope's deadline.
"""

from __future__ import annotations

from measuring import Effort, Place, Table, in_turns, median, percentile
from report import alone
from sides import OURS


def measure(place: Place, effort: Effort) -> Table:
    by_name = {side.name: side for side in OURS}
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        side = by_name[name]
        with place.fresh() as directory, side.worker(directory), side.worker(directory):
            taken = side.client("cancels", directory, count=effort.cancels)
            heard, left = taken[: effort.cancels], taken[effort.cancels :]
            found[name].append(
                tuple(value * 1e3 for value in (median(heard), percentile(heard, 99), median(left), percentile(left, 99)))
            )
    table = Table(
        "Cancelling a tree of 13 jobs on two workers",
        ["both sides", "last one heard: median", "p99", "scope left: median", "p99"],
        raw={"heard: median ms, p99 ms; left: median ms, p99 ms": found},
    )
    for name in by_name:
        table.rows.append([name, *(f"{median(values):.1f} ms" for values in zip(*found[name], strict=True))])
    return table


if __name__ == "__main__":
    alone(measure)
