"""The jobs in flight of one worker: claimed, running, or ended with an outcome that is not stored yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

from anyio import CancelScope

from ..current import AttemptContext
from ..events import JobEvent
from ..model.delivery import Delivery
from ..model.outcome import GIVEN_BACK, LEASE_LOST
from ..model.reply import Address
from ..shared_leases import NOWHERE, SharedLeases
from .prepare import Call


class SharedCall(Protocol):
    """A call that belongs to several jobs."""

    begun: bool

    def told(self, job: InFlightJob) -> None:
        """Hear that one of them is to end."""


class InFlightJob:
    """One job in flight.

    Attributes:
        lease_from: When the last successful claim or renewal was *sent*, by `boot_time()`; written by the lease keeper.
        expires_deadline: On the loop's clock; past it the job must not be started any more.
        since: When it was claimed, on the loop's clock.
        scope: The attempt's scope while it runs.
        cancelled: It is to be cancelled, by somebody or because its lease is lost; `cancel_reason` says why.
        lost: The lease is lost, or could not be kept in time: the handler has to end. What it came to still counts if the token
            holds, which only the broker knows.
        stale: The broker has said that the token does not hold any more: whatever becomes of the job here does not count.
        given_back: It waits, the worker stops, and another one can go on with it.
        ended: The attempt is over and its settlement is on its way.
        told_at: When the watchdog saw that it was told to end, on the loop's clock.
        time_limit: When its timeout or its caller's deadline is over, likewise; `timeout_at` is the timeout alone.
        began_at, call: When the attempt began, in epoch seconds, and what it calls.
        ended_at: When it ended, likewise, where that is heard by anybody.
        end: The event of an end about which more is to be said; see `log_notes.py`, as for the next.
        is_start_noted: The log of events has the start.
        over: The handler has returned; until then it may still do something.
        context: What acts on behalf of the running handler finds here.
        address: Where the answer goes, once that is known.
        shared_leases, place: Where its lease is noted for the supervisor, if that is noted.
        watched: How often the watchdog has acted on it: 1 warned, 2 given up.
        excused_seconds: For how long, since it was told to end, nothing could run here; the watchdog counts it.
        in_batch: What it is collected for, or runs in, of a batch task.
        on_told: Called when it was told to end, or from when on it has to; None: somebody looks now and then.
    """

    __slots__ = (
        "address",
        "began_at",
        "call",
        "cancel_reason",
        "cancelled",
        "context",
        "delivery",
        "end",
        "ended",
        "ended_at",
        "excused_seconds",
        "expires_deadline",
        "given_back",
        "in_batch",
        "is_start_noted",
        "lease_from",
        "lost",
        "on_told",
        "over",
        "place",
        "scope",
        "shared_leases",
        "since",
        "stale",
        "time_limit",
        "timeout_at",
        "told_at",
        "watched",
    )

    def __init__(self, delivery: Delivery, lease_from: float, now: float, on_told: Callable[[], object] | None = None) -> None:
        self.delivery = delivery
        self.lease_from = lease_from
        self.since = now
        waits = delivery.expires_in_seconds
        self.expires_deadline = None if waits is None else now + waits
        self.scope: CancelScope | None = None
        self.cancelled = False
        self.cancel_reason: str | None = None
        self.lost = self.stale = False
        self.given_back = False
        self.ended = False
        self.over = False
        self.told_at = self.time_limit = self.timeout_at = math.inf
        self.began_at = self.ended_at = 0.0
        self.end: JobEvent | None = None
        self.is_start_noted = False
        self.call: Call | None = None
        self.context: AttemptContext | None = None
        self.address: Address | None = None
        self.watched = 0
        self.excused_seconds = 0.0
        self.in_batch: SharedCall | None = None
        self.on_told = on_told
        self.shared_leases: SharedLeases | None = None
        self.place = NOWHERE

    def limit(self, time_limit: float, timeout_at: float = math.inf) -> None:
        """Set when the attempt is out of time, on the loop's clock, and when its own timeout alone is over."""
        self.time_limit, self.timeout_at = time_limit, timeout_at
        if self.on_told is not None and time_limit < math.inf:
            self.on_told()

    def note_running(self, *, running: bool) -> None:
        """Note, for whoever sees this process die, whether the handler runs."""
        if self.shared_leases is not None:
            self.shared_leases.mark(self.place, running=running)

    def cancel(self, reason: str | None) -> None:
        """Cancel the attempt, or keep it from starting. The first reason stays, but a lost lease beats all others."""
        if not self.cancelled:
            self._cancel(reason)

    def lose(self) -> None:
        """Do the same because somebody else may have the job soon."""
        if not self.lost:
            self.lost = True
            self._cancel(LEASE_LOST)

    def refuse(self) -> None:
        """Do the same because the token does not hold any more."""
        self.stale = True
        self.lose()

    def give_back(self) -> None:
        """End the attempt because another worker can go on with it, at no loss; not once somebody wants the job to end."""
        if not self.cancelled:
            self.given_back = True
            self._cancel(GIVEN_BACK)

    def _cancel(self, reason: str | None) -> None:
        self.cancelled = True
        self.cancel_reason = reason
        if self.scope is not None:
            self.scope.cancel(reason)
        if self.in_batch is not None:
            self.in_batch.told(self)
        if self.on_told is not None:
            self.on_told()


