"""The programs under test, each a process of its own on one SQLite file.

`python -m owned.run work BACKEND OPTIONS` is a worker, `python -m owned.run own BACKEND OPTIONS` a client that awaits jobs
until it is killed. OPTIONS are JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio

from nursery_tasks.events import EventKind, JobEvent
from owned.program import app, job_of, work, write


def note_event(event: JobEvent) -> None:
    """Write down that something was refused because it came too late."""
    if event.kind is EventKind.STALE:
        write("stale", event.job_id, event.attempt)


async def serve(options: dict[str, Any]) -> None:
    """Work until standard input ends."""
    app.subscribe(note_event)
    if options.pop("runs_processes", False):
        importlib.import_module("owned.in_processes")
    async with app, app.open_worker(**options):
        print("ready", flush=True)
        await anyio.wait_readable(0)
        threading.Timer(10, os._exit, [3]).start()  # what does not stop then is a failure of the test that sees it


async def own(options: dict[str, Any]) -> None:
    """Await a tree, beside jobs that are enqueued, until killed."""
    async with app:
        for path in options.get("enqueue", ()):
            await work.enqueue(path, options["seconds"])
        print("ready", flush=True)
        await job_of(options["path"], options["tree"]).run()


def run(main: Callable[[dict[str, Any]], Any], backend: str, options: dict[str, Any]) -> None:
    """Run one of the two on an event loop."""
    loop: dict[str, Any] = {"use_uvloop": True} if backend == "uvloop" else {}
    anyio.run(main, options, backend="trio" if backend == "trio" else "asyncio", backend_options=loop)


def set_clock(seconds_off: float) -> None:
    """Let this process's wall clock be wrong; not the broker's, whose clock is the machine's and that of all its processes."""
    from nursery_tasks.brokers import sqlite as sqlite  # it takes the right clock with it

    right = time.time
    time.time = lambda: right() + seconds_off  # type: ignore[assignment]


if __name__ == "__main__":
    what, backend, text = sys.argv[1:]
    options = json.loads(text)
    set_clock(options.pop("clock_off", 0))
    run({"work": serve, "own": own}[what], backend, options)
    os._exit(0)  # not held up by a thread that never ends
