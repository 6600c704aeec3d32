"""Jobs from programs that do not have this package.

    sqlite3 jobs.db "INSERT INTO inbox(queue, body) VALUES ('default', '{\"task\": \"add\", \"args\": [1, 2]}')"
    sqlite3 jobs.db "INSERT INTO inbox(queue, body, raw) VALUES ('notes', 'anything', 1)"

Claims and sweeps make jobs of what they find, see `brokers/common/foreign.py`. The column `queue` may be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from ...model.delivery import Submission
from ...model.listing import ServerMessage
from ..common.foreign import to_inbox, to_submission
from ..common.hints import Hints
from .database import Database, begin_again
from .statements import execute, fetch, fetch_value
from .submitting import submit_jobs

# As bytes, because what others have put in need not be text, and must not stop the rest.
_READ: Final = """
    SELECT seq, CAST(queue AS BLOB), CAST(body AS BLOB), coalesce(raw, 0) <> 0 FROM inbox ORDER BY seq LIMIT ?
"""
_REMOVE: Final = "DELETE FROM inbox WHERE seq <= ?"
_HAS_MAIL: Final = "SELECT EXISTS (SELECT 1 FROM inbox)"
_PUT: Final = "INSERT INTO inbox (queue, body, raw) VALUES (?, ?, ?)"
LIMIT: Final = 256  # rows that one call takes in


class SqlitePostbox:
    """The calls of `Postbox`: a message is put into the inbox, as other programs do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def send_message(self, queue: str, message: ServerMessage) -> str:
        name, body, raw = to_inbox(message)
        self._database.write(lambda cursor, now: put_in_inbox(cursor, queue, body, raw), durable=True)
        return name


def put_in_inbox(cursor: apsw.Cursor, queue: str, body: bytes, raw: bool) -> None:
    """Put in what another program would, in a transaction."""
    execute(cursor, _PUT, queue, body, int(raw))


def inbox_has_mail(cursor: apsw.Cursor) -> bool:
    """Say whether other programs have put something in."""
    return bool(fetch_value(cursor, _HAS_MAIL))


def read_inbox(cursor: apsw.Cursor) -> list[tuple[int, Submission]]:
    """Read some of what is in the inbox; the number is the row's."""
    return [(seq, to_submission(queue, body, raw=bool(raw))) for seq, queue, body, raw in fetch(cursor, _READ, LIMIT)]


def store_inbox(cursor: apsw.Cursor, now: float, messages: Sequence[tuple[int, Submission]]) -> Hints:
    """Make jobs of rows that were read before, in a transaction; of all of them, or of none if somebody else was faster."""
    if not messages:
        return Hints()
    _, hints = submit_jobs(cursor, now, [job for _, job in messages])
    if execute(cursor, _REMOVE, messages[-1][0]) == len(messages):
        return hints
    begin_again(cursor)
    return Hints()
