"""The transitions of jobs in memory: the calls, and what time makes necessary.

Each method takes the lock, makes its moves on the table, gives the lock back and then tells the listeners. So a
listener may call the broker again, and nobody who listens can hold up another thread's call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...model.delivery import (
    KEPT_SECONDS,
    CancelAnswer,
    Delivery,
    Finished,
    Receipt,
    Released,
    Renewal,
    Retried,
    Settlement,
    Stored,
    Submission,
    Swept,
    Topic,
    job_owner,
    owning_job,
)
from ...model.reasons import OWNER_ENDED, OWNER_GONE, pack_dead, pack_expired
from ...model.states import ENDED, JobState
from ..protocol import OWNED_GRACE_SECONDS, Emit, Feature, Listener
from .hints import Hints
from .moves import MemoryMoves
from .table import Job


class MemoryBroker(MemoryMoves):
    """A broker in the memory of this process.

    Args:
        clock: Tells the time in epoch seconds; a test passes its own. Default: one that follows no change of the system's.
        name: How the broker is called in errors.
    """

    blocking = False
    features: frozenset[Feature] = frozenset(Feature) - {Feature.DURABLE, Feature.SHARED}

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        hints = Hints()
        with self._lock:
            self._check_open()
            now = self._clock()
            self._make_leases(jobs, now, hints)
            receipts = [self._submit_one(submission, now, hints) for submission in jobs]
        self._audience.tell(hints)
        return receipts

    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        hints = Hints()
        with self._lock:
            self._check_open()
            now = self._clock()
            self._table.gates.open_due(now)
            self._table.gates.opened.difference_update(queues)  # of others, no sweep will find them closed any more
            deliveries: list[Delivery] = []
            for queue in queues:
                if queue in self._paused:
                    continue
                refuse = partial(self._refuse, now=now, hints=hints)
                for job in self._table.take_ready(queue, limit - len(deliveries), now, refuse):
                    self._lease(job, worker, now + lease_seconds)
                    deliveries.append(_to_delivery(job, now))
            self._tell_opened(hints)
        self._audience.tell(hints)
        return deliveries

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        for settlement in settlements:  # before the first change: a call happens completely or not at all
            if isinstance(settlement, Finished) and settlement.state not in ENDED:
                raise ValueError(f"{settlement.delivery.id}: no job ends in the state {settlement.state}")
        hints = Hints()
        with self._lock:
            self._check_open()
            now = self._clock()
            answers = [self._settle_one(settlement, now, hints) for settlement in settlements]
            for settlement, done in zip(settlements, answers, strict=True):
                if done and isinstance(settlement, Finished | Retried | Released):
                    self._cancel_owned(settlement.delivery.token, OWNER_ENDED, now, hints)
                if done and isinstance(settlement, Finished):
                    self._cancel_owned(job_owner(settlement.delivery.id), OWNER_ENDED, now, hints)
                    self._leases.let_go(job_owner(settlement.delivery.id))
            self._tell_opened(hints)
        self._audience.tell(hints)
        return answers

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        with self._lock:
            self._check_open()
            until = self._clock() + lease_seconds
            return [self._renew_one(delivery, until) for delivery in deliveries]

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        hints = Hints()
        with self._lock:
            self._check_open()
            now = self._clock()
            if owner is None:
                answers = [self._cancel_one(job_id, reason, now, hints) for job_id in ids]
            else:
                answers = [self._cancel_one_of(owner, job_id, reason, now, hints) for job_id in ids]
        self._audience.tell(hints)
        return answers

    def hold(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        hints = Hints()
        with self._lock:
            self._check_open()
            now = self._clock()
            answers = [self._hold_one(owner, lease_seconds, now, hints) for owner in owners]
        self._audience.tell(hints)
        return answers

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        with self._lock:
            self._check_open()
            return [_to_stored(self._table.jobs.get(job_id)) for job_id in ids]

    def sweep(self, limit: int) -> Swept:
        hints = Hints()
        with self._lock:
            self._check_open()
            now = self._clock()
            orphaned = self._sweep_owned(limit, now, hints)
            due = self._sweep_due(limit, now, hints)
            expired = self._sweep_expired(limit, now, hints)
            returned, died = self._sweep_leases(limit, now, hints)
            dropped = self._sweep_kept(limit, now)
            self._sweep_limits(now, hints)
            next_due_at, next_room_at = self._table.next_due_at(), self._table.gates.next_room_at()
            self._replies.drop_old(now)
        self._audience.tell(hints)
        return Swept(
            due=due,
            returned=returned,
            died=died,
            expired=expired,
            orphaned=orphaned,
            dropped=dropped,
            more=max(orphaned, due, expired, returned + died, dropped) >= limit,
            next_due_seconds=None if next_due_at is None else max(0.0, next_due_at - now),
            next_room_seconds=None if next_room_at is None else max(0.0, next_room_at - now),
        )

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        with self._lock:
            self._check_open()
            return self._audience.join(topics, emit)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._audience.close()

    # --- sweeping, with the lock held -------------------------------------------------------------

    def _sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        """Cancel what belongs to owners whose lease is over, and to deliveries whose lease is."""
        left = limit
        for owner in self._leases.take_over(now, self._owns_on):
            left -= self._cancel_owned(owner, OWNER_GONE, now, hints, left)
            if left > 0:
                self._leases.let_go(owner)
        for job in self._lost(now):
            left -= self._cancel_owned(job.token, OWNER_ENDED, now, hints, left)
        return limit - left

    def _owns_on(self, owner: bytes) -> bool:
        """Whether an owner is a job that has not ended."""
        job_id = owning_job(owner)
        return job_id is not None and self._table.lives(job_id)

    def _sweep_due(self, limit: int, now: float, hints: Hints) -> int:
        due = 0
        for job in self._table.take_due(limit, now):
            due += 1
            self._table.move(job, "due", JobState.READY)
            hints.add("work", job.submitted.queue)
        return due

    def _sweep_expired(self, limit: int, now: float, hints: Hints) -> int:
        expired = 0
        for job in self._table.take_expired(limit, now):
            expired += 1
            self._end(job, "expire", JobState.EXPIRED, pack_expired(now), now, hints)
        return expired

    def _sweep_leases(self, limit: int, now: float, hints: Hints) -> tuple[int, int]:
        over = [job for job in self._lost(now) if self._may_return(job, now)]
        died = 0
        for job in over[:limit]:
            self._take_back(job, now, hints)
            died += job.state is JobState.DEAD
        return len(over[:limit]) - died, died

    def _lost(self, now: float) -> list[Job]:
        over = [job for job in self._table.held.values() if now >= job.lease_until]
        return sorted(over, key=lambda job: (job.lease_until, job.sequence))

    def _may_return(self, job: Job, now: float) -> bool:
        """Whether what its last attempt started has ended, or was told to and had the time for it."""
        owned = self._table.owned_by(job.token)
        return not owned or (now >= job.lease_until + OWNED_GRACE_SECONDS and all(other.cancel_asked for other in owned))

    def _take_back(self, job: Job, now: float, hints: Hints) -> None:
        """Take a job from a worker whose lease is over. Only a started one can have been what killed the worker."""
        job.lapses += 1
        if job.state is JobState.STARTED:
            job.crashes += 1
        if job.cancel_asked or job.state is not JobState.STARTED or job.crashes < job.submitted.max_crashes:
            self._give_back(job, "lease over", 0.0, now, hints)
            return
        outcome = pack_dead(job.crashes, job.attempts, job.worker, now, job.outcome)
        self._end(job, "lease over", JobState.DEAD, outcome, now, hints)

    def _sweep_kept(self, limit: int, now: float) -> int:
        dropped = 0
        for job in self._table.take_kept_enough(limit, now):
            if self._table.is_needed(job):
                self._table.spare(job, now + KEPT_SECONDS)
            else:
                dropped += 1
                self._table.drop(job)
        return dropped

    def _sweep_limits(self, now: float, hints: Hints) -> None:
        """Open the gates of rates with room, forget those that are as good as new, and free locks whose lease is over."""
        self._table.gates.open_due(now)
        self._table.gates.forget(now)
        self._tell_opened(hints)
        for name in self._lines.drop_all(now):
            hints.add("lock", name)


def _to_stored(job: Job | None) -> Stored | None:
    if job is None:
        return None
    return Stored(job.state, job.outcome if job.state.ended else None, job.unresponsive)


def _to_delivery(job: Job, now: float) -> Delivery:
    submitted = job.submitted
    waits_for_first = job.expires_at is not None and not job.attempts and not job.crashes
    return Delivery(
        id=submitted.id,
        queue=submitted.queue,
        task=submitted.task,
        payload=submitted.payload,
        token=job.token,
        attempt=job.attempts + 1,
        crashes=job.crashes,
        lapses=job.lapses,
        expires_in_seconds=(job.expires_at or 0.0) - now if waits_for_first else None,
        age_seconds=max(0.0, now - job.created_at),
        owned=job.owner is not None,
        waited_seconds=max(0.0, now - job.due_at),
        raw=submitted.raw,
    )
