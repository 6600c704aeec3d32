"""What time makes necessary. See `Broker.sweep`."""

from __future__ import annotations

from ...model.delivery import Swept
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ...model.states import JobState
from ..common.hints import Hints
from ..protocol import OWNED_GRACE_SECONDS
from .job import Job
from .order import JobOrder
from .owners import Owners
from .pauses import PauseTable


class Sweeps:
    """The sweeps of jobs.

    Args:
        spare_seconds: For how long the outcome of a job that another one may ask for is kept, until that is looked at again.
    """

    def __init__(self, order: JobOrder, owners: Owners, pauses: PauseTable, spare_seconds: float) -> None:
        self.order, self.owners, self.pauses = order, owners, pauses
        self._spare_seconds = spare_seconds
        self.moves, self.table = owners.moves, owners.table

    def sweep(self, limit: int, now: float, hints: Hints) -> Swept:
        """Do at most about *limit* of each kind."""
        orphaned = self.sweep_owned(limit, now, hints)
        due = self.sweep_due(limit, now, hints)
        due += self.sweep_paused(limit - due, now, hints)
        expired = self.sweep_expired(limit, now, hints)
        returned, died = self.sweep_leases(limit, now, hints)
        dropped = self.sweep_kept(limit, now)
        self.sweep_limits(now, hints)
        next_due_at, next_room_at = self.order.due.next_at(), self.order.gates.next_room_at()
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
            pauses=self.pauses.version,
        )

    def sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        """Cancel what belongs to owners whose lease is over, and to deliveries whose lease is."""
        left = limit
        for owner in self.owners.leases.take_ended(now, self.owners.owns_on):
            left -= self.owners.cancel_owned(owner, OWNER_GONE, now, hints, left)
            if left > 0:
                self.owners.leases.let_go(owner)
        for job in self.lost(now):
            left -= self.owners.cancel_owned(job.token, OWNER_ENDED, now, hints, left)
        return limit - left

    def sweep_due(self, limit: int, now: float, hints: Hints) -> int:
        due = 0
        for job in self.order.due.take(limit, now):
            due += 1
            self.table.move(job, "due", JobState.READY)
            hints.add("work", job.submitted.queue)
        return due

    def sweep_paused(self, limit: int, now: float, hints: Hints) -> int:
        """Make jobs ready whose pause is over; return how many."""
        resumed = list(self.pauses.resumed(self.order.parked, limit))
        for job in resumed:
            self.table.move(job, "due", JobState.READY)
            job.parked, job.due_at = None, now
            hints.add("work", job.submitted.queue)
        return len(resumed)

    def sweep_expired(self, limit: int, now: float, hints: Hints) -> int:
        expired = 0
        for job in self.order.expiring.take(limit, now):
            expired += 1
            self.moves.end_expired(job, now, hints)
        return expired

    def sweep_leases(self, limit: int, now: float, hints: Hints) -> tuple[int, int]:
        """Take jobs back from workers whose lease is over; return how many, and how many more are dead."""
        over = [job for job in self.lost(now) if self.may_return(job, now)]
        died = 0
        for job in over[:limit]:
            self.take_back(job, now, hints)
            died += job.state is JobState.DEAD
        return len(over[:limit]) - died, died

    def sweep_kept(self, limit: int, now: float) -> int:
        """Drop what was kept long enough and that no job may ask for."""
        dropped = 0
        for job in self.order.kept.take(limit, now):
            if self.table.is_needed(job):
                self.order.spare(job, now + self._spare_seconds)
            else:
                dropped += 1
                self.table.drop(job)
        return dropped

    def sweep_limits(self, now: float, hints: Hints) -> None:
        """Open the gates of rates with room, and forget those that are as good as new."""
        self.order.gates.open_due(now)
        self.order.gates.forget(now)
        self.order.shares.forget()
        self.order.gates.tell_opened(hints)

    def lost(self, now: float) -> list[Job]:
        """Return the held jobs whose lease is over, in the order in which it ended."""
        over = [job for job in self.table.held.values() if now >= job.lease_until]
        return sorted(over, key=lambda job: (job.lease_until, job.sequence))

    def may_return(self, job: Job, now: float) -> bool:
        """Whether what its last attempt started has ended, or was told to and had the time for it."""
        owned = self.table.owned_by(job.token)
        return not owned or (now >= job.lease_until + OWNED_GRACE_SECONDS and all(other.cancel_asked for other in owned))

    def take_back(self, job: Job, now: float, hints: Hints) -> None:
        """Take a job from a worker whose lease is over. Only a started one can have been what killed the worker."""
        job.lapses += 1
        if job.state is JobState.STARTED:
            job.crashes += 1
        if job.cancel_asked or job.state is not JobState.STARTED or job.crashes < job.submitted.max_crashes:
            self.moves.give_back(job, "lease over", 0.0, now, hints)
        else:
            self.moves.end_dead(job, "lease over", now, hints)
