"""Windows in time, in which one job stands for all submissions of a name. See `Broker.submit` and `model.windows`."""

from __future__ import annotations

from typing import Final

import apsw
import msgspec

from ...model.delivery import Submission
from ...model.limits import gate_of
from ..common.hints import Hints
from .owning import DETACH
from .schema import OWNED, SCHEDULED
from .statements import Row, execute, fetch

DUE: Final = 6  # where a row of a new job says when it is due
KEPT_SECONDS: Final = 60.0  # how long one that is over stays, if nothing else makes a sweep write

HAS_OLD: Final = f"EXISTS (SELECT 1 FROM open_window WHERE until <= ?1 - {KEPT_SECONDS})"
_FORGET: Final = "DELETE FROM open_window WHERE until <= ?"
_OPEN: Final = """
    INSERT INTO open_window (name, id, until) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET id = excluded.id, until = excluded.until
"""
_FIND: Final = f"""
    SELECT open_window.id, job.state IS {SCHEDULED} AND job.at = open_window.until, job.created, coalesce({OWNED}, 0)
    FROM open_window LEFT JOIN job ON job.id = open_window.id WHERE open_window.name = ? AND open_window.until > ?
"""
_IS_KNOWN: Final = "SELECT 1 FROM job WHERE id = ?"
_REPLACE: Final = """
    UPDATE job SET queue = ?2, task = ?3, priority = ?4, at = ?5, due = ?5, expires = ?6, max_crashes = ?7, keep = ?8, key = ?9,
        parent = ?10, tags = ?11, raw = ?12, once = ?13, payload = ?14, gate = ?15, limits = ?16, turn = ?17
    WHERE id = ?1
"""


def find_in_window(cursor: apsw.Cursor, now: float, job: Submission, row: Row, is_late: bool, hints: Hints) -> str | None:
    """Return the job that stands for a submission whose window is open; of a debounce it is this submission from now on.

    Args:
        row: What is stored of it where it is a new job.
        is_late: Its owner is gone.
    """
    assert job.window is not None
    found = fetch(cursor, _FIND, job.window.name, now)
    if not found or fetch(cursor, _IS_KNOWN, job.id):
        return None
    stands, waits, created, owned = found[0]
    if job.window.is_debounce:
        if not waits:
            return None
        if not is_late:
            _replace(cursor, stands, job, row, job.window.due_again(created, row[DUE], now))
            hints.add("due", job.queue)
    if owned and job.owner is None:
        execute(cursor, DETACH, stands)
    known: str = stands
    return known


def open_window(cursor: apsw.Cursor, name: str, job_id: str, until: float) -> None:
    """Open a window, or let it be for another job or another time from now on."""
    execute(cursor, _OPEN, name, job_id, until)


def forget_windows(cursor: apsw.Cursor, now: float) -> None:
    """Forget the windows that are over."""
    execute(cursor, _FORGET, now)


def _replace(cursor: apsw.Cursor, stands: str, job: Submission, row: Row, due: float) -> None:
    """Let a scheduled job be another submission, with its own id, owner and place."""
    assert job.window is not None
    _, queue, task, _, priority, _, _, _, max_crashes, keep, _, key, parent, _, tags, raw, payload = row
    gate = gate_of(job.limits[0], job.queue) if job.limits else None
    limits = msgspec.json.encode(job.limits).decode() if job.limits else None
    turn = 0 if job.limits and job.limits[0].ordered else None
    expires = job.expires_at(due)
    changed = (
        queue,
        task,
        priority,
        due,
        expires,
        max_crashes,
        keep,
        key,
        parent,
        tags,
        raw,
        int(job.once),
        payload,
        gate,
        limits,
        turn,
    )
    execute(cursor, _REPLACE, stands, *changed)
    open_window(cursor, job.window.name, stands, due)
