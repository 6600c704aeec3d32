"""Where the time of a round trip at rest goes, ours on asyncio: `programs/trace_trip.py` says how it is found out."""

from __future__ import annotations

import sys
from typing import Any

from measuring import HERE, Place, ask, progress

from .effort import Effort
from .servers import open_stage
from .sides import PROGRAMS


def measure(place: Place, effort: Effort) -> dict[str, Any]:
    found: list[dict[str, float]] = []
    for number in range(effort.rounds):
        progress(f"round {number + 1} of {effort.rounds}: the legs of a trip")
        with open_stage(place) as stage:
            command = [sys.executable, str(PROGRAMS / "trace_trip.py"), "legs", f"--count={effort.trips}"]
            answer = ask(command, {"BENCH_URL": stage.url, "PYTHONPATH": str(HERE.parent)})
        found.append(answer["legs"])
    return {"median us of each leg, by round": found}
