"""What a worker costs that has nothing to do: CPU time, calls to its broker, memory; and its memory after many jobs.

All contenders idle at the same time, each on a database of its own. Calls are counted in a run of its own, because counting
costs something, too: of ours the calls to the broker, of huey the calls to its storage.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from measuring import Effort, Place, Table, come_to_rest, in_turns, median, process_seconds, progress, resident_mib, until
from report import alone
from sides import HUEY_AS_IT_COMES, SIDES, Side

SETTLE_SECONDS = 3.0

ALL = [*SIDES, HUEY_AS_IT_COMES]


def measure(place: Place, effort: Effort) -> Table:
    names = [side.name for side in ALL]
    shares: dict[str, list[float]] = {name: [] for name in names}
    idle_memory: dict[str, list[float]] = {name: [] for name in names}
    for number in range(effort.rounds):
        progress(f"round {number + 1} of {effort.rounds}: idling")
        for name, (share, memory) in idle_together(place, effort.idle_seconds).items():
            shares[name].append(share)
            idle_memory[name].append(memory)
    by_name = {side.name: side for side in ALL}
    used_memory: dict[str, list[float]] = {name: [] for name in names}
    for name in in_turns(effort.rounds, names):
        used_memory[name].append(memory_after(by_name[name], place, effort.jobs))
    calls = {side.name: count_calls(side, place, effort.idle_seconds) for side in ALL}
    table = Table(
        "A worker at rest",
        ["worker", "CPU", "calls/s", "memory", f"after {effort.jobs:,} jobs".replace(",", " ")],
        raw={"percent of a core": shares, "calls/s": calls, "MiB": idle_memory, "MiB after the jobs": used_memory},
    )
    for name in names:
        idle, used = (f"{median(values):.0f} MiB" for values in (idle_memory[name], used_memory[name]))
        table.rows.append([name, f"{median(shares[name]):.2f} %", f"{calls[name]:.1f}", idle, used])
    return table


def idle_together(place: Place, seconds: float) -> dict[str, tuple[float, float]]:
    """Return percent of a core, and MiB, of each."""
    with ExitStack() as stack:
        workers = {side.name: stack.enter_context(side.worker(stack.enter_context(place.fresh()))) for side in ALL}
        time.sleep(SETTLE_SECONDS)
        come_to_rest([worker.pid for worker in workers.values()])
        before = {name: (time.monotonic(), process_seconds(worker.pid)) for name, worker in workers.items()}
        time.sleep(seconds)
        found: dict[str, tuple[float, float]] = {}
        for name, worker in workers.items():
            began, cpu = before[name]
            share = (process_seconds(worker.pid) - cpu) / (time.monotonic() - began) * 100
            found[name] = (share, resident_mib(worker.pid))
        return found


def memory_after(side: Side, place: Place, jobs: int) -> float:
    """Return MiB."""
    with place.fresh() as directory:
        side.client("fill", directory, count=jobs)
        with side.watch(directory) as ended, side.worker(directory) as worker:
            until(lambda: ended() >= jobs, worker)
            time.sleep(0.5)
            return resident_mib(worker.pid)


def count_calls(side: Side, place: Place, seconds: float) -> float:
    """Return calls per second."""
    with place.fresh() as directory:
        return side.count_calls(directory, seconds)


if __name__ == "__main__":
    alone(measure)
