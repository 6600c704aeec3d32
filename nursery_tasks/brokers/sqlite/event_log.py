"""The log of events in the file: a row for each batch. What is appended is not synced."""

from __future__ import annotations

from typing import Any, Final

import apsw

from ...model.event_log import TRIMMED_AT_ONCE, EventBatch, LogPage
from ..common.hints import Hints
from .database import Database
from .statements import execute, fetch
from .wakeup import Audience

# What follows from it is done by a trigger.
_ADD: Final = """
    INSERT INTO event_batch (number, count, at, writer, sequence, body)
        SELECT coalesce((SELECT value FROM meta WHERE name = 'events'), 0) + 1, ?1, ?2, ?3, ?4, ?5
        WHERE coalesce((SELECT sequence FROM event_writer WHERE name = ?3), 0) < ?4
"""
_TRIM: Final = f"""
    DELETE FROM event_batch WHERE number IN (
        SELECT number FROM event_batch ORDER BY number LIMIT {TRIMMED_AT_ONCE}
    ) AND (at < ?1 OR number + count - 1 <= ?2)
"""
_OLDEST: Final = """
    SELECT at, number + count - 1, (SELECT value FROM meta WHERE name = 'events') FROM event_batch ORDER BY number LIMIT 1
"""
# In one statement, so that it sees one state.
_HEAD: Final = """
    SELECT (SELECT value FROM meta WHERE name = 'event_log'), (SELECT value FROM meta WHERE name = 'events'),
        (SELECT min(number) FROM event_batch)
"""
# The batch that holds an event is the last one that does not begin behind it.
_READ: Final = """
    SELECT number, count, at, writer, sequence, body FROM event_batch
        WHERE number >= coalesce((SELECT max(number) FROM event_batch WHERE number <= ?1 + 1), 0)
        AND number + count - 1 > ?1 ORDER BY number LIMIT ?2
"""


class SqliteEventLog:
    """The calls of `EventLog`."""

    def __init__(self, database: Database, audience: Audience) -> None:
        self._database, self._audience = database, audience

    def append(self, batch: EventBatch, keep_seconds: float, most: int) -> bool:
        before, up_to = self._database.clock() - keep_seconds, 0
        if oldest := self._database.read(lambda cursor: fetch(cursor, _OLDEST)):
            [(at, ends, last)] = oldest
            up_to = last + batch.count - most
            if at < before or ends <= up_to:
                self._database.write(lambda cursor, _: execute(cursor, _TRIM, before, up_to), essential=False)
        done = self._database.write_alone(lambda cursor, now: _append(cursor, now, batch), essential=False)
        if done:
            hints = Hints()
            hints.add("log", "")
            self._audience.tell(hints)
        return done

    def read(self, after: int, limit: int) -> LogPage:
        return self._database.browse(lambda cursor: _read(cursor, after, limit))


def _append(cursor: apsw.Cursor, now: float, batch: EventBatch) -> bool:
    return execute(cursor, _ADD, batch.count, now, batch.writer, batch.sequence, batch.body) > 0


def _read(cursor: apsw.Cursor, after: int, limit: int) -> LogPage:
    # The rows first: what is appended or trimmed between the two is then in the head, and nothing seems to be missing.
    rows: list[Any] = fetch(cursor, _READ, after, max(limit, 0))
    [(log, last, first)] = fetch(cursor, _HEAD)
    batches = [
        EventBatch(number=number, count=count, at=at, writer=writer, sequence=sequence, body=body)
        for number, count, at, writer, sequence, body in rows
    ]
    last = last or 0
    return LogPage(log=log or "", first=last + 1 if first is None else first, last=last, batches=batches)
