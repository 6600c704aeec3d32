"""How throughput grows: with the number of jobs submitted at once, with the slots, and with the size of messages; ours alone.

- *depths*: one program submits so many jobs in one call and waits for the last; a worker is there. The time is that of both.
- *slots*: jobs that do nothing, and jobs that wait for ten milliseconds, are queued before a worker with so many slots starts.
- *payloads*: jobs that get so many random bytes, and do nothing with them; likewise.
"""

from __future__ import annotations

from typing import Any

from measuring import Place, in_turns, median

from .effort import Effort
from .servers import Stage, open_stage
from .sides import OURS
from .throughput import work_off

BYTES = 200_000_000  # all payloads of one measurement, at most
SIDE = OURS[0]


def measure(place: Place, effort: Effort) -> dict[str, Any]:
    points = (
        [f"depths {depth}" for depth in effort.depths]
        + [f"slots {slots}" for slots in effort.slots]
        + [f"pauses {slots}" for slots in effort.slots]
        + [f"payloads {size}" for size in effort.payloads]
    )
    kinds = {"depths": _depth, "slots": _slots, "pauses": _pauses, "payloads": _payload}
    found: dict[str, list[float]] = {point: [] for point in points}
    for point in in_turns(effort.curve_rounds, points):
        kind, _, number = point.partition(" ")
        with open_stage(place) as stage:
            found[point].append(kinds[kind](stage, int(number), effort))
    curves: dict[str, dict[str, list[float]]] = {kind: {} for kind in kinds}
    for point, rates in found.items():
        kind, _, number = point.partition(" ")
        curves[kind][number] = rates
    return curves


def _depth(stage: Stage, depth: int, effort: Effort) -> float:
    times = max(1, min(50, 20_000 // depth))
    with SIDE.worker(stage):
        taken = SIDE.client("bursts", stage, count=depth, times=times)
    return depth / median(taken)


def _slots(stage: Stage, slots: int, effort: Effort) -> float:
    return _queued(stage, int(20_000 * effort.share), effort, slots, task="noop")


def _pauses(stage: Stage, slots: int, effort: Effort) -> float:
    return _queued(stage, max(100, int(slots * 150 * effort.share)), effort, slots, task="pause")


def _payload(stage: Stage, size: int, effort: Effort) -> float:
    return _queued(stage, int(min(20_000, BYTES // size) * effort.share), effort, 32, task="swallow", size=size)


def _queued(stage: Stage, jobs: int, effort: Effort, slots: int, **options: Any) -> float:
    SIDE.client("fill", stage, count=jobs, **options)
    ended = SIDE.ended(stage)
    with SIDE.worker(stage, more=(f"--slots={slots}",)) as worker:
        return work_off(SIDE, ended, [worker], jobs, effort.most_seconds)[0]
