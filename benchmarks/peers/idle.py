"""What a worker costs that has nothing to do: CPU time, commands to its server, memory.

All contenders idle at the same time, each with a server of its own, after each of them has run a job. The commands are the
difference of the server's own count (`INFO commandstats`), which also counts those inside of scripts.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from measuring import Place, come_to_rest, family_mib, family_seconds, progress

from .effort import Effort
from .servers import open_stage
from .sides import Side

SETTLE_SECONDS = 3.0


def measure(place: Place, effort: Effort, sides: list[Side]) -> dict[str, Any]:
    found: dict[str, list[list[float]]] = {side.name: [] for side in sides}
    for number in range(effort.rounds):
        progress(f"round {number + 1} of {effort.rounds}: idling")
        with ExitStack() as stack:
            stages = [stack.enter_context(open_stage(place)) for _ in sides]
            workers = [stack.enter_context(side.worker(stage)) for side, stage in zip(sides, stages, strict=True)]
            for side, stage, worker in zip(sides, stages, workers, strict=True):
                side.client("enqueue-moment", stage)
                if not worker.until((stage.directory / "jobs.moment").exists):
                    raise RuntimeError(f"{side.name} has not run its job in a minute")
            time.sleep(SETTLE_SECONDS)
            come_to_rest([worker.process.pid for worker in workers])
            before = [
                (time.monotonic(), family_seconds([worker.process.pid]), stage.commands())
                for worker, stage in zip(workers, stages, strict=True)
            ]
            time.sleep(effort.idle_seconds)
            for side, worker, stage, (began, cpu, commands) in zip(sides, workers, stages, before, strict=True):
                pids = [worker.process.pid]
                used, seconds = family_seconds(pids) - cpu, time.monotonic() - began
                found[side.name].append([used / seconds * 100, (stage.commands() - commands) / seconds, family_mib(pids)])
    return {"percent of a core, commands/s, MiB": found}
