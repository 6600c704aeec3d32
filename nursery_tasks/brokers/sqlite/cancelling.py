"""Cancelling jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from ...model.delivery import CancelAnswer
from ...model.ended import cancelled
from ...model.reasons import pack_cancelled
from ..common.hints import Hints
from .schema import CANCELLED, CLAIMED, NOT_ENDED, SUCCEEDED
from .statements import BatchStatement, Row, array, fetch

_FIND: Final = "SELECT id, seq, state, attempts, worker, queue, task FROM job WHERE id IN (SELECT value FROM carray(?))"
_FIND_OF: Final = f"{_FIND} AND +owner = ? AND {NOT_ENDED}"  # +: by the ids, however few jobs the owner has
_END: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET state = {CANCELLED}, cancel = column2, outcome = column3, ended = ?1, at = ?1 + keep FROM",
    "AS waiting WHERE seq = column1",
    width=3,
    shared=1,
)
_OPEN: Final = "SELECT DISTINCT queue FROM gate WHERE opens = 0"
_MARK: Final = BatchStatement(
    "UPDATE job NOT INDEXED SET cancel = ?1 FROM", "AS held WHERE seq = column1 AND cancel IS NULL", width=1, shared=1
)


def tell_openings(cursor: apsw.Cursor, hints: Hints) -> None:
    """Hint at work in queues where a gate is open: what was given back may have opened it, and it costs nothing to look."""
    hints.add_all("work", [queue for (queue,) in fetch(cursor, _OPEN)])


def cancel_jobs(
    cursor: apsw.Cursor, now: float, ids: Sequence[str], reason: str | None, hints: Hints, owner: bytes | None = None
) -> list[CancelAnswer]:
    """Cancel jobs, or only those of an owner, in a transaction."""
    rows = fetch(cursor, _FIND, array(ids)) if owner is None else fetch(cursor, _FIND_OF, array(ids), owner)
    found = {row[0]: row[1:] for row in rows}
    ended: list[Row] = []
    marked: list[Row] = []
    answers: list[CancelAnswer] = []
    seen: set[str] = set()
    for job_id in ids:
        if job_id not in found:
            answers.append(CancelAnswer.UNKNOWN)
            continue
        seq, state, attempts, worker, queue, task = found[job_id]
        if state >= SUCCEEDED or (state < CLAIMED and job_id in seen):  # the id occurs twice in this call
            answers.append(CancelAnswer.FINISHED if owner is None else CancelAnswer.UNKNOWN)
        elif state >= CLAIMED:
            marked.append((seq,))
            hints.add("cancel", job_id)
            answers.append(CancelAnswer.REQUESTED)
        else:
            ended.append((seq, reason or "", pack_cancelled(reason or None, attempts, worker, now)))
            hints.end(cancelled(job_id, queue, task, attempts, worker, reason))
            answers.append(CancelAnswer.CANCELLED)
        seen.add(job_id)
    _END.run(cursor, ended, now)
    if ended:  # one that had its turn may have waited
        tell_openings(cursor, hints)
    _MARK.run(cursor, marked, reason or "")
    return answers
