"""Several workers under a supervisor, as a process: what the tests of `run --workers` share."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from cli_shell import Running, Shell, eventually

# The module of the tests with limits that would make a test slow made small, in the workers.
QUICK = """
from nursery_tasks.cli import serve
from nursery_tasks.worker import options

options.LEASE_SECONDS = 1.0
serve.NEXT_SIGNAL_SECONDS = 0.0
serve.CLEAN_UP_SECONDS = serve.STORE_SECONDS = 0.5

from tasks_here import app
"""
# The same in the supervisor.
QUICK_SUPERVISOR = (
    "from nursery_tasks.cli import supervise; supervise.NEXT_SIGNAL_SECONDS = 0.0;"
    "supervise.CLEAN_UP_SECONDS = supervise.STORE_SECONDS = 0.5"
)


class Crew:
    """A supervisor and its workers, whose events are read from its lines."""

    def __init__(self, shell: Shell, *args: str, workers: int = 2, module: str = "tasks_here:app", before: str = "") -> None:
        self.shell = shell
        self.size = workers
        command = ("run", module, "--json", "--name", "w", "--workers", str(workers), *args)
        self.running: Running = shell.start(*command, before=before)

    def wait_until_all_work(self) -> Crew:
        for _ in range(self.size):
            self.running.wait_for('"worker-started"')
        return self

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All lines that were waited for or passed by, each of which is one object."""
        events = [json.loads(line) for line in self.running.seen]
        return [event for event in events if kind in (None, event["event"])]

    def wait_for(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """Return the next event of a kind; with *wanted*, the next one with these values."""
        while True:
            event: dict[str, Any] = json.loads(self.running.wait_for(f'"event": "{kind}"'))
            if all(event.get(name) == value for name, value in wanted.items()):
                return event

    @property
    def pids(self) -> dict[str, int]:
        """The process of each worker that has begun so far."""
        return {event["worker"]: event["pid"] for event in self.events("worker-started")}

    def send(self, number: signal.Signals) -> None:
        self.running.send(number)

    def end(self) -> int:
        """Wait for its end; returns the exit code. No worker may be left."""
        code = self.running.end().code
        assert [name for name, pid in self.pids.items() if not is_gone(pid)] == []
        return code


def state(pid: int) -> str | None:
    """Return a process's state as `ps` shows it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; of one whose parent is dead nobody may have asked for its exit code."""
    return state(pid) in (None, "Z")


def zombies_of(pid: int) -> list[int]:
    """Return the children that have ended and were not asked for their exit codes."""
    children = [
        int(child)
        for task in os.listdir(f"/proc/{pid}/task")
        for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
    ]
    return [child for child in children if state(child) == "Z"]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_gone(pid))
