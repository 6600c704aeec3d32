"""Storing new jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import apsw
import msgspec

from ...errors import BrokerFull, QueueFull
from ...model.delivery import Receipt, Submission
from ...model.limits import gate_of
from ...model.reasons import OWNER_GONE
from ..common.hints import Hints
from ..common.states import NUMBERS
from .bounds import Waiting
from .cancelling import cancel_jobs
from .database import Database, begin_again
from .owning import DETACH, welcome_owners
from .schema import NOT_ENDED, OWNED, READY, SCHEDULED
from .shares import Shares
from .statements import BatchStatement, Row, execute, fetch
from .windows import DUE, find_in_window, open_window

_COLUMNS: Final = (
    "id, queue, task, state, priority, at, due, expires, max_crashes, keep, created, key, parent, owner, tags, raw, payload"
)
_INSERT: Final = BatchStatement(
    f"INSERT INTO job ({_COLUMNS}) SELECT * FROM",
    "WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING",  # the id is known, or the key is taken
    width=17,
)
_INSERT_MORE: Final = BatchStatement(
    f"INSERT INTO job ({_COLUMNS}, once, gate, limits, turn, rank) SELECT * FROM",
    "WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING",
    width=22,
)
_INSERT_ENDED: Final = BatchStatement(
    f"INSERT INTO job ({_COLUMNS}, ended, outcome) SELECT * FROM",
    "WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING",
    width=19,
)
_BY_ID: Final = f"SELECT id, {OWNED} FROM job WHERE id = ?"
_BY_KEY: Final = f"SELECT id, {OWNED} FROM job WHERE task = ? AND key = ? AND key IS NOT NULL AND {NOT_ENDED}"


def check_room(database: Database) -> None:
    """Refuse new jobs while the space is needed for the ends of those that exist.

    Raises:
        BrokerFull: The disk was full, and there is not much room yet.
    """
    if not database.reserve.restore():
        database.check_usable()
        raise BrokerFull(database.name, "the disk is nearly full", "free some space on it")


def submit_jobs(cursor: apsw.Cursor, now: float, jobs: Sequence[Submission]) -> tuple[list[Receipt | QueueFull], Hints]:
    """Store *jobs*, in a transaction that has changed nothing so far; those without room are answered with the error."""
    rows = [to_row(job, now) for job in jobs]
    hints = Hints()
    gone = _welcome_owners(cursor, now, jobs, hints)
    are_plain = all(job.ended is None and job.window is None for job in jobs)
    answers: list[Receipt | QueueFull]
    shares = Shares(cursor)
    if not gone and are_plain and _all_fit(cursor, jobs) and _insert_all(cursor, jobs, rows, shares) == len(rows):
        answers = [Receipt(job.id, True) for job in jobs]
    else:  # some are repetitions, too late or too many, and only one by one shows which
        begin_again(cursor)
        hints = Hints()
        gone = _welcome_owners(cursor, now, jobs, hints)
        waiting, shares = Waiting(cursor, jobs, gone), Shares(cursor)
        answers = [
            _insert_one(cursor, now, job, row, gone, waiting, shares, hints) for job, row in zip(jobs, rows, strict=True)
        ]
    shares.store()
    for job, row, answer in zip(jobs, rows, answers, strict=True):
        if isinstance(answer, QueueFull) or not answer.created:
            continue
        if job.ended is not None:
            hints.add("outcome", job.id)
        elif job.owner not in gone:
            hints.add("work" if row[3] == READY else "due", job.queue)
    return answers, hints


def _all_fit(cursor: apsw.Cursor, jobs: Sequence[Submission]) -> bool:
    return not any(job.max_length for job in jobs) or Waiting(cursor, jobs, ()).all_fit(jobs)


def _insert_all(cursor: apsw.Cursor, jobs: Sequence[Submission], rows: Sequence[Row], shares: Shares) -> int:
    if any(job.limits or job.once or job.share is not None for job in jobs):  # few are, and each column costs all jobs
        ranks = shares.take_all(jobs)
        more = [(*row, *_more_of(job), rank) for job, row, rank in zip(jobs, rows, ranks, strict=True)]
        return _INSERT_MORE.run(cursor, more)
    return _INSERT.run(cursor, rows)


def _more_of(job: Submission) -> Row:
    return int(job.once), *_line_of(job)


def _line_of(job: Submission) -> tuple[str | None, str | None, int | None]:
    """Return what is stored of a job's limits: the gate where it stands first, all of them, and its place if that is a turn."""
    if not job.limits:
        return None, None, None
    first = job.limits[0]
    return gate_of(first, job.queue), msgspec.json.encode(job.limits).decode(), 0 if first.ordered else None


