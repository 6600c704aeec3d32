"""Small values by name, and the one transaction that changes one of them and stores what it sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import apsw

from ...model.outgoing import MAX_NAME, Outgoing, StateRecord, StateRow, check_outgoing, check_state
from ..common.hints import Hints
from .database import Database
from .outgoing import put_outgoing
from .statements import execute, fetch, fetch_value
from .submitting import check_room
from .wakeup import Audience

_VERSION: Final = "SELECT version FROM state WHERE name = ?"
_GET: Final = "SELECT version, body FROM state WHERE name = ?"
_LIST: Final = """
    SELECT name, version, length(body) FROM state WHERE name >= ?1 AND name <= ?2 AND name > ?3 ORDER BY name LIMIT ?4
"""
_NEXT_VERSION: Final = """
    INSERT INTO meta (name, value) VALUES ('state', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value
"""
_PUT: Final = "INSERT INTO state (name, version, body) VALUES (?1, ?3, ?4) ON CONFLICT DO NOTHING"
_CHANGE: Final = "UPDATE state SET version = ?3, body = ?4 WHERE name = ?1 AND version = ?2"
_DELETE: Final = "DELETE FROM state WHERE name = ? AND version = ?"
_LAST: Final = "\U0010ffff" * MAX_NAME  # after a prefix: no name that begins with it is greater


class SqliteStates:
    """The calls of `States`.

    Args:
        after_write: Hears how many rows were written.
    """

    def __init__(self, database: Database, audience: Audience, after_write: Callable[[int], None]) -> None:
        self._database, self._audience, self._after_write = database, audience, after_write

    def get_state(self, name: str) -> StateRow | None:
        rows = self._database.read(lambda cursor: fetch(cursor, _GET, name))
        return StateRow(*rows[0]) if rows else None

    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        check_state(name, body)
        check_outgoing(outgoing)
        check_room(self._database)
        if not self._database.read(lambda cursor: _is_current(cursor, name, version)):
            return 0  # and never will be: no version comes back
        hints = Hints()

        def work(cursor: apsw.Cursor, now: float) -> int:
            new: int = fetch_value(cursor, _NEXT_VERSION)
            if not execute(cursor, _CHANGE if version else _PUT, name, version, new, body):
                return 0
            if outgoing:
                put_outgoing(cursor, now, outgoing, hints)
            return new

        new = self._database.write(work, durable=True, essential=False)
        self._audience.tell(hints)
        self._after_write(1 + len(outgoing))
        return new

    def delete_state(self, name: str, version: int) -> bool:
        deleted = self._database.write(lambda cursor, now: execute(cursor, _DELETE, name, version), durable=True)
        return deleted > 0

    def list_states(self, prefix: str, limit: int, after: str = "") -> list[StateRecord]:
        rows = self._database.browse(lambda cursor: fetch(cursor, _LIST, prefix, prefix + _LAST, after, max(limit, 0)))
        return [StateRecord(*row) for row in rows]


def _is_current(cursor: apsw.Cursor, name: str, version: int) -> bool:
    return (fetch_value(cursor, _VERSION, name) or 0) == version
