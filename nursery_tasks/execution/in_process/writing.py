"""What a host's Python code writes: prints and log records become frames, in the order in which they were made.

Bytes that something else writes to fd 1 and 2 (a C library, a subprocess, a forked child) go through pipes of their own, which
the worker reads itself: a handler that floods them while it holds the GIL must not wait for a thread of its own process.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from .allowance import Allowance, shortened
from .frames import Cut, Header, Logged, Printed, Setup

PARTIAL: Final = 64 * 1024  # a line without an end is passed on when it is this long

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

Send = Callable[[Header], None]


class Writer:
    """Holds the streams and the log handler of one host.

    Args:
        send: Sends a frame; nobody may be waiting inside for what a handler does.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._allowance = Allowance()
        self._lock = threading.RLock()
        self.forked_here = False
        self._streams = (Stream(self, 1), Stream(self, 2))

    def install(self) -> None:
        """Take over `sys.stdout`, `sys.stderr` and the root logger."""
        sys.stdin = open(os.devnull)  # noqa: SIM115 - for as long as the process lives
        sys.stdout, sys.stderr = self._streams
        logging.getLogger().addHandler(FrameHandler(self))

    def set_levels(self, setup: Setup) -> None:
        """Let through what the worker's loggers would let through."""
        logging.disable(setup.disabled)
        for name, level in setup.levels.items():
            logging.getLogger(name).setLevel(level)

    def begin(self) -> None:
        """Hear that a job begins: it has an allowance of its own."""
        with self._lock:
            self._allowance = Allowance()

    def end(self) -> None:
        """Send what is left of the job's lines, before its outcome."""
        for stream in self._streams:
            stream.finish()
        for handler in logging.getLogger().handlers:
            handler.flush()
        with self._lock:
            self._tell_cut()

    def write(self, header: Header, size: int) -> None:
        """Send a piece of output, if the job has not written too much."""
        with self._lock:
            if self._allowance.admit(size):
                self._tell_cut()
                self._send(header)

    def forked(self) -> None:
        """Hear that this is a forked child: it writes to its file descriptors like any process."""
        self.forked_here = True
        self._lock = threading.RLock()
        for stream in self._streams:
            stream.forked()

    def _tell_cut(self) -> None:
        cut = self._allowance.take_cut()
        if cut is not None:
            self._send(Cut(*cut))


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`: complete lines become frames."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, writer: Writer, number: int) -> None:
        self._writer = writer
        self._number = number
        self._pending = ""
        self._lock = threading.RLock()
        self.buffer = io.FileIO(number, "w", closefd=False)  # for those who write bytes
        self.mode = "w"
        self.name = f"<{'stdout' if number == 1 else 'stderr'}>"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        self.flush()  # the next job needs it

    def write(self, text: str, /) -> int:
        if self._writer.forked_here:
            self._write_bytes(text)
            return len(text)
        with self._lock:
            *lines, self._pending = (self._pending + text).split("\n")
            for line in lines:
                self._pass_on(line)
            if len(self._pending) > PARTIAL:
                self.finish()
        return len(text)

    def finish(self) -> None:
        """Pass on what has no end of its own."""
        with self._lock:
            line, self._pending = self._pending, ""
            if line:
                self._pass_on(line)

    def forked(self) -> None:
        """See `Writer.forked`."""
        self._lock = threading.RLock()
        self._pending = ""

    def _pass_on(self, line: str) -> None:
        line = shortened(line).encode("utf-8", "backslashreplace").decode()
        self._writer.write(Printed(self._number, line), len(line))

    def _write_bytes(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._number, data) :]


class FrameHandler(logging.Handler):
    """Sends records to the worker, whose own logging decides what becomes of them."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = shortened(_encodable(record.getMessage()))
            error = record.exc_text or (self._formatter.formatException(record.exc_info) if record.exc_info else None)
            if self._writer.forked_here:
                sys.stderr.write(f"{record.levelname} {record.name}: {text}\n" + (f"{error}\n" if error else ""))
                return
            header = Logged(
                name=record.name,
                level=record.levelno,
                text=text,
                created=record.created,
                path=_encodable(record.pathname),
                line=record.lineno,
                function=record.funcName,
                thread=record.threadName,
                error=None if error is None else shortened(_encodable(error)),
                extra={name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD},
            )
            self._writer.write(header, len(text) + len(error or ""))
        except Exception:
            self.handleError(record)


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | bool | None) else shortened(_encodable(str(value)))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
