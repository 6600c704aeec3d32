"""What jobs print, and what is logged, in a worker of the command line.

A line that a handler prints becomes a line of its job: with its id and task for people, an object for programs. So nobody takes
it for one of the worker's own, and what it says is escaped. What the app's own code prints outside of jobs stays as it is.

With `--json` standard output holds objects and nothing else. Everything that Python code prints becomes one, from before the
app is imported; bytes that go past Python, to file descriptor 1 itself (programs that a handler starts, C libraries), go to
standard error instead: nobody could say whose they are, and nothing has to be waited for at the end.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TextIO

from ..current import CurrentJob, current_job_or_none
from ..events import EventKind, JobEvent
from ..observability.logging import JobFacts
from ..shown import visible, visible_lines
from .ids import short_id
from .output import clock_time

PARTIAL: Final = 64 * 1024  # characters; a line without an end is passed on when it is this long
_GOES_ON: Final = (EventKind.QUEUED, EventKind.STARTED, EventKind.PROGRESS, EventKind.UNRESPONSIVE)
_JOB_LOGGER: Final = "nursery_tasks.job"

Say = Callable[[CurrentJob | None, str], object]


class Speech(io.TextIOBase):
    """What `sys.stdout` is while a worker works.

    Args:
        beside: Takes what is printed outside of jobs, as it comes; None: that is cut into lines, too.
        say: Called with each line, in any thread, and with whose it is.
    """

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, beside: TextIO | None, say: Say) -> None:
        self._beside = beside
        self._say = say
        self._lock = threading.RLock()  # re-entrant: a finalizer may print, wherever it runs
        self._begun: dict[str, tuple[CurrentJob | None, str]] = {}  # job id -> a line that has no end yet

    @property
    def buffer(self) -> io.BufferedIOBase:
        """For code that prints bytes."""
        return _Bytes(self)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def reconfigure(self, **given: Any) -> None:
        """Take what a program says to a real stream; it changes nothing here."""

    def write(self, text: str, /) -> int:
        job = current_job_or_none()
        if job is None and self._beside is not None:
            return self._beside.write(text)
        name = "" if job is None else job.id
        with self._lock:
            *lines, rest = (self._begun.pop(name, (job, ""))[1] + text).split("\n")
            if len(rest) > PARTIAL:
                lines, rest = [*lines, rest], ""
            if rest:
                self._begun[name] = (job, rest)
        for line in lines:
            self._say(job, line)
        return len(text)

    def flush(self) -> None:
        if self._beside is not None:
            self._beside.flush()

    def on_event(self, event: JobEvent) -> None:
        """Hear that an attempt is over: its last line may lack an end."""
        # Nearly always no line has begun anywhere. Whose attempt is over prints no more, so this needs no lock.
        if self._begun and event.kind not in _GOES_ON:
            self.finish(event.job_id)

    def finish(self, name: str) -> None:
        """Pass a line on that has no end."""
        with self._lock:
            job, line = self._begun.pop(name, (None, ""))
        if line:
            self._say(job, line)


class _Bytes(io.BufferedIOBase):
    """The same for bytes."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._speech.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)


def take_stdout() -> TextIO:
    """Keep standard output for objects: returns what to write them to. File descriptor 1 is standard error from now on."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.set_inheritable(kept, False)
    os.dup2(2, 1)
    return open(kept, "w", encoding="utf-8", errors="backslashreplace", closefd=True)


@contextmanager
def speaking(speech: Speech) -> Generator[None, None, None]:
    """Let *speech* be `sys.stdout` while the context is open."""
    before, sys.stdout = sys.stdout, speech
    try:
        yield
    finally:
        sys.stdout = before
        speech.finish("")


def line_of_job(job_id: str, task: str, text: str, at: float) -> str:
    """Return the line, with its end, that shows a person what a job says."""
    return f"{clock_time(at)}  {visible(short_id(job_id))}  {visible(task)}  | {visible(text)}\n"


# --- log records ------------------------------------------------------------------------------------------------------------


def set_up_logging(level: int | None, out: logging.Handler | None = None) -> None:
    """Write warnings, and what handlers log of their jobs, to stderr; an app that has set up logging itself keeps its own.

    Args:
        level: What is shown of all; None: from warnings on, and of jobs from INFO on.
        out: Where records go instead.
    """
    root = logging.getLogger()
    if not root.handlers:
        handler = out or logging.StreamHandler(sys.stderr)
        if out is None:
            handler.setFormatter(LineFormatter())
        handler.addFilter(JobFacts())
        root.addHandler(handler)
        root.setLevel(logging.WARNING if level is None else level)
        if level is None:
            logging.getLogger(_JOB_LOGGER).setLevel(logging.INFO)
    elif level is not None:
        root.setLevel(level)


class LineFormatter(logging.Formatter):
    """Writes a record for people: escaped, its further lines indented, and with the id of its job."""

    def format(self, record: logging.LogRecord) -> str:
        text = visible_lines(super().format(record))
        logger = visible(record.name)
        job_id, task = getattr(record, "job_id", None), getattr(record, "task", None)
        if job_id is None:
            return f"{clock_time(record.created)}  {record.levelname}  {logger}: {text}"
        name = f"  {logger}:" if not logger.startswith(_JOB_LOGGER) else ""
        whose = f"{visible(short_id(str(job_id)))}  {visible(str(task))}"
        return f"{clock_time(record.created)}  {whose}  {record.levelname}{name}  {text}"


class ObjectHandler(logging.Handler):
    """Makes an object of each record, for programs."""

    def __init__(self, write: Callable[[str, dict[str, Any]], object]) -> None:
        super().__init__()
        self._write = write
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data: dict[str, Any] = {"level": record.levelname, "logger": record.name, "text": record.getMessage()}
            data |= {name: getattr(record, name) for name in ("job_id", "task", "attempt") if hasattr(record, name)}
            if record.exc_info:
                data["traceback"] = self._formatter.formatException(record.exc_info)
            elif record.exc_text:
                data["traceback"] = record.exc_text
            if record.stack_info:
                data["stack"] = record.stack_info
            self._write("log", data)
        except Exception:
            self.handleError(record)
