"""Handlers under test that run in processes. They stand apart: a worker that knows one of them starts processes for it."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

from owned.program import app as app
from owned.program import children_of, nap, note, write


@app.task(run_in="process")
def process_node(path: str, tree: dict[str, Any]) -> int:
    """Await the children one after the other, then work; in a process."""
    note("start", path)
    told = False
    try:
        count = sum(app.sync.run(job) for job in children_of(path, tree))
        nap(tree.get("seconds", 60))
        return 1 + count
    except BaseException as error:
        told = not isinstance(error, Exception)
        raise
    finally:
        if told:
            note("cancelled", path)
        note("left", path)


@app.task(run_in="process", kill_after=0.2)
def spin(path: str) -> None:
    """Compute for ever in a process that hears no SIGTERM, beside a program that hears none either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sh", "-c", 'trap "" TERM; while :; do sleep 100; done'])
    note("start", path)
    write(f"child{child.pid}", path, 1)
    while True:
        sum(range(1000))
