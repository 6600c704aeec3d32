"""What people look at and change: the half of the broker behind `BrokerAdmin`. The store knows all of it."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import BrokerRefused, NotSupported
from ...model.listing import JobFilter, JobRecord, LimitRecord, LockRecord, QueueRecord, WorkerRecord
from ...model.states import HELD, WAITING, JobState
from ..protocol import Broker, BrokerAdmin, BrokerLimits, BrokerLocks, Describes, Feature
from .queues import AmqpQueues
from .transport import Transport


class AmqpAdmin(AmqpQueues):
    """The store and the transport, which both halves share, and the calls for people."""

    def __init__(self, store: Broker, transport: Transport) -> None:
        self._store = store
        self._transport = transport

    @property
    def transport(self) -> Transport:
        return self._transport

    def describe(self) -> dict[str, str]:
        server = self._transport.server
        facts = {
            str(server.get("product", "AMQP server")): str(server.get("version", "?")),
            "cluster": str(server.get("cluster_name", "?")),
            "prefix": self._transport.address.prefix,
            "store": self._store.name,
        }
        if isinstance(self._store, Describes):
            facts |= {f"store: {name}": value for name, value in self._store.describe().items()}
        return facts

    def job(self, job_id: str) -> JobRecord | None:
        return self._people().job(job_id)

    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        return self._people().jobs(wanted, limit, after, newest_first)

    def queues(self) -> list[QueueRecord]:
        return self._people().queues()

    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        return self._people().purge(queue, states, limit)

    def delete_queue(self, queue: str, force: bool) -> bool:
        """Delete the queue, and what waits in it here and in the store."""
        counts = next((record.counts for record in self.queues() if record.name == queue), dict[JobState, int]())
        alive = {state: count for state in (*WAITING, *HELD) if (count := counts.get(state, 0))}
        if alive and not force:
            listed = ", ".join(f"{count:,} {state}" for state, count in sorted(alive.items()))
            step = "wait for them, or --force deletes those that wait; what runs goes on"
            raise BrokerRefused(self.name, f"the queue {queue!r} has jobs: {listed}", step)
        purged = 0
        while force and (count := self.purge(queue, WAITING)):  # first, or else workers would look for them without messages
            purged += count
        return super().delete_queue(queue, force) or purged > 0

    def pause(self, queue: str) -> None:
        self._people().pause(queue)

    def resume(self, queue: str) -> None:
        self._people().resume(queue)

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        answers = self._people().requeue(ids)
        again = [job_id for job_id, done in zip(ids, answers, strict=True) if done]
        records = [record for job_id in again if (record := self._people().job(job_id)) is not None]
        self._call_for({record.queue: sum(other.queue == record.queue for other in records) for record in records})
        return answers

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        self._people().beat(worker, ttl_seconds)

    def workers(self) -> list[WorkerRecord]:
        return self._people().workers()

    def limits(self, limit: int) -> list[LimitRecord]:
        self._transport.check_usable()
        if not isinstance(self._store, BrokerLimits):
            raise NotSupported(self.name, Feature.LIMITS)
        return self._store.limits(limit)

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        return self._locks().lock(name, holder, lease_seconds, wait)

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        return self._locks().relock(holds, lease_seconds)

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        return self._locks().unlock(holds)

    def locks(self, limit: int) -> list[LockRecord]:
        return self._locks().locks(limit)

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        return self._transport.take_answers(name, limit)

    def _locks(self) -> BrokerLocks:
        self._transport.check_usable()
        if not isinstance(self._store, BrokerLocks):
            raise NotSupported(self.name, Feature.LOCKS)
        return self._store

    def _people(self) -> BrokerAdmin:
        self._transport.check_usable()
        if not isinstance(self._store, BrokerAdmin):
            raise NotSupported(self.name, "listings")
        return self._store

    def _call_for(self, numbers: dict[str, int]) -> None:
        """Publish so many messages to each of these queues. Implemented by the other half."""
        raise NotImplementedError
