"""What people look at and change in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from ...errors import InvalidOptions
from ...model.limits import ORDER
from ...model.listing import JobFilter, JobRecord, QueueRecord, WorkerRecord
from ...model.states import HELD, JobState
from ..common.hints import Hints
from ..common.states import NUMBERS
from .cancelling import tell_openings
from .database import Database
from .listing import find_job, list_jobs, list_queues, list_workers
from .schema import ENDED, NOT_ENDED, READY, SUCCEEDED, is_needed
from .statements import execute, fetch
from .wakeup import Audience

_PURGE: Final = f"""
    DELETE FROM job WHERE seq IN (
        SELECT seq FROM job AS purged WHERE queue = ? AND state IN ({{}}) AND ({NOT_ENDED} OR owner IS NULL
            OR NOT ({is_needed("purged")}))
        ORDER BY seq LIMIT ?
    ) RETURNING id
"""
_PAUSE: Final = "INSERT INTO paused (queue) VALUES (?) ON CONFLICT DO NOTHING"
_RESUME: Final = "DELETE FROM paused WHERE queue = ?"
_REQUEUE: Final = f"""
    UPDATE job SET state = {READY}, at = NULL, created = ?2, due = ?2, expires = NULL, owner = NULL, attempts = 0, crashes = 0,
        lapses = 0, worker = NULL, cancel = NULL, started = NULL, ended = NULL, progress = NULL, outcome = NULL, parked = NULL,
        gate = iif(turn IS NULL, gate, '{ORDER} ' || queue || ' ' || json_extract(limits, '$[0][0]')),
        turn = iif(turn IS NULL, NULL, (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'job'))
    WHERE id = ?1 AND {ENDED} AND state <> {SUCCEEDED} AND NOT EXISTS (
        SELECT 1 FROM job AS other WHERE other.key IS NOT NULL AND other.{NOT_ENDED}
            AND other.task = job.task AND other.key = job.key
    )
    RETURNING queue, turn IS NOT NULL
"""
_USE_UP: Final = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'job'"
_BEAT: Final = "INSERT INTO worker (name, until, record) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = ?2, record = ?3"
_LEAVE: Final = "DELETE FROM worker WHERE name = ?"


class SqliteAdmin:
    """The calls of `Admin`."""

    def __init__(self, database: Database, audience: Audience) -> None:
        self._database = database
        self._audience = audience

    def job(self, job_id: str) -> JobRecord | None:
        return self._database.browse(lambda cursor: find_job(cursor, job_id))

    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        return self._database.browse(lambda cursor: list_jobs(cursor, wanted, limit, after, newest_first))

    def list_queues(self) -> list[QueueRecord]:
        return self._database.browse(list_queues)

    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        if states & HELD:
            raise InvalidOptions("states", sorted(states), "states in which no worker holds the job")
        text = _PURGE.format(", ".join(str(NUMBERS[state]) for state in states))

        def work(cursor: apsw.Cursor, now: float) -> tuple[list[str], Hints]:
            hints = Hints()
            found = [job_id for (job_id,) in fetch(cursor, text, queue, max(limit, 0))]
            hints.add_all("outcome", found)
            tell_openings(cursor, hints)
            return found, hints

        purged, hints = self._database.write(work, durable=True)
        self._audience.tell(hints)
        return len(purged)

    def pause(self, queue: str) -> None:
        self._database.write(lambda cursor, now: execute(cursor, _PAUSE, queue), durable=True)

    def resume(self, queue: str) -> None:
        self._database.write(lambda cursor, now: execute(cursor, _RESUME, queue), durable=True)
        hints = Hints()
        hints.add("work", queue)
        self._audience.tell(hints)

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        def work(cursor: apsw.Cursor, now: float) -> list[str | None]:
            return [_requeue(cursor, now, job_id) for job_id in ids]

        queues = self._database.write(work, durable=True)
        hints = Hints()
        hints.add_all("work", [queue for queue in queues if queue is not None])
        self._audience.tell(hints)
        return [queue is not None for queue in queues]

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        def work(cursor: apsw.Cursor, now: float) -> None:
            if ttl_seconds > 0:
                record = msgspec.json.encode(msgspec.structs.replace(worker, seen_at=now))
                execute(cursor, _BEAT, worker.name, now + ttl_seconds, record)
            else:
                execute(cursor, _LEAVE, worker.name)

        self._database.write(work)

    def list_workers(self) -> list[WorkerRecord]:
        return self._database.browse(lambda cursor: list_workers(cursor, self._database.clock()))


def _requeue(cursor: apsw.Cursor, now: float, job_id: str) -> str | None:
    """Make an ended job ready again; return its queue, or None where that cannot be."""
    found = fetch(cursor, _REQUEUE, job_id, now)
    if not found:
        return None
    queue, has_key = found[0]
    if has_key:  # the number is its place in line, behind all others
        execute(cursor, _USE_UP)
    return str(queue)
