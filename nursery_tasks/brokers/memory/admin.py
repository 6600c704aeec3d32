"""What people look at and change in the memory broker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec

from ...errors import InvalidOptions
from ...model.listing import JobFilter, JobRecord, QueueRecord, WorkerRecord
from ...model.states import HELD, JobState
from ..common.atomic_calls import AtomicCall, AtomicCalls
from ..rules.job import Job
from .state import MemoryState


class MemoryAdmin:
    """The calls of `Admin`."""

    def __init__(self, calls: AtomicCalls, state: MemoryState) -> None:
        self._calls, self._state = calls, state
        self._table, self._order = state.table, state.order
        self._workers: dict[str, tuple[float, WorkerRecord]] = {}  # name -> (counts until, record)

    def job(self, job_id: str) -> JobRecord | None:
        with AtomicCall(self._calls):
            job = self._table.jobs.get(job_id)
            return None if job is None else job.to_record()

    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        with AtomicCall(self._calls):
            jobs = self._table.jobs.values()
            if newest_first:
                turn = (job for job in reversed(jobs) if not after or job.sequence < after)
            else:
                turn = (job for job in jobs if job.sequence > after)
            fitting = (job for job in turn if _is_wanted(job, wanted))
            return [job.to_record() for job in islice(fitting, max(limit, 0))]

    def list_queues(self) -> list[QueueRecord]:
        with AtomicCall(self._calls):
            counts, paused = self._table.counts, self._order.paused
            return [
                QueueRecord(name=name, counts=dict(counts.get(name, {})), paused=name in paused)
                for name in sorted(counts.keys() | paused)
            ]

    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        if states & HELD:
            raise InvalidOptions("states", sorted(states), "states in which no worker holds the job")
        with AtomicCall(self._calls) as call:
            table = self._table
            jobs = table.jobs.values()
            fitting = (job for job in jobs if job.state in states and job.submitted.queue == queue and not table.is_needed(job))
            purged = list(islice(fitting, max(limit, 0)))
            for job in purged:
                table.drop(job)
                call.hints.add("outcome", job.submitted.id)
            table.gates.tell_opened(call.hints)
            return len(purged)

    def pause(self, queue: str) -> None:
        with AtomicCall(self._calls):
            self._order.paused.add(queue)

    def resume(self, queue: str) -> None:
        with AtomicCall(self._calls) as call:
            self._order.paused.discard(queue)
            call.hints.add("work", queue)

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        with AtomicCall(self._calls) as call:
            return [self._state.moves.requeue(job_id, call.now, call.hints) for job_id in ids]

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        with AtomicCall(self._calls) as call:
            self._workers = {name: known for name, known in self._workers.items() if known[0] > call.now}
            self._workers.pop(worker.name, None)
            if ttl_seconds > 0:
                self._workers[worker.name] = (call.now + ttl_seconds, msgspec.structs.replace(worker, seen_at=call.now))

    def list_workers(self) -> list[WorkerRecord]:
        with AtomicCall(self._calls) as call:
            return [record for _, (until, record) in sorted(self._workers.items()) if until > call.now]


def _is_wanted(job: Job, wanted: JobFilter) -> bool:
    submitted = job.submitted
    return (
        (not wanted.states or job.state in wanted.states)
        and wanted.queue in (None, submitted.queue)
        and wanted.task in (None, submitted.task)
        and wanted.parent in (None, submitted.parent)
        and (wanted.tag is None or wanted.tag in submitted.tags)
    )
