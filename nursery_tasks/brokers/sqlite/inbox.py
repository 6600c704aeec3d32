"""Jobs from programs that do not have this package.

    sqlite3 jobs.db "INSERT INTO inbox(queue, body) VALUES ('default', '{\"task\": \"add\", \"args\": [1, 2]}')"

The body is a message (JSON or msgpack), and `id`, `queue`, `priority`, `delay`, `parent` and `tags` beside the task's name are
heeded; the column `queue` may be left out, and wins. Claims and sweeps make jobs of what they find. A body that nobody can read
becomes a job, too, without a task's name: the worker that gets it puts it aside with its bytes, where a person finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import apsw
import msgspec

from ...model.codec import sniff
from ...model.delivery import Submission
from ...model.options import DEFAULT_QUEUE, MAX_PRIORITY
from .database import begin_again
from .hints import Hints
from .statements import execute, fetch, fetch_value
from .submitting import submit_jobs

# As bytes, because what others have put in need not be text, and must not stop the rest.
_READ: Final = "SELECT seq, CAST(queue AS BLOB), CAST(body AS BLOB) FROM inbox ORDER BY seq LIMIT ?"
_REMOVE: Final = "DELETE FROM inbox WHERE seq <= ?"
_HAS_MAIL: Final = "SELECT EXISTS (SELECT 1 FROM inbox)"
LIMIT: Final = 256  # rows that one call takes in


class _Letter(msgspec.Struct, frozen=True):
    """What is heeded of a body; the rest is for the worker."""

    task: str
    id: str | None = None
    queue: str | None = None
    priority: int = 0
    delay: float = 0.0
    parent: str | None = None
    tags: tuple[str, ...] = ()


_FROM_JSON: Final = msgspec.json.Decoder(_Letter)
_FROM_MSGPACK: Final = msgspec.msgpack.Decoder(_Letter)


def inbox_has_mail(cursor: apsw.Cursor) -> bool:
    """Say whether other programs have put something in."""
    return bool(fetch_value(cursor, _HAS_MAIL))


def read_letters(cursor: apsw.Cursor) -> list[tuple[int, Submission]]:
    """Read some of what is in the inbox; the number is the row's."""
    return [(seq, to_submission(queue, body)) for seq, queue, body in fetch(cursor, _READ, LIMIT)]


def store_letters(cursor: apsw.Cursor, now: float, letters: Sequence[tuple[int, Submission]]) -> Hints:
    """Make jobs of rows that were read before, in a transaction; of all of them, or of none if somebody else was faster."""
    if not letters:
        return Hints()
    _, hints = submit_jobs(cursor, now, [job for _, job in letters])
    if execute(cursor, _REMOVE, letters[-1][0]) == len(letters):
        return hints
    begin_again(cursor)
    return Hints()


def to_submission(queue: bytes | None, body: bytes) -> Submission:
    """Read as much of a body as a broker needs."""
    try:
        letter = (_FROM_JSON if sniff(body) == "json" else _FROM_MSGPACK).decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        letter = _Letter(task="")
    return Submission(
        id=letter.id or uuid4().hex,
        queue=(queue or b"").decode("utf-8", "replace") or letter.queue or DEFAULT_QUEUE,
        task=letter.task,
        payload=body,
        priority=min(max(letter.priority, 0), MAX_PRIORITY),
        delay_seconds=max(letter.delay, 0.0),
        parent=letter.parent,
        tags=letter.tags,
    )
