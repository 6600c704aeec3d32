"""Locks: who stands in line for each, in one table. The first of a line has the lock, once its row has a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from ...model.listing import LockRecord
from ..common.hints import Hints
from .database import Database
from .statements import execute, fetch, fetch_value
from .wakeup import Audience

_DROP: Final = "DELETE FROM lock WHERE name = ? AND until <= ?"
_DROP_ALL: Final = "DELETE FROM lock WHERE until <= ? RETURNING name"
_FIND: Final = "SELECT holder, token FROM lock WHERE name = ? ORDER BY place LIMIT 1"
_STANDS: Final = "UPDATE lock SET until = ?3 WHERE name = ?1 AND holder = ?2"
_JOIN: Final = """
    INSERT INTO lock (name, place, holder, until)
    SELECT ?1, coalesce(max(place), 0) + 1, ?2, ?3 FROM lock WHERE name = ?1
"""
_NEXT_TOKEN: Final = """
    INSERT INTO meta (name, value) VALUES ('token', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value
"""
_GIVE: Final = "UPDATE lock SET token = ?3 WHERE name = ?1 AND holder = ?2"
_PROLONG: Final = "UPDATE lock SET until = ?3 WHERE name = ?1 AND holder = ?2 AND token > 0"
_LEAVE: Final = "DELETE FROM lock WHERE name = ? AND holder = ?"
_LIST: Final = """
    SELECT name, token, until, (SELECT count(*) FROM lock AS other WHERE other.name = lock.name) - (token > 0) FROM lock
    WHERE place = (SELECT min(place) FROM lock AS first WHERE first.name = lock.name) ORDER BY name LIMIT ?
"""
_OURS: Final = -1  # it is our turn, and there is no token yet


def drop_all_lockers(cursor: apsw.Cursor, now: float) -> list[str]:
    """Forget whoever's lease is over, in a transaction; return the locks where there was somebody."""
    return [name for (name,) in fetch(cursor, _DROP_ALL, now)]


class SqliteLocks:
    """The calls of `Locks`. Only what makes a token waits for the disk: no power failure may take one back."""

    def __init__(self, database: Database, audience: Audience) -> None:
        self._database, self._audience = database, audience

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        def stand(cursor: apsw.Cursor, now: float) -> int:
            return _stand(cursor, now, name, holder, lease_seconds, wait)

        def give(cursor: apsw.Cursor, now: float) -> int:
            token = _stand(cursor, now, name, holder, lease_seconds, wait)  # its turn may have passed meanwhile
            if token != _OURS:
                return token
            new: int = fetch_value(cursor, _NEXT_TOKEN)
            execute(cursor, _GIVE, name, holder, new)
            return new

        token = self._database.write(stand)
        return self._database.write(give, durable=True) if token == _OURS else token

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        def work(cursor: apsw.Cursor, now: float) -> list[bool]:
            return [execute(cursor, _PROLONG, name, holder, now + lease_seconds) > 0 for name, holder in holds]

        return self._database.write(work)

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        def work(cursor: apsw.Cursor, now: float) -> list[bool]:
            return [execute(cursor, _LEAVE, name, holder) > 0 for name, holder in holds]

        answers = self._database.write(work)
        hints = Hints()
        hints.add_all("lock", [name for (name, _), done in zip(holds, answers, strict=True) if done])
        self._audience.tell(hints)
        return answers

    def list_locks(self, limit: int) -> list[LockRecord]:
        rows = self._database.browse(lambda cursor: fetch(cursor, _LIST, max(limit, 0)))
        return [LockRecord(name=name, token=token, until=until, waiting=waiting) for name, token, until, waiting in rows]


def _stand(cursor: apsw.Cursor, now: float, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
    """Stand in line; return the token, 0: somebody else has the lock, or `_OURS`."""
    execute(cursor, _DROP, name, now)
    if not execute(cursor, _STANDS, name, holder, now + lease_seconds):
        if not wait and fetch(cursor, _FIND, name):
            return 0
        execute(cursor, _JOIN, name, holder, now + lease_seconds)
    first, token = fetch(cursor, _FIND, name)[0]
    return (token or _OURS) if first == holder else 0
