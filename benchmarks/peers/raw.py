"""The limit that server and driver set, beside our worker: claim, store a result, acknowledge, in batches of 500."""

from __future__ import annotations

import sys
from typing import Any

from measuring import HERE, Place, ask, in_turns

from .effort import Effort
from .servers import open_stage
from .sides import PROGRAMS

JOBS = 40_000
PARTS = ("stream", "scripts")


def measure(place: Place, effort: Effort) -> dict[str, Any]:
    found: dict[str, list[list[float]]] = {part: [] for part in PARTS}
    for part in in_turns(effort.rounds, PARTS):
        with open_stage(place) as stage:
            command = [str(PROGRAMS / "raw_redis.py"), part, f"--count={int(JOBS * effort.share)}"]
            found[part].append(_ask(command, stage.url))
    return {"jobs/s, CPU us per job, the server's CPU us per job": found}


def _ask(command: list[str], url: str) -> list[float]:
    answer: list[float] = ask([sys.executable, *command], {"BENCH_URL": url, "PYTHONPATH": str(HERE.parent)})
    return answer
