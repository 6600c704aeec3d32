"""The command line is tested as people use it: as a process of its own, in a directory with a module.

Tests wait for lines and for states in the database, with a deadline; nothing waits by sleeping and hoping.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from prepared_commands import can_be_prepared, prepared_commands

from nursery_tasks import App

DEADLINE_SECONDS = 20.0  # a shared machine may take its time

MODULE = '''
"""Tasks for the tests."""

import ctypes
import os
import time
from pathlib import Path

import anyio

from nursery_tasks import App, Retry, check_cancelled, current_job

app = App("sqlite:///jobs.db")


@app.task(timeout=30)
async def greet(name: str, seconds: float = 0.0) -> str:
    """Say hello."""
    await anyio.sleep(seconds)
    return f"Hello, {name}"


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task(retry=Retry(2, wait=0.01))
async def bad() -> None:
    raise ValueError("no good")


@app.task
def stubborn(seconds: float) -> None:
    time.sleep(seconds)


@app.task
def polite() -> None:
    while True:
        check_cancelled()
        time.sleep(0.01)


@app.task
async def hold_the_loop(seconds: float) -> None:
    time.sleep(seconds)


@app.task
async def hold_the_loop_for_ever() -> None:
    """Deadlock in a library: Python's own handlers of signals do not get a turn any more."""
    lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
    lock(mutex)
    lock(mutex)


@app.task
async def meet(others: int) -> str:
    """Wait until so many have come."""
    here = Path("met")
    here.mkdir(exist_ok=True)
    (here / current_job().id).touch()
    while len(os.listdir(here)) < others:
        await anyio.sleep(0.01)
    return current_job().worker
'''


@dataclass
class Ended:
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        return self.err.splitlines()


@dataclass
class Running:
    """A command that runs; its lines come through a thread."""

    process: subprocess.Popen[str]
    seen: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._lines.put)),
            threading.Thread(target=self._read, args=(self.process.stderr, self._error)),
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: IO[str], put: Callable[[str | None], object]) -> None:
        for line in stream:
            put(line.rstrip("\n"))
        put(None)

    def _error(self, line: str | None) -> None:
        if line is not None:
            self.errors.append(line)

    def wait_for(self, text: str) -> str:
        """Return the next line that has *text* in it."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                break
            self.seen.append(line)
            if text in line:
                return line
        raise AssertionError(f"no {text!r} in {self.seen}, errors {self.errors}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Ended:
        """Wait until it ends."""
        try:
            code = self.process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.seen} {list(self._lines.queue)}, errors {self.errors}") from None
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
        while not self._lines.empty():
            line = self._lines.get()
            if line is not None:
                self.seen.append(line)
        return Ended(code, "\n".join(self.seen), "\n".join(self.errors))


def end_all_in(directory: Path) -> None:
    """Kill the processes that work in a directory: what a killed command has left. Where there is no /proc, none is found."""
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # it has just ended
            if place.samefile(directory):
                os.kill(int(place.parent.name), signal.SIGKILL)


class Shell:
    """A directory with a module, and the commands that run in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.app = App(f"sqlite:///{directory / 'jobs.db'}")
        self.started: list[Running] = []
        # A resource that is not closed, a coroutine that is not awaited: an error here, too.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("NURSERY_TASKS")} | {
            "PYTHONWARNINGS": "error",
            "NURSERY_TASKS_BROKER": "sqlite:///jobs.db",
            "NO_COLOR": "1",
        }

    @contextmanager
    def open(self) -> Iterator[Shell]:
        """Let no process outlive the context."""
        yield self
        self.app.sync.close()
        for running in self.started:
            if running.process.poll() is None:
                running.process.kill()
        end_all_in(self.directory)  # who holds their streams would keep the threads that read them, and `close` waits for those
        for running in self.started:
            running.end()
            for stream in (running.process.stdout, running.process.stderr):
                assert stream is not None
                stream.close()

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def __call__(self, *args: str, before: str = "", stdin: str = "", afresh: bool = False) -> Ended:
        """Run a command to its end.

        Args:
            before: Code for the process to run first.
            afresh: Start Python anew, as people do, although that takes longer than the command.
        """
        is_short = args[:1] != ("demo",)  # that one starts processes, which the tests find by their environment
        if is_short and not (before or afresh) and can_be_prepared(self.environment):
            done = prepared_commands().run(
                args, directory=self.directory, environment=self.environment, stdin=stdin, seconds=DEADLINE_SECONDS * 2
            )
            return Ended(done.returncode, done.stdout, done.stderr)
        done = subprocess.run(
            self._command(args, before),
            cwd=self.directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS * 2,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *args: str, before: str = "") -> Running:
        """Start a command."""
        process = subprocess.Popen(
            self._command(args, before),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running = Running(process)
        self.started.append(running)
        return running

    def worker(self, *args: str, app: str = "tasks_here:app", before: str = "") -> Running:
        """Start a worker, and wait until it works."""
        running = self.start("run", app, *args, before=before)
        running.wait_for("worker-started" if "--json" in args else "to stop")
        return running

    @staticmethod
    def _command(args: tuple[str, ...], before: str) -> list[str]:
        if before:  # something to change in the process first
            code = f"import sys; sys.path.insert(0, '.'); {before}; from nursery_tasks.cli import main; main()"
            return [sys.executable, "-c", code, *args]
        return [sys.executable, "-m", "nursery_tasks", *args]


def eventually(what: Callable[[], object]) -> None:
    """Look again and again until *what* is true, for what no event tells about."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
