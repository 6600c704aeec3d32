"""What a host writes, in the worker: log records of the job that it runs.

Records of the host's own loggers keep their name and come out of the worker's logging as if they had been made here; lines on
standard output and error are records of `nursery_tasks.job.<task>`, INFO and WARNING. All carry `job_id`, `task`, `attempt`.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

from ...current import CurrentJob
from .allowance import LINE_BYTES, Allowance, shortened
from .frames import Cut, Logged, Printed

READ_BYTES: Final = 64 * 1024
READS: Final = 16  # at a time: more than a pipe holds
LEVELS: Final = {1: logging.INFO, 2: logging.WARNING}

_idle = logging.getLogger("nursery_tasks.hosts")  # what a host writes between two jobs


class Output:
    """The output of one host; `job` is whose it is now."""

    def __init__(self, pid: int) -> None:
        self.job: CurrentJob | None = None
        self._pid = pid

    def take(self, header: Logged | Printed | Cut) -> None:
        """Log what came through the link."""
        if isinstance(header, Logged):
            self._log(header)
        elif isinstance(header, Printed):
            self.line(header.stream, header.text)
        else:
            self.cut(header.pieces, header.size)

    def line(self, stream: int, text: str) -> None:
        """Log a line that was printed."""
        self._logger.log(LEVELS[stream], "%s", text, extra=self._facts)

    def cut(self, pieces: int, size: int) -> None:
        """Say what was left out."""
        text = "%s lines or records (%s bytes) were left out: a job may write 4 MiB at once, and then 1 MiB per second"
        self._logger.warning(text, f"{pieces:,}", f"{size:,}", extra=self._facts)

    def _log(self, header: Logged) -> None:
        logger = logging.getLogger(header.name)
        if not logger.isEnabledFor(header.level):
            return
        file = os.path.basename(header.path)
        facts = {
            **header.extra,
            **self._facts,
            "name": header.name,
            "levelno": header.level,
            "levelname": logging.getLevelName(header.level),
            "msg": header.text,
            "args": None,
            "created": header.created,
            "msecs": header.created % 1 * 1000,
            "pathname": header.path,
            "filename": file,
            "module": os.path.splitext(file)[0],
            "lineno": header.line,
            "funcName": header.function,
            "threadName": header.thread,
            "process": self._pid,
            "exc_text": header.error,
        }
        logger.handle(logging.makeLogRecord(facts))

    @property
    def _logger(self) -> logging.Logger:
        return _idle if self.job is None else logging.getLogger(f"nursery_tasks.job.{self.job.task}")

    @property
    def _facts(self) -> dict[str, Any]:
        job = self.job
        return {} if job is None else {"job_id": job.id, "task": job.task, "attempt": job.attempt}


class Pipe:
    """The reading end of what a host has as fd 1 or 2: bytes of subprocesses, of C libraries, of anything.

    Args:
        stream: 1 or 2.
    """

    def __init__(self, descriptor: int, stream: int, output: Output) -> None:
        self.descriptor = descriptor
        self._stream = stream
        self._output = output
        self._allowance = Allowance()
        self._pending = b""
        self._is_flooded = False

    def begin(self) -> None:
        """Hear that a job begins: it has an allowance of its own."""
        self._allowance = Allowance()

    def read(self) -> bool:
        """Take what is there; False: there will be no more."""
        for _ in range(READS):
            try:
                piece = os.read(self.descriptor, READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                return False
            if not piece:
                return False
            self._feed(piece)
        return True

    def finish(self) -> None:
        """Take what is there, also a line without its end, because the job is over."""
        self.read()
        line, self._pending = self._pending, b""
        if line:
            self._pass_on(line)
        self._tell_cut()

    @property
    def is_flooded(self) -> bool:
        """Whether the latest lines were left out; whoever writes so much can wait."""
        return self._is_flooded

    def close(self) -> None:
        """Close the pipe; who writes to it afterwards gets `BrokenPipeError`."""
        os.close(self.descriptor)

    def _feed(self, piece: bytes) -> None:
        *lines, self._pending = (self._pending + piece).split(b"\n")
        for line in lines:
            self._pass_on(line)
        if len(self._pending) > 4 * LINE_BYTES:  # four bytes per character at most, so nothing of a permitted line is lost
            line, self._pending = self._pending, b""
            self._pass_on(line)

    def _pass_on(self, line: bytes) -> None:
        self._is_flooded = not self._allowance.admit(len(line))
        if not self._is_flooded:
            self._tell_cut()
            self._output.line(self._stream, shortened(line.decode("utf-8", "backslashreplace").rstrip("\r")))

    def _tell_cut(self) -> None:
        cut = self._allowance.take_cut()
        if cut is not None:
            self._output.cut(*cut)