class InFlightJobs:
    """The table of jobs in flight, by id. The loop writes it; the lease keeper's thread takes snapshots.

    Args:
        shared_leases: Where their leases are noted, too.

    Attributes:
        on_told: For all jobs, see `InFlightJob`; set before the first one.
        batches: The batches that run; their jobs are in the table.
    """

    def __init__(self, shared_leases: SharedLeases | None = None) -> None:
        self.on_told: Callable[[], object] | None = None
        self.batches: list[InFlightJob] = []
        self._jobs: dict[str, InFlightJob] = {}
        self._shared_leases = shared_leases

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, deliveries: Iterable[Delivery], lease_from: float, now: float) -> list[InFlightJob]:
        """Enter what was claimed."""
        on_told, known = self.on_told, self._jobs
        jobs = [InFlightJob(delivery, lease_from, now, on_told) for delivery in deliveries]
        for job in jobs:
            job_id = job.delivery.id
            if job_id in known:  # its lease was over, and this worker is the next one, too
                known[job_id].refuse()
            known[job_id] = job
        if self._shared_leases is not None:
            for job in jobs:
                job.shared_leases = self._shared_leases
                job.place = self._shared_leases.add(job.delivery.id, job.delivery.token, job.delivery.address)
        return jobs

    def remove(self, job: InFlightJob) -> None:
        """Take one out: settled, released or lost. Another delivery of the same job stays."""
        job_id = job.delivery.id
        if self._jobs.get(job_id) is job:
            del self._jobs[job_id]
        if job.shared_leases is not None:
            job.shared_leases.remove(job.place)
            job.shared_leases = None

    def has(self, job: InFlightJob) -> bool:
        """Say whether this very delivery is still in flight."""
        return self._jobs.get(job.delivery.id) is job

    def find(self, ids: Iterable[str] | None) -> list[InFlightJob]:
        """Return those of *ids* that are in flight here; None: all."""
        if ids is None:
            return self.snapshot()
        return [job for job_id in ids if (job := self._jobs.get(job_id)) is not None]

    def snapshot(self) -> list[InFlightJob]:
        """Return all, from any thread: one step of the interpreter, so nothing can change under it."""
        return list(self._jobs.values())

    def handlers(self) -> list[InFlightJob]:
        """Return what has a handler that runs, from any thread: jobs, and batches."""
        return [job for job in (*self.snapshot(), *list(self.batches)) if job.context is not None]

    def running(self) -> list[str]:
        """Return the ids of the jobs whose attempts run."""
        return [job.delivery.id for job in self.snapshot() if _runs(job) and not job.ended]


def _runs(job: InFlightJob) -> bool:
    return job.scope is not None or (job.in_batch is not None and job.in_batch.begun)
