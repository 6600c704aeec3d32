"""What people look at and change: the half of the memory broker behind `BrokerAdmin`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from threading import RLock
from typing import Final

import msgspec

from ...errors import BrokerClosed, InvalidOptions
from ...model.listing import JobFilter, JobRecord, LimitRecord, QueueRecord, WorkerRecord
from ...model.states import HELD, JobState, is_legal
from .hints import Audience, Hints
from .lines import Lines
from .owners import Leases
from .replies import Replies
from .table import Job, JobTable

_BEGAN: Final = time.time() - time.monotonic()


def steady_time() -> float:
    """Epoch seconds as they were when the program began, plus what has passed: nobody can set this clock back or forth."""
    return _BEGAN + time.monotonic()


class MemoryAdmin:
    """The state that both halves share, and the calls for people."""

    def __init__(self, *, clock: Callable[[], float] | None = None, name: str = "memory:") -> None:
        self.name = name
        self._clock = clock or steady_time
        self._lock = RLock()  # around every call: each is one atomic step, whichever thread makes it
        self._closed = False
        self._table = JobTable()
        self._leases = Leases()
        self._lines = Lines()
        self._replies = Replies()
        self._audience = Audience()
        self._paused: set[str] = set()
        self._workers: dict[str, tuple[float, WorkerRecord]] = {}  # name -> (counts until, record)

    def job(self, job_id: str) -> JobRecord | None:
        with self._lock:
            self._check_open()
            job = self._table.jobs.get(job_id)
            return None if job is None else job.to_record()

    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        with self._lock:
            self._check_open()
            jobs = self._table.jobs.values()
            if newest_first:
                turn = (job for job in reversed(jobs) if not after or job.sequence < after)
            else:
                turn = (job for job in jobs if job.sequence > after)
            found = (job for job in turn if _is_wanted(job, wanted))
            return [job.to_record() for job in islice(found, max(limit, 0))]

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        with self._lock:
            self._check_open()
            return self._replies.take(name, limit, self._clock())

    def queues(self) -> list[QueueRecord]:
        with self._lock:
            self._check_open()
            return [
                QueueRecord(name=name, counts=dict(self._table.counts.get(name, {})), paused=name in self._paused)
                for name in sorted(self._table.counts.keys() | self._paused)
            ]

    def limits(self, limit: int) -> list[LimitRecord]:
        with self._lock:
            self._check_open()
            return list(islice(self._table.gates.records(), max(limit, 0)))

    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        if states & HELD:
            raise InvalidOptions("states", sorted(states), "states in which no worker holds the job")
        hints = Hints()
        with self._lock:
            self._check_open()
            table = self._table
            jobs = table.jobs.values()
            found = (job for job in jobs if job.state in states and job.submitted.queue == queue and not table.is_needed(job))
            purged = list(islice(found, max(limit, 0)))
            for job in purged:
                self._table.drop(job)
                hints.add("outcome", job.submitted.id)
        self._audience.tell(hints)
        return len(purged)

    def pause(self, queue: str) -> None:
        with self._lock:
            self._check_open()
            self._paused.add(queue)

    def resume(self, queue: str) -> None:
        hints = Hints()
        with self._lock:
            self._check_open()
            self._paused.discard(queue)
            hints.add("work", queue)
        self._audience.tell(hints)

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        hints = Hints()
        with self._lock:
            self._check_open()
            now = self._clock()
            answers = [self._requeue_one(job_id, now, hints) for job_id in ids]
        self._audience.tell(hints)
        return answers

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        with self._lock:
            self._check_open()
            now = self._clock()
            self._workers = {name: known for name, known in self._workers.items() if known[0] > now}
            self._workers.pop(worker.name, None)
            if ttl_seconds > 0:
                self._workers[worker.name] = (now + ttl_seconds, msgspec.structs.replace(worker, seen_at=now))

    def workers(self) -> list[WorkerRecord]:
        with self._lock:
            self._check_open()
            now = self._clock()
            return [record for _, (until, record) in sorted(self._workers.items()) if until > now]

    def _requeue_one(self, job_id: str, now: float, hints: Hints) -> bool:
        job = self._table.jobs.get(job_id)
        if job is None or not is_legal("requeue", job.state, JobState.READY):
            return False
        if job.unique is not None and job.unique in self._table.keys:
            return False
        job.attempts = job.crashes = job.lapses = 0
        job.created_at = job.due_at = now
        job.owner = job.expires_at = None
        job.worker = job.started_at = job.ended_at = job.progress = job.outcome = job.cancel_reason = None
        job.cancel_asked = False
        self._table.move(job, "requeue", JobState.READY)
        hints.add("work", job.submitted.queue)
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerClosed(self.name)


def _is_wanted(job: Job, wanted: JobFilter) -> bool:
    submitted = job.submitted
    return (
        (not wanted.states or job.state in wanted.states)
        and wanted.queue in (None, submitted.queue)
        and wanted.task in (None, submitted.task)
        and wanted.parent in (None, submitted.parent)
        and (wanted.tag is None or wanted.tag in submitted.tags)
    )