def _welcome_owners(cursor: apsw.Cursor, now: float, jobs: Sequence[Submission], hints: Hints) -> Collection[bytes | None]:
    """Return the owners that are no more."""
    return welcome_owners(cursor, now, jobs, hints) if any(job.owner is not None for job in jobs) else ()


def _insert_one(
    cursor: apsw.Cursor,
    now: float,
    job: Submission,
    row: Row,
    gone: Collection[bytes | None],
    waiting: Waiting,
    shares: Shares,
    hints: Hints,
) -> Receipt | QueueFull:
    """Store one job, or find the one that stands for it."""
    if job.window is not None:
        stands = find_in_window(cursor, now, job, row, job.owner in gone, hints)
        if stands is not None:
            waiting.count()  # it may have moved from one queue to another
            return Receipt(stands, False)
    if waiting.is_full(job):
        return _find(cursor, job) or QueueFull(job.queue, job.max_length)
    if _INSERT_ENDED.run(cursor, [row]) if job.ended is not None else _insert_alone(cursor, job, row, shares):
        if job.owner in gone and job.ended is None:
            cancel_jobs(cursor, now, [job.id], OWNER_GONE, hints)
        elif job.window is not None:
            open_window(cursor, job.window.name, job.id, job.window.open_until(now, row[DUE]))
        waiting.add(job)
        return Receipt(job.id, True)
    found = _find(cursor, job)
    assert found is not None
    return found


def _insert_alone(cursor: apsw.Cursor, job: Submission, row: Row, shares: Shares) -> bool:
    """Store one job, which takes its rank only if it is no repetition."""
    if not (job.limits or job.once or job.share is not None):
        return bool(_INSERT.run(cursor, [row]))
    is_new = bool(_INSERT_MORE.run(cursor, [(*row, *_more_of(job), shares.next_of(job))]))
    if is_new:
        shares.take(job)
    return is_new


def _find(cursor: apsw.Cursor, job: Submission) -> Receipt | None:
    """Find the job that stands for a submission."""
    found = fetch(cursor, _BY_ID, job.id) or fetch(cursor, _BY_KEY, job.task, job.key)
    if not found:
        return None
    known, owned = found[0]
    if owned and job.owner is None:  # somebody else may rely on it from now on
        execute(cursor, DETACH, known)
    return Receipt(known, False)


def to_row(job: Submission, now: float) -> Row:
    """Return what is stored of a new job, in the order of `_COLUMNS`."""
    due = job.due_at(now)
    waits = due > now
    if job.ended is not None:
        keep_until = now + job.keep_seconds_after(job.ended)
        return (*_columns(job, now, NUMBERS[job.ended], keep_until, now), now, job.outcome)
    return _columns(job, now, SCHEDULED if waits else READY, due if waits else None, due)


def _columns(job: Submission, now: float, state: int, at: float | None, due: float) -> Row:
    return (
        job.id,
        job.queue,
        job.task,
        state,
        job.priority,
        at,
        due,
        job.expires_at(due),
        job.max_crashes,
        job.keep_seconds,
        now,
        job.key,
        job.parent,
        job.owner,
        msgspec.json.encode(job.tags).decode() if job.tags else None,
        int(job.raw),
        job.payload,
    )
