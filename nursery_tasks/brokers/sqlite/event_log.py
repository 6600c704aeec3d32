"""The log of events in the file: a row for each batch. What is appended is not synced."""

from __future__ import annotations

from typing import Any, Final

import apsw

from ...model.event_log import TRIMMED_AT_ONCE, WRITER_SECONDS, EventBatch, LogPage
from ..common.hints import Hints
from .database import Database
from .statements import execute, fetch, fetch_value
from .wakeup import Audience

_SEQUENCE: Final = "SELECT sequence FROM event_writer WHERE name = ?"
_NOTE: Final = """
    INSERT INTO event_writer (name, sequence, at) VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET sequence = excluded.sequence, at = excluded.at
"""
_FORGET: Final = "DELETE FROM event_writer WHERE at < ?"
_LAST: Final = """
    INSERT INTO meta (name, value) VALUES ('events', ?1) ON CONFLICT DO UPDATE SET value = value + ?1 RETURNING value
"""
_LOG: Final = "INSERT INTO meta (name, value) VALUES ('event_log', lower(hex(randomblob(4)))) ON CONFLICT DO NOTHING"
_ADD: Final = "INSERT INTO event_batch (number, count, at, writer, sequence, body) VALUES (?, ?, ?, ?, ?, ?)"
_TRIM: Final = f"""
    DELETE FROM event_batch WHERE number IN (
        SELECT number FROM event_batch ORDER BY number LIMIT {TRIMMED_AT_ONCE}
    ) AND (at < ?1 OR number + count - 1 <= ?2)
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
        done = self._database.write(lambda cursor, now: _append(cursor, now, batch, keep_seconds, most), essential=False)
        if done:
            hints = Hints()
            hints.add("log", "")
            self._audience.tell(hints)
        return done

    def read(self, after: int, limit: int) -> LogPage:
        return self._database.browse(lambda cursor: _read(cursor, after, limit))


def _append(cursor: apsw.Cursor, now: float, batch: EventBatch, keep_seconds: float, most: int) -> bool:
    known = fetch_value(cursor, _SEQUENCE, batch.writer)
    if known is not None and known >= batch.sequence:
        return False
    if known is None:
        execute(cursor, _FORGET, now - WRITER_SECONDS)
        execute(cursor, _LOG)
    execute(cursor, _NOTE, batch.writer, batch.sequence + batch.count - 1, now)
    last: int = fetch_value(cursor, _LAST, batch.count)
    execute(cursor, _ADD, last - batch.count + 1, batch.count, now, batch.writer, batch.sequence, batch.body)
    execute(cursor, _TRIM, now - keep_seconds, last - most)
    return True


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
