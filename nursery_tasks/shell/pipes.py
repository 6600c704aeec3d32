"""The pipes to and from a program, on the event loop."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Final

from anyio import CancelScope, wait_readable, wait_writable

from .capture import Capture, Lines

CHUNK_BYTES: Final = 64 * 1024  # what a pipe holds

OnLine = Callable[[str], object] | Callable[[str], Awaitable[object]]


class Output:
    """Reads one pipe to its end, keeps what comes, and hands it on line by line.

    The program waits while a listener is busy: nothing is read ahead of it.

    Args:
        on_line: Called with each line; what it returns is awaited if it can be.
    """

    def __init__(self, pipe: int, capture_bytes: int, on_line: OnLine | None) -> None:
        self.capture = Capture(capture_bytes)
        self._pipe = pipe
        self._on_line = on_line
        self._lines = Lines()
        self._waiting: CancelScope | None = None
        self._no_more = False

    async def serve(self) -> None:
        """Read until all writers are gone, or until `finish()` and nothing is left in the pipe."""
        while (data := await self._read()) is not None:
            self.capture.add(data)
            if self._on_line is not None:
                await self._tell(self._lines.add(data))
        await self._tell(self._lines.end())

    def finish(self) -> None:
        """Wait for no writer from now on: all that should write has ended."""
        self._no_more = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _read(self) -> bytes | None:
        while True:
            if not self._no_more:
                with CancelScope() as self._waiting:
                    await wait_readable(self._pipe)
                self._waiting = None
            try:
                return os.read(self._pipe, CHUNK_BYTES) or None
            except BlockingIOError:
                if self._no_more:
                    return None

    async def _tell(self, lines: list[str]) -> None:
        if self._on_line is None:
            return
        for line in lines:
            answer = self._on_line(line)
            if isawaitable(answer):
                await answer


async def feed(pipe: int, data: bytes, close: Callable[[], None]) -> None:
    """Write *data* and close; a program that stops reading early is its own business."""
    rest = memoryview(data)
    try:
        while rest:
            await wait_writable(pipe)
            try:
                rest = rest[os.write(pipe, rest[:CHUNK_BYTES]) :]
            except BlockingIOError:
                continue
    except BrokenPipeError:
        return
    finally:
        close()
