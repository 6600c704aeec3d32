"""What becomes of a job whose worker is killed while it runs it: tried, not only read about.

A worker at rest gets a job that does not end, and is killed with SIGKILL as soon as it has begun. Peers whose defaults for that
are minutes are told to wait for five seconds. After those another worker starts, other jobs come, and it has most of a minute
to run the job again; the time counts from the kill.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from measuring import Place, progress

from .effort import Effort
from .servers import open_stage
from .sides import Side

RECOVERY_SECONDS = 5
SETTLE_SECONDS = 5.0  # with all starting at the same time
WAIT_SECONDS = 50.0
OTHERS_SECONDS = 4.0  # there are peers that look for what was left behind only when something comes


def measure(place: Place, effort: Effort, sides: list[Side]) -> dict[str, Any]:
    variables = {"BENCH_RECOVERY_SECONDS": str(RECOVERY_SECONDS)}
    with ExitStack() as stack:
        stages = [stack.enter_context(open_stage(place)) for _ in sides]
        waiting: dict[str, tuple[Side, int, float]] = {}
        with ExitStack() as firsts:
            workers = [
                firsts.enter_context(side.worker(stage, variables=variables)) for side, stage in zip(sides, stages, strict=True)
            ]
            time.sleep(SETTLE_SECONDS)
            for number, (side, stage, worker) in enumerate(zip(sides, stages, workers, strict=True)):
                progress(f"killing the worker of {side.name}")
                side.client("enqueue-dies", stage, variables=variables)
                if not worker.until(lambda stage=stage: bool(moments(stage.directory))):  # type: ignore[misc]
                    raise RuntimeError(f"{side.name} has not run its job in a minute")
                worker.kill()
                if len(moments(stage.directory)) > 1:
                    raise RuntimeError(f"{side.name} ran its job twice before its worker was killed")
                waiting[side.name] = (side, number, time.time())
        time.sleep(RECOVERY_SECONDS + 1)
        for side, stage in zip(sides, stages, strict=True):
            stack.enter_context(side.worker(stage, 2, variables=variables))
        again: dict[str, float | None] = dict.fromkeys(waiting)
        end, next_others = time.monotonic() + WAIT_SECONDS, time.monotonic()
        while waiting and time.monotonic() < end:
            for name, (_, number, killed_at) in list(waiting.items()):
                if len(ran_at := moments(stages[number].directory)) > 1:
                    again[name] = round(ran_at[1] - killed_at, 1)
                    del waiting[name]
            if time.monotonic() >= next_others:
                for side, number, _ in waiting.values():
                    side.client("fill", stages[number], variables=variables, count=1)
                next_others = time.monotonic() + OTHERS_SECONDS
            time.sleep(0.1)
    return {"killed, ran again after s": again}


def moments(directory: Path) -> list[float]:
    """Return when the job ran."""
    try:
        return [float(line) for line in (directory / "jobs.moment").read_text().splitlines()]
    except FileNotFoundError:
        return []
