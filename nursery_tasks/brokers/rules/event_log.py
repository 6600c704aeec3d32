"""The log of events in memory."""

from __future__ import annotations

from collections import deque
from itertools import islice

import msgspec

from ...model.event_log import WRITER_SECONDS, EventBatch, LogPage
from ..common.hints import Hints


class EventLogTable:
    """Batches in the order in which they came, and how far each writer has come.

    Args:
        log: Its id.
    """

    def __init__(self, log: str) -> None:
        self._log = log
        self._batches: deque[EventBatch] = deque()
        self._last = 0
        self._writers: dict[str, tuple[int, float]] = {}  # writer -> the sequence of its last event, and when that came

    def append(self, batch: EventBatch, keep_seconds: float, most: int, now: float, hints: Hints) -> bool:
        if batch.sequence <= self._writers.get(batch.writer, (0, 0.0))[0]:
            return False
        if batch.writer not in self._writers:
            self._writers = {name: each for name, each in self._writers.items() if each[1] > now - WRITER_SECONDS}
        self._writers[batch.writer] = batch.sequence + batch.count - 1, now
        self._batches.append(msgspec.structs.replace(batch, number=self._last + 1, at=now))
        self._last += batch.count
        self.trim(now - keep_seconds, self._last - most)
        hints.add("log", "")
        return True

    def trim(self, before: float, up_to: int) -> None:
        """Drop batches that were appended before a moment, or whose events are all numbered up to *up_to*."""
        while self._batches and (self._batches[0].at < before or _last_of(self._batches[0]) <= up_to):
            self._batches.popleft()

    def read(self, after: int, limit: int) -> LogPage:
        later = (batch for batch in self._batches if _last_of(batch) > after)
        first = self._batches[0].number if self._batches else self._last + 1
        return LogPage(log=self._log, first=first, last=self._last, batches=list(islice(later, limit)))


def _last_of(batch: EventBatch) -> int:
    return batch.number + batch.count - 1
