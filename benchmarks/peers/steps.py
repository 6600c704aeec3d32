"""Where the CPU time of our worker goes on Redis, per job that does nothing; `../steps.py` says the same of SQLite."""

from __future__ import annotations

from typing import Any

from measuring import Place, in_turns

from .effort import Effort
from .servers import open_stage
from .sides import OURS

JOBS = 20_000


def measure(place: Place, effort: Effort) -> dict[str, Any]:
    by_name = {side.name: side for side in OURS}
    found: dict[str, list[list[float]]] = {name: [] for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        jobs = int(JOBS * effort.share)
        with open_stage(place) as stage:
            by_name[name].client("fill", stage, count=jobs)
            before = stage.server_seconds()
            figures = by_name[name].client("steps", stage, count=jobs)
            found[name].append([*figures, (stage.server_seconds() - before) / jobs])
    return {"CPU seconds: loop, claims, settlements, all; jobs per claim, per settle; the server's CPU seconds": found}
