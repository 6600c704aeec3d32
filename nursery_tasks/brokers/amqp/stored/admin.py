"""What people look at and change. The store knows all of it; what becomes ready is told to the workers by messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....model.listing import JobFilter, JobRecord, QueueRecord, WorkerRecord
from ....model.states import JobState
from ...parts import Admin
from ..transport import Transport


class StoredAdmin:
    """The calls of `Admin`.

    Args:
        call_for: Publishes so many messages to each of these queues.
    """

    def __init__(self, store: Admin, transport: Transport, call_for: Callable[[dict[str, int]], None]) -> None:
        self._at_store = store
        self._transport = transport
        self._call_for = call_for

    def job(self, job_id: str) -> JobRecord | None:
        return self._store.job(job_id)

    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        return self._store.list_jobs(wanted, limit, after, newest_first)

    def list_queues(self) -> list[QueueRecord]:
        return self._store.list_queues()

    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        return self._store.purge(queue, states, limit)

    def pause(self, queue: str) -> None:
        self._store.pause(queue)

    def resume(self, queue: str) -> None:
        self._store.resume(queue)

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        answers = self._store.requeue(ids)
        again = [job_id for job_id, done in zip(ids, answers, strict=True) if done]
        records = [record for job_id in again if (record := self._store.job(job_id)) is not None]
        self._call_for({record.queue: sum(other.queue == record.queue for other in records) for record in records})
        return answers

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        self._store.beat(worker, ttl_seconds)

    def list_workers(self) -> list[WorkerRecord]:
        return self._store.list_workers()

    @property
    def _store(self) -> Admin:
        self._transport.check_usable()
        return self._at_store
