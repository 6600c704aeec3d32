"""What a program writes: kept up to a limit, and cut into lines for whoever listens."""

from __future__ import annotations

from typing import Final

MAX_LINE_BYTES: Final = 64 * 1024  # a longer line comes in pieces


class Capture:
    """Keeps the beginning and the end of a stream: the half of the limit each.

    The end is where most programs say what went wrong, and the beginning is what they were doing.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._head_bytes = limit_bytes - limit_bytes // 2
        self._tail_bytes = limit_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.cut = 0  # bytes that were dropped between the two

    def add(self, data: bytes) -> None:
        """Take what came next."""
        room = self._head_bytes - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        over = len(self._tail) - self._tail_bytes
        if over > 0:
            del self._tail[:over]  # a bytearray drops its beginning without moving the rest
            self.cut += over

    def content(self) -> bytes:
        """Return what was kept, with a line in the middle that says what was cut."""
        if not self.cut:
            return bytes(self._head + self._tail)
        return bytes(self._head) + b"\n[... %d bytes were cut here ...]\n" % self.cut + bytes(self._tail)

    def end(self) -> str:
        """Return the last part as text, for an error."""
        return (self._head + self._tail)[-MAX_LINE_BYTES:].decode(errors="replace")


class Lines:
    """Cuts a stream into lines without their ends; bytes that are no UTF-8 are replaced."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def add(self, data: bytes) -> list[str]:
        """Take what came next, and return the lines that are complete now."""
        self._rest += data
        *complete, rest = self._rest.split(b"\n")
        if len(rest) >= MAX_LINE_BYTES:
            complete.append(rest)
            rest = bytearray()
        self._rest = rest
        return [_text(line) for line in complete]

    def end(self) -> list[str]:
        """Return the last line, if it had no end."""
        return [_text(self._rest)] if self._rest else []


def _text(line: bytearray) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")
