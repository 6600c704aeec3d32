"""What the worker processes write becomes one stream of whole lines.

Copied by a thread per pipe: whoever reads the stream may be slow, a write to it may wait, and the supervisor's loop must hear
signals meanwhile. The threads end with the pipes; one whose pipe was inherited by somebody who lives on is left to the end of
the process.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

CHUNK_BYTES: Final = 64 * 1024
LONGEST_BYTES: Final = 1024 * 1024  # of a line; a longer one is broken


class Output:
    """One of this process's streams, shared by all.

    Args:
        fd: Stays open.
        on_broken: Called once, in any thread, when nobody reads the stream any more. What comes is dropped from then on.
    """

    def __init__(self, fd: int, on_broken: Callable[[], object]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._lock = threading.Lock()
        self._broken = False
        self._threads: list[threading.Thread] = []
        self._own = self.open_pipe(lambda: "")
        os.set_blocking(self._own, False)

    def write(self, text: str) -> None:
        """Write whole lines, without waiting: where the stream's reader is far behind, they are dropped."""
        with suppress(BlockingIOError):
            os.write(self._own, text.encode(errors="replace"))

    def open_pipe(self, prefix: Callable[[], str]) -> int:
        """Return the end of a new pipe to write to; each line gets the prefix of its moment. The caller closes it."""
        source, end = os.pipe()
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._copy, args=(source, prefix), name="nursery-tasks output", daemon=True)
        self._threads.append(thread)
        thread.start()
        return end

    def finish(self, seconds: float) -> None:
        """Wait until what was written has been copied, for some time at most; nothing can be written any more."""
        os.close(self._own)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _copy(self, source: int, prefix: Callable[[], str]) -> None:
        rest = b""
        try:
            while chunk := os.read(source, CHUNK_BYTES):
                lines, newline, tail = chunk.rpartition(b"\n")
                if newline:
                    self._write(_prefixed(rest + lines, prefix()))
                    rest = tail
                elif len(rest) < LONGEST_BYTES:
                    rest += chunk
                else:
                    self._write(_prefixed(rest + chunk, prefix()))
                    rest = b""
            if rest:
                self._write(_prefixed(rest, prefix()))
        finally:
            os.close(source)

    def _write(self, data: bytes) -> None:
        with self._lock:
            if self._broken:
                return
            try:
                left = memoryview(data)
                while left:
                    left = left[self._write_some(left) :]
            except OSError:
                self._broken = True
            else:
                return
        self._on_broken()

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:  # somebody who shares the stream has made it non-blocking
            select.select([], [self._fd], [])
            return 0


def _prefixed(lines: bytes, prefix: str) -> bytes:
    start = prefix.encode()
    return start + (lines.replace(b"\n", b"\n" + start) if start else lines) + b"\n"
