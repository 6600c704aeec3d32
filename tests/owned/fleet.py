"""Worker processes on one SQLite file, the log of their handlers, and what they hold of the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from nursery_tasks import App, Job, JobHandle, JobState
from nursery_tasks.client.cancelling import UNFINISHED
from nursery_tasks.model.listing import JobFilter, JobRecord

from . import program

PROGRAM = Path(program.__file__)
DEADLINE = 20.0
LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


def on_loops(*defaults: str) -> pytest.MarkDecorator:
    """Run a test on these loops, and on the others in the soak: processes take their time to start."""
    marks = {name: [] if name in defaults else [pytest.mark.soak] for name in LOOPS}
    return pytest.mark.parametrize(
        "anyio_backend", [pytest.param(backend, id=name, marks=marks[name]) for name, backend in LOOPS.items()]
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log."""

    word: str
    path: str
    pid: int
    attempt: int
    at: float  # time.monotonic(), of whichever process


class Fleet:
    """Workers and clients in processes of their own.

    Args:
        folder: Where the file and the log lie.
        environment: What the processes get beside ours.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.url = f"sqlite:///{folder / 'jobs.db'}"
        self.log = folder / "log"
        self._environment = environment or {}
        self._stack = ExitStack()
        self._read = 0
        self._lines: list[Line] = []

    def app(self, **given: Any) -> App:
        """Make a client's app, which knows the tasks by name only."""
        return App(self.url, errors=[program.Oops], **given)

    def start(self, what: str, backend: str, **options: Any) -> subprocess.Popen[str]:
        """Start a process without waiting for it."""
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "owned.run", what, backend, json.dumps(options)],
                env={**os.environ, **self._environment, "NURSERY_TASKS_BROKER": self.url, "LOG": str(self.log)},
                cwd=PROGRAM.parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        return process

    def work(self, *backends: str, **options: Any) -> list[subprocess.Popen[str]]:
        """Start workers, one on each of these loops, and wait until all work."""
        workers = [self.start("work", backend, **options) for backend in backends]
        for worker in workers:
            self.wait_ready(worker)
        return workers

    def wait_ready(self, process: subprocess.Popen[str]) -> None:
        """Wait for a process's first line."""
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def lines(self, word: str | None = None, below: str = "") -> list[Line]:
        """Return the log's lines with this word, of this handler and those below it."""
        if self.log.exists():
            with self.log.open() as log:
                log.seek(self._read)
                text = log.read()
            whole = text[: text.rfind("\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                said, path, pid, attempt, at = line.split()
                self._lines.append(Line(said, path, int(pid), int(attempt), float(at)))
        return [
            line
            for line in self._lines
            if word in (None, line.word) and (not below or line.path == below or line.path.startswith(f"{below}."))
        ]

    def close(self) -> None:
        """Kill what runs."""
        self._stack.close()


async def until(condition: Callable[[], object], what: str) -> None:
    """Look until something holds that tells nobody when it does: it happens in another process."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE:g} s for {what}"
        await anyio.sleep(0.005)


async def until_started(handle: JobHandle[Any]) -> None:
    """Wait until the broker knows that a job has started; its handler may run a moment earlier."""
    while await handle.status() is not JobState.STARTED:  # noqa: ASYNC110 - nobody tells
        await anyio.sleep(0.005)


def tree_job(app: App, path: str, tree: dict[str, Any]) -> Job[int]:
    """Return the unsent job that is a tree's root."""
    return app.job(program.NODES[tree["kind"]], path, tree)


def unfinished(app: App) -> list[JobRecord]:
    """Return the jobs that have not ended."""
    gateway = app.connection.gateway
    return gateway.admin.list_jobs(JobFilter(states=UNFINISHED), 1000)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds of the machine."""

    descriptors: int
    threads: int
    children: int

    @classmethod
    def of(cls, pid: int) -> Holdings:
        """Count, in /proc."""
        threads = os.listdir(f"/proc/{pid}/task")
        children = 0
        for thread in threads:
            try:
                children += len(Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
            except OSError:  # the thread has ended
                continue
        return cls(len(os.listdir(f"/proc/{pid}/fd")), len(threads), children)

    def fits(self, before: Holdings) -> bool:
        """Say whether nothing was added, but for what is made late and kept: a broker call's thread, SQLite's next handle."""
        return (
            self.descriptors <= before.descriptors + 2
            and self.threads <= before.threads + 2
            and self.children <= before.children
        )
