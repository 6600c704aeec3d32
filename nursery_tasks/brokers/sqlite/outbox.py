"""Replies to programs that do not have this package.

sqlite3 jobs.db "DELETE FROM outbox WHERE name = 'answers' RETURNING body"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from ...model.delivery import Reply
from ..protocol import REPLIES_KEPT, REPLY_SECONDS
from .database import Database
from .statements import execute, fetch

_PUT: Final = "INSERT INTO outbox (name, body, at) VALUES (?, ?, ?)"
_KEEP: Final = """
    DELETE FROM outbox WHERE name = ?1 AND seq <= (SELECT seq FROM outbox WHERE name = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)
"""
_TAKE: Final = """
    DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE name = ? ORDER BY seq LIMIT ?) RETURNING seq, body
"""
# What is older comes before what is younger, so the first one that may stay is the end.
_DROP: Final = """
    DELETE FROM outbox WHERE seq < coalesce((SELECT seq FROM outbox WHERE at > ? ORDER BY seq LIMIT 1), 9223372036854775807)
"""
HAS_OLD: Final = f"(SELECT at FROM outbox ORDER BY seq LIMIT 1) <= ?1 - {REPLY_SECONDS}"


class SqliteReplies:
    """The calls of `Replies`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        return self._database.write(lambda cursor, now: take_replies(cursor, name, limit), durable=True)


def put_replies(cursor: apsw.Cursor, now: float, replies: Sequence[Reply]) -> None:
    """Store replies for whoever reads them, in the transaction of their outcomes."""
    for reply in replies:
        execute(cursor, _PUT, reply.to, reply.body, now)
    for name in {reply.to for reply in replies}:
        execute(cursor, _KEEP, name, REPLIES_KEPT)


def take_replies(cursor: apsw.Cursor, name: str, limit: int) -> list[bytes]:
    """Take the oldest replies out, in a transaction."""
    return [body for _, body in sorted(fetch(cursor, _TAKE, name, max(limit, 0)))]


def drop_replies(cursor: apsw.Cursor, now: float) -> None:
    """Drop those that nobody has read for too long."""
    execute(cursor, _DROP, now - REPLY_SECONDS)
