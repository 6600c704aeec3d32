"""How much a job may write: a bucket that fills up with time, so that a flood is cut and a burst is not."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

BYTES_PER_SECOND: Final = 1024 * 1024
BURST_BYTES: Final = 4 * 1024 * 1024
LINE_BYTES: Final = 64 * 1024  # a longer line is cut
PIECE_BYTES: Final = 64  # what a line or record costs besides its text: many empty ones are a flood, too


class Allowance:
    """Decides which pieces of a job's output go through, and counts those that do not."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._left = float(BURST_BYTES)
        self._at = clock()
        self._cut_pieces = 0
        self._cut_bytes = 0

    def admit(self, size: int) -> bool:
        """Say whether a piece of *size* bytes goes through."""
        now = self._clock()
        self._left = min(BURST_BYTES, self._left + (now - self._at) * BYTES_PER_SECOND)
        self._at = now
        if self._left < size + PIECE_BYTES:
            self._cut_pieces += 1
            self._cut_bytes += size
            return False
        self._left -= size + PIECE_BYTES
        return True

    def take_cut(self) -> tuple[int, int] | None:
        """Return how many pieces, and bytes, have been left out since this was asked last; None: nothing."""
        if not self._cut_pieces:
            return None
        cut = self._cut_pieces, self._cut_bytes
        self._cut_pieces = self._cut_bytes = 0
        return cut


def shortened(line: str) -> str:
    """Cut a line that is too long, and say so in it."""
    if len(line) <= LINE_BYTES:
        return line
    return f"{line[:LINE_BYTES]}… ({len(line) - LINE_BYTES:,} characters more)"
