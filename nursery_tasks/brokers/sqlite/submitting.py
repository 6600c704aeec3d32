"""Storing new jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from ...errors import BrokerFull
from ...model.delivery import Receipt, Submission
from .database import Database, begin_again
from .hints import Hints
from .schema import NOT_ENDED, READY, SCHEDULED
from .statements import BatchStatement, Row, fetch_value

_COLUMNS: Final = "id, queue, task, state, priority, at, due, expires, max_crashes, keep, created, key, parent, payload"
_INSERT: Final = BatchStatement(
    f"INSERT INTO job ({_COLUMNS}) SELECT * FROM",
    "WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING",  # the id is known, or the key is taken
    width=14,
)
_BY_ID: Final = "SELECT 1 FROM job WHERE id = ?"
_BY_KEY: Final = f"SELECT id FROM job WHERE task = ? AND key = ? AND key IS NOT NULL AND {NOT_ENDED}"


def check_room(database: Database) -> None:
    """Refuse new jobs while the space is needed for the ends of those that exist.

    Raises:
        BrokerFull: The disk was full, and there is not much room yet.
    """
    if not database.reserve.restore():
        database.check_usable()
        raise BrokerFull(database.name, "the disk is nearly full", "free some space on it")


def submit_jobs(cursor: apsw.Cursor, now: float, jobs: Sequence[Submission]) -> tuple[list[Receipt], Hints]:
    """Store *jobs*, in a transaction that has changed nothing so far."""
    rows = [to_row(job, now) for job in jobs]
    if _INSERT.run(cursor, rows) == len(rows):
        receipts = [Receipt(job.id, True) for job in jobs]
    else:  # some are repetitions, and only one by one shows which
        begin_again(cursor)
        receipts = [insert_one(cursor, job, row) for job, row in zip(jobs, rows, strict=True)]
    hints = Hints()
    for job, row, receipt in zip(jobs, rows, receipts, strict=True):
        if receipt.created:
            hints.add("work" if row[3] == READY else "due", job.queue)
    return receipts, hints


def insert_one(cursor: apsw.Cursor, job: Submission, row: Row) -> Receipt:
    """Store one job, or find the one that stands for it."""
    if _INSERT.run(cursor, [row]):
        return Receipt(job.id, True)
    if fetch_value(cursor, _BY_ID, job.id) is not None:
        return Receipt(job.id, False)
    return Receipt(fetch_value(cursor, _BY_KEY, job.task, job.key), False)


def to_row(job: Submission, now: float) -> Row:
    """Return what is stored of a new job, in the order of `_COLUMNS`."""
    due = max(now, now + job.delay_seconds if job.start_at is None else job.start_at)
    waits = due > now
    return (
        job.id,
        job.queue,
        job.task,
        SCHEDULED if waits else READY,
        job.priority,
        due if waits else None,
        due,
        None if job.expires_seconds is None else due + job.expires_seconds,
        job.max_crashes,
        job.keep_seconds,
        now,
        job.key,
        job.parent,
        job.payload,
    )
