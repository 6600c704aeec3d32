"""Jobs from programs that do not have this package.

    sqlite3 jobs.db "INSERT INTO inbox(queue, body) VALUES ('default', '{\"task\": \"add\", \"args\": [1, 2]}')"

The body is a message (JSON or msgpack), and `id`, `queue`, `priority` and `delay` beside the task's name are heeded; the column
`queue` may be left out, and wins. Claims and sweeps make jobs of what they find. A body that nobody can read becomes a job,
too, without a task's name: the worker that gets it puts it aside with its bytes, where a person finds it.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import apsw
import msgspec

from ...model.codec import sniff
from ...model.delivery import Submission
from ...model.options import DEFAULT_QUEUE, MAX_PRIORITY
from .hints import Hints
from .schema import READY
from .statements import execute, fetch
from .submitting import insert_one, to_row

_TAKE: Final = "SELECT seq, queue, CAST(body AS BLOB) FROM inbox ORDER BY seq LIMIT ?"
_REMOVE: Final = "DELETE FROM inbox WHERE seq = ?"
LIMIT: Final = 256  # rows that one call takes in


class _Letter(msgspec.Struct, frozen=True):
    """What is heeded of a body; the rest is for the worker."""

    task: str
    id: str | None = None
    queue: str | None = None
    priority: int = 0
    delay: float = 0.0
    parent: str | None = None


_FROM_JSON: Final = msgspec.json.Decoder(_Letter)
_FROM_MSGPACK: Final = msgspec.msgpack.Decoder(_Letter)


def take_in(cursor: apsw.Cursor, now: float) -> tuple[int, Hints]:
    """Make jobs of what is in the inbox, in a transaction; return how many rows were taken."""
    rows = fetch(cursor, _TAKE, LIMIT)
    hints = Hints()
    for seq, queue, body in rows:
        job = to_submission(queue, body)
        row = to_row(job, now)
        if insert_one(cursor, job, row).created:
            hints.add("work" if row[3] == READY else "due", job.queue)
        execute(cursor, _REMOVE, seq)
    return len(rows), hints


def to_submission(queue: str | None, body: bytes) -> Submission:
    """Read as much of a body as a broker needs."""
    try:
        letter = (_FROM_JSON if sniff(body) == "json" else _FROM_MSGPACK).decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        letter = _Letter(task="")
    return Submission(
        id=letter.id or uuid4().hex,
        queue=str(queue or letter.queue or DEFAULT_QUEUE),
        task=letter.task,
        payload=body,
        priority=min(max(letter.priority, 0), MAX_PRIORITY),
        delay_seconds=max(letter.delay, 0.0),
        parent=letter.parent,
    )
