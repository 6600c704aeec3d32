"""Schedules: rows by name, and the one transaction that changes a row and submits jobs.

Whoever looks and finds nothing, or comes too late with a change, takes no lock for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import apsw

from ...errors import QueueFull
from ...model.delivery import Receipt
from ...model.schedule import ScheduleChange, ScheduleLook, ScheduleRow
from ..common.hints import Hints
from ..protocol import receipts_of
from .database import Database, begin_again
from .statements import array, execute, fetch, fetch_value
from .submitting import check_room, submit_jobs
from .wakeup import Audience

_LIST: Final = "SELECT name, version, at, body FROM schedule WHERE name > ? ORDER BY name LIMIT ?"
_FIND: Final = "SELECT name, version, at, body FROM schedule WHERE name IN (SELECT value FROM carray(?))"
_VERSION: Final = "SELECT version FROM schedule WHERE name = ?"
# In one statement, so that it sees one state: those that are due, and when the first of the others will be.
_LOOK: Final = """
    SELECT name, version, at, body FROM (SELECT * FROM schedule WHERE at <= ?1 ORDER BY at, name LIMIT ?2)
    UNION ALL SELECT NULL, 0, min(at), NULL FROM schedule WHERE at > ?1
"""
_NEXT_VERSION: Final = """
    INSERT INTO meta (name, value) VALUES ('schedule', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value
"""
_PUT: Final = "INSERT INTO schedule (name, version, at, body) VALUES (?1, ?3, ?4, ?5) ON CONFLICT DO NOTHING"
_CHANGE: Final = "UPDATE schedule SET version = ?3, at = ?4, body = ?5 WHERE name = ?1 AND version = ?2"
_REMOVE: Final = "DELETE FROM schedule WHERE name = ? AND version = ?"


class SqliteSchedules:
    """The calls of `Schedules`.

    Args:
        after_write: Hears how many rows were written.
    """

    def __init__(self, database: Database, audience: Audience, after_write: Callable[[int], None]) -> None:
        self._database, self._audience, self._after_write = database, audience, after_write

    def list_schedules(self, limit: int, after: str = "") -> list[ScheduleRow]:
        return [ScheduleRow(*row) for row in self._database.browse(lambda cursor: fetch(cursor, _LIST, after, max(limit, 0)))]

    def find_schedules(self, names: Sequence[str]) -> list[ScheduleRow | None]:
        if not names:
            self._database.check_usable()
            return []
        rows = self._database.browse(lambda cursor: fetch(cursor, _FIND, array(names)))
        found = {row[0]: ScheduleRow(*row) for row in rows}
        return [found.get(name) for name in names]

    def look_at_schedules(self, limit: int) -> ScheduleLook:
        database, limit = self._database, max(limit, 0)
        now = database.clock()
        *due, (_, _, next_at, _) = database.read(lambda cursor: fetch(cursor, _LOOK, now, limit + 1))
        next_seconds = 0.0 if len(due) > limit else None if next_at is None else next_at - now
        return ScheduleLook(now, [ScheduleRow(*row) for row in due[:limit]], next_seconds)

    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        check_room(self._database)
        if not self._database.read(lambda cursor: _is_current(cursor, change)):
            return None  # and never will be: no version comes back
        answers, hints = self._database.write(lambda cursor, now: _fire(cursor, now, change), durable=True, essential=False)
        self._audience.tell(hints)
        self._after_write(1 + len(change.jobs))
        return None if answers is None else receipts_of(answers)

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        check_room(self._database)
        if not changes:
            return []
        answers, hints = self._database.write(lambda cursor, now: _change_all(cursor, changes), durable=True, essential=False)
        self._audience.tell(hints)
        self._after_write(len(changes))
        return answers


def _is_current(cursor: apsw.Cursor, change: ScheduleChange) -> bool:
    return (fetch_value(cursor, _VERSION, change.name) or 0) == change.version


def _fire(cursor: apsw.Cursor, now: float, change: ScheduleChange) -> tuple[list[Receipt | QueueFull] | None, Hints]:
    """Submit the jobs and change the row, in a transaction that has changed nothing so far.

    The jobs come first: to find out which of them are known the transaction may be begun again, and that lets others write.
    """
    answers, hints = submit_jobs(cursor, now, change.jobs) if change.jobs else ([], Hints())
    if not _change(cursor, change):
        begin_again(cursor)
        return None, Hints()
    hints.add("schedule", change.name)
    return answers, hints


def _change_all(cursor: apsw.Cursor, changes: Sequence[ScheduleChange]) -> tuple[list[bool], Hints]:
    answers, hints = [_change(cursor, change) for change in changes], Hints()
    for change, done in zip(changes, answers, strict=True):
        if done:
            hints.add("schedule", change.name)
    return answers, hints


def _change(cursor: apsw.Cursor, change: ScheduleChange) -> bool:
    """Change or remove a row, or make one; False: it is not what the change was made from."""
    if change.body is None:
        if not change.version:
            return _is_current(cursor, change)
        return execute(cursor, _REMOVE, change.name, change.version) > 0
    version: int = fetch_value(cursor, _NEXT_VERSION)
    text = _CHANGE if change.version else _PUT
    return execute(cursor, text, change.name, change.version, version, change.look_at, change.body) > 0
