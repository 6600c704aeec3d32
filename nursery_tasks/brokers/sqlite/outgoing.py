"""Messages that wait until a worker has sent them. (Replies, which other programs fetch, are in `outbox`.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import apsw

from ...model.outgoing import BATCH_BYTES, OutboxRecord, Outgoing, check_outgoing
from ..common.hints import Hints
from .database import Database
from .statements import BatchStatement, execute, fetch
from .submitting import check_room
from .wakeup import Audience

_PUT: Final = BatchStatement(
    "INSERT INTO outgoing (destination, body, at) SELECT column1, column2, ?1 FROM",
    "WHERE column1 IS NOT NULL",  # the rest of the clause is empty
    width=2,
    shared=1,
)
# The last of those that fit: all bodies before it have not filled the room.
_NEXT: Final = """
    SELECT seq, body FROM outgoing WHERE destination = ?1 AND seq <= (
        SELECT max(seq) FROM (
            SELECT seq, sum(length(body)) OVER (ORDER BY seq) AS bytes, row_number() OVER (ORDER BY seq) AS place FROM (
                SELECT seq, body FROM outgoing WHERE destination = ?1 ORDER BY seq LIMIT ?2
            )
        ) WHERE bytes <= ?3 OR place = 1
    ) ORDER BY seq
"""
_DROP: Final = "DELETE FROM outgoing WHERE destination = ? AND seq <= ?"
_LIST: Final = """
    SELECT destination, count, (SELECT at FROM outgoing WHERE destination = outlet.destination ORDER BY seq LIMIT 1)
    FROM outlet WHERE destination > ? ORDER BY destination LIMIT ?
"""


class SqliteOutbox:
    """The calls of `Outbox`.

    Args:
        after_write: Hears how many rows were written.
    """

    def __init__(self, database: Database, audience: Audience, after_write: Callable[[int], None]) -> None:
        self._database, self._audience, self._after_write = database, audience, after_write

    def put_outgoing(self, items: Sequence[Outgoing]) -> None:
        check_outgoing(items)
        if not items:
            self._database.check_usable()
            return
        check_room(self._database)
        hints = Hints()
        self._database.write(lambda cursor, now: put_outgoing(cursor, now, items, hints), durable=True, essential=False)
        self._audience.tell(hints)
        self._after_write(len(items))

    def next_outgoing(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        room = max(limit, 0)
        return self._database.read(lambda cursor: fetch(cursor, _NEXT, destination, room, BATCH_BYTES))

    def drop_outgoing(self, destination: str, up_to_position: int) -> int:
        dropped = self._database.write(lambda cursor, now: execute(cursor, _DROP, destination, up_to_position), durable=True)
        self._after_write(dropped)
        return dropped

    def list_outboxes(self, limit: int, after: str = "") -> list[OutboxRecord]:
        rows = self._database.read(lambda cursor: fetch(cursor, _LIST, after, max(limit, 0)))
        now = self._database.clock()
        return [OutboxRecord(name, count, at, max(0.0, now - at)) for name, count, at in rows]


def put_outgoing(cursor: apsw.Cursor, now: float, items: Sequence[Outgoing], hints: Hints) -> None:
    """Store messages, in the transaction of what they come from."""
    _PUT.run(cursor, [(item.destination, item.body) for item in items], now)
    hints.add_all("outgoing", [item.destination for item in items])
