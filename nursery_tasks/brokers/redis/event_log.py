"""The log of events in the server: a stream with an entry for each batch."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

from ...model.event_log import TRIMMED_AT_ONCE, WRITER_SECONDS, EventBatch, LogPage
from .running import Scripts


class RedisEventLog:
    """The calls of `EventLog`. Each is one script."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run

    def append(self, batch: EventBatch, keep_seconds: float, most: int) -> bool:
        about = (batch.writer, batch.sequence, batch.count, batch.body)
        limits = (keep_seconds, most, TRIMMED_AT_ONCE, int(WRITER_SECONDS))
        return bool(self._run("append", *about, *limits, token_hex(4)) == 1)

    def read(self, after: int, limit: int) -> LogPage:
        log, last, first, *entries = self._run("read", after, max(limit, 0))
        return LogPage(
            log=(log or b"").decode(), first=int(first), last=int(last), batches=[_to_batch(each) for each in entries]
        )


def _to_batch(entry: Any) -> EventBatch:
    name, [_, count, _, at, _, writer, _, sequence, _, body] = entry
    return EventBatch(
        number=int(name.partition(b"-")[0]),
        count=int(count),
        at=float(at),
        writer=writer.decode(),
        sequence=int(sequence),
        body=body,
    )
