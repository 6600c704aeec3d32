"""Where the time of a round trip at rest goes: the moments at which each side calls the server, gets its answer, and is told.

One process submits and waits, another one is the worker; both run this file. The clock is the system's monotonic one. Prints
the median of each leg in microseconds, in their order, as JSON; the legs of one trip add up to the trip.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import anyio
import anyio.to_thread

from nursery_tasks import App
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.model.delivery import Hint

app = App(os.environ["BENCH_URL"])
PAUSE_SECONDS = 0.01

# leg -> the event that ends it; a trip begins when the caller submits
LEGS = {
    "the caller, to its thread": "client submit begins",
    "the server: submit, and tell the worker": "worker hint",
    "the worker's loop, to its thread": "worker claim begins",
    "the server: claim": "worker claim ends",
    "the worker's loop, the handler, to a thread": "worker settle begins",
    "the server: settle, and tell the caller": "client hint",
    "the caller's loop, to its thread": "client outcomes begins",
    "the server: look up the outcome": "client outcomes ends",
    "the caller's loop, to the caller": "client done",
}


@app.task
async def noop() -> None:
    """Do nothing."""


class Traced:
    """A broker that writes down when its calls begin and end, and when it tells."""

    def __init__(self, broker: Any, side: str, events: list[tuple[float, str]]) -> None:
        self._broker, self._side, self._events = broker, side, events

    def note(self, what: str) -> None:
        self._events.append((time.monotonic(), f"{self._side} {what}"))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._broker, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def traced(*args: Any) -> Any:
            self.note(f"{name} begins")
            try:
                return found(*args)
            finally:
                self.note(f"{name} ends")

        return traced

    def listen(self, topics: Any, emit: Callable[[Hint], object]) -> Any:
        wanted = "outcome" if self._side == "client" else "work"

        def told(hint: Hint) -> None:
            if hint.topic == wanted:
                self.note("hint")
            emit(hint)

        return self._broker.listen(topics, told)


async def work(events: list[tuple[float, str]]) -> None:
    """Be the worker, until standard input ends."""
    async with app, app.open_worker():
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)


async def trips(count: int, events: list[tuple[float, str]]) -> list[tuple[float, float]]:
    """Make round trips; return when each began and ended."""
    made: list[tuple[float, float]] = []
    async with app:
        for number in range(count + 20):
            await anyio.sleep(PAUSE_SECONDS)
            began = time.monotonic()
            await noop.run()
            if number >= 20:
                made.append((began, time.monotonic()))
    return made


def legs_of(trip: tuple[float, float], events: list[tuple[float, str]]) -> list[float] | None:
    """Return the seconds of each leg; None: something else happened meanwhile, so that they cannot be told apart."""
    began, ended = trip
    moments = {what: at for at, what in reversed(events) if began <= at <= ended}
    moments["client done"] = ended
    if not moments.keys() >= set(LEGS.values()):
        return None
    ends = [moments[event] for event in LEGS.values()]
    legs = [end - begin for begin, end in zip([began, *ends], ends, strict=False)]
    return legs if min(legs) >= 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["legs", "worker"])
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    events: list[tuple[float, str]] = []
    side = "worker" if given.part == "worker" else "client"
    with patch("nursery_tasks.app.open_broker", lambda url: Traced(open_broker(url), side, events)):
        if given.part == "worker":
            anyio.run(work, events)
            print(json.dumps(events))
            return
        worker = subprocess.Popen(
            [sys.executable, __file__, "worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        worker.stdout.readline()
        made = anyio.run(trips, given.count, events)
        rest, _ = worker.communicate("")
    events += [(at, what) for at, what in json.loads(rest)]
    events.sort()
    found = [legs for trip in made if (legs := legs_of(trip, events)) is not None]
    middle = [statistics.median(values) * 1e6 for values in zip(*found, strict=True)]
    print(json.dumps({"trips": len(found), "of": len(made), "legs": dict(zip(LEGS, middle, strict=True))}))


if __name__ == "__main__":
    main()
