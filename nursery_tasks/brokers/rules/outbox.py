"""Messages that wait until they are sent, in a line for each destination."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import count

from ...model.outgoing import BATCH_BYTES, OutboxRecord, Outgoing
from ..common.hints import Hints


class OutboxLines:
    """All lines."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[int, float, bytes]]] = {}  # destination -> (position, when it was stored, body)
        self._positions = count(1)  # one counter for all: a line that is empty and comes back has no old position

    def add(self, items: Iterable[Outgoing], now: float, hints: Hints) -> None:
        for item in items:
            self._lines.setdefault(item.destination, deque()).append((next(self._positions), now, item.body))
            hints.add("outgoing", item.destination)

    def first(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        """Return the oldest, as many as *limit* and `BATCH_BYTES` allow."""
        oldest: list[tuple[int, bytes]] = []
        room = BATCH_BYTES
        for position, _, body in self._lines.get(destination, ()):
            if len(oldest) >= limit or (oldest and len(body) > room):
                break
            room -= len(body)
            oldest.append((position, body))
        return oldest

    def drop(self, destination: str, up_to: int) -> int:
        """Drop what stands up to a position, and return how many those were."""
        line = self._lines.get(destination, deque())
        before = len(line)
        while line and line[0][0] <= up_to:
            line.popleft()
        if not line:
            self._lines.pop(destination, None)
        return before - len(line)

    def records(self, limit: int, after: str, now: float) -> list[OutboxRecord]:
        """Return at most *limit* of them by name, those with a greater one than *after*."""
        names = sorted(name for name in self._lines if name > after)[: max(limit, 0)]
        lines = [(name, self._lines[name]) for name in names]
        return [OutboxRecord(name, len(line), line[0][1], max(0.0, now - line[0][1])) for name, line in lines]
