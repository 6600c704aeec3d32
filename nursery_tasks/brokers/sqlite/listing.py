"""What people look at: records of jobs, queues and workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from ...model.delivery import Stored
from ...model.listing import JobFilter, JobRecord, LimitRecord, QueueRecord, WorkerRecord
from ...model.states import JobState
from ..common.states import NUMBERS, to_state
from .database import Database
from .schema import HELD, IN_LINE, READY, STILL_PARKED, SUCCEEDED
from .statements import PackedQuery, Row, array, fetch

_COLUMNS: Final = (
    "seq, id, queue, task, state, priority, attempts, crashes, created, due, started, ended, worker, key, parent, tags, "
    f"owner IS NOT NULL, unresponsive AND {HELD}, cancel, progress, outcome, raw, payload, "
    f"iif({IN_LINE} AND EXISTS (SELECT 1 FROM gate AS its WHERE its.id = job.gate AND (its.opens IS NULL OR its.opens > 0)), "
    f"substr(gate, instr(gate, ' ') + length(queue) + 2), NULL), iif({STILL_PARKED}, parked, NULL)"
)
_ONE: Final = f"SELECT {_COLUMNS} FROM job WHERE id = ?"
_STORED: Final = PackedQuery(
    ("id", "state", f"unresponsive AND {HELD}"), "outcome", "FROM job WHERE id IN (SELECT value FROM carray(?))"
)
_COUNTS: Final = "SELECT queue, state, count(*) FROM job GROUP BY queue, state"
_LIMITS: Final = f"""
    SELECT name, (SELECT count(*) FROM held WHERE held.name = used.name),
        (SELECT count(*) FROM gate CROSS JOIN job WHERE gate.name = used.name AND job.gate = gate.id AND job.state = {READY}),
        (SELECT min(opens) FROM gate WHERE gate.name = used.name AND opens > 0)
    FROM (SELECT name FROM held UNION SELECT name FROM gate) AS used ORDER BY name LIMIT ?
"""
_PAUSED: Final = "SELECT queue FROM paused"
_WORKERS: Final = "SELECT record FROM worker WHERE until > ? ORDER BY name"

_DECODE_TAGS: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_DECODE_WORKER: Final = msgspec.json.Decoder(WorkerRecord).decode


class SqliteLimits:
    """The calls of `Limits`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_limits(self, limit: int) -> list[LimitRecord]:
        return self._database.browse(lambda cursor: list_limits(cursor, limit))


def find_outcomes(cursor: apsw.Cursor, ids: Sequence[str]) -> dict[str, Stored]:
    """Look jobs up by id."""
    found: dict[str, Stored] = {}
    for job_id, number, unresponsive, outcome in _STORED.fetch(cursor, array(ids)):
        found[job_id] = Stored(to_state(number), outcome if number >= SUCCEEDED else None, bool(unresponsive))
    return found


def find_job(cursor: apsw.Cursor, job_id: str) -> JobRecord | None:
    """Return one job."""
    rows = fetch(cursor, _ONE, job_id)
    return _to_record(rows[0]) if rows else None


def list_jobs(cursor: apsw.Cursor, wanted: JobFilter, limit: int, after: int, newest_first: bool = False) -> list[JobRecord]:
    """List jobs in the order of submission, or in the reverse one."""
    conditions: list[str] = ["(seq < ?1 OR ?1 = 0)" if newest_first else "seq > ?1"]
    values: list[Any] = [after]
    if wanted.states:
        conditions.append(f"state IN ({_numbers(wanted.states)})")
    for column, value in (("queue", wanted.queue), ("task", wanted.task), ("parent", wanted.parent)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if wanted.tag is not None:
        conditions.append("EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)")
        values.append(wanted.tag)
    query = f"SELECT {_COLUMNS} FROM job WHERE {' AND '.join(conditions)} ORDER BY seq{' DESC' if newest_first else ''} LIMIT ?"
    return [_to_record(row) for row in fetch(cursor, query, *values, max(limit, 0))]


def list_queues(cursor: apsw.Cursor) -> list[QueueRecord]:
    """Count the jobs of each queue."""
    counts: dict[str, dict[JobState, int]] = {}
    for queue, number, count in fetch(cursor, _COUNTS):
        counts.setdefault(queue, {})[to_state(number)] = count
    paused: set[str] = {queue for (queue,) in fetch(cursor, _PAUSED)}
    return [
        QueueRecord(name=name, counts=counts.get(name, {}), paused=name in paused) for name in sorted(counts.keys() | paused)
    ]


def list_limits(cursor: apsw.Cursor, limit: int) -> list[LimitRecord]:
    """List the limits that are in use."""
    return [
        LimitRecord(name=name, running=running, waiting=waiting, opens_at=opens_at)
        for name, running, waiting, opens_at in fetch(cursor, _LIMITS, max(limit, 0))
    ]


def list_workers(cursor: apsw.Cursor, now: float) -> list[WorkerRecord]:
    """List the workers whose heartbeat still counts."""
    return [_DECODE_WORKER(record) for (record,) in fetch(cursor, _WORKERS, now)]


def _numbers(states: frozenset[JobState]) -> str:
    return ", ".join(str(NUMBERS[state]) for state in states)


def _to_record(row: Row) -> JobRecord:
    seq, job_id, queue, task, number, priority, attempts, crashes, created, due, started, ended, *more = row
    worker, key, parent, tags, owned, unresponsive, cancel, progress, outcome, raw, payload, waits_for, parked = more
    return JobRecord(
        id=job_id,
        queue=queue,
        task=task,
        state=to_state(number),
        cursor=seq,
        priority=priority,
        attempts=attempts,
        crashes=crashes,
        created_at=created,
        due_at=due,
        started_at=started,
        ended_at=ended,
        worker=worker,
        key=key,
        parent=parent,
        tags=_DECODE_TAGS(tags) if tags else (),
        owned=bool(owned),
        unresponsive=bool(unresponsive),
        cancel_reason=cancel,
        progress=progress,
        outcome=outcome,
        payload=payload,
        raw=bool(raw),
        waits_for=waits_for,
        parked=parked,
    )
