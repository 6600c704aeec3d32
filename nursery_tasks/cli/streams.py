"""The standard streams, when they are closed, or nobody is at their other end any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final, TextIO

_NAMES: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_missing() -> None:
    """Put `/dev/null` in the place of standard streams that were closed when this program began, as by `>&-`.

    Python has None for them, on which libraries stumble; and the next file or socket that is opened would get the number, and
    with it what anybody writes to stdout or stderr.
    """
    for fd, (name, mode) in enumerate(_NAMES):
        with suppress(OSError):
            os.fstat(fd)
            if getattr(sys, name) is not None:
                continue
        null = os.open(os.devnull, os.O_RDWR)  # the lowest free number
        if null == fd:
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            stream = os.fdopen(null, mode, encoding="utf-8", errors="replace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def abandon(stream: TextIO) -> None:
    """Let what is written to a stream from now on, and what it still holds, go nowhere: nobody reads it any more.

    Otherwise handlers that print would fail, and Python, which flushes at its end, would change the exit code.
    """
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def abandon_dead() -> None:
    """Do so with the streams of a terminal that is gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            os.write(stream.fileno(), b"")
        except (OSError, ValueError):
            abandon(stream)


def flush_all() -> None:
    """Flush, as Python does at its end; a stream that cannot take it is abandoned."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            abandon(stream)
