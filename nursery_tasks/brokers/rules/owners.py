"""What an owner's lease and its end do to the jobs that belong to it."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.delivery import CancelAnswer, Submission, owning_job
from ...model.reasons import OWNER_GONE
from ..common.hints import Hints
from .leases import OwnerLeases
from .moves import Moves


class Owners:
    """The owners of jobs: those with a lease, deliveries, and jobs."""

    def __init__(self, moves: Moves, leases: OwnerLeases) -> None:
        self.moves, self.table = moves, moves.table
        self.leases = leases

    def make_leases(self, jobs: Sequence[Submission], now: float, hints: Hints) -> None:
        """Make or prolong the leases that submissions bring along."""
        for job in jobs:
            if job.owner is not None and job.owner_seconds > 0:
                if self.leases.is_gone(job.owner):  # whoever owned the jobs that are left was told that they are cancelled
                    self.cancel_owned(job.owner, OWNER_GONE, now, hints)
                self.leases.make(job.owner, now + job.owner_seconds)

    def has_owner(self, submission: Submission) -> bool:
        """Whether a new job is detached, or who owns it is there."""
        if submission.owner is None or submission.owner_seconds > 0:
            return True
        return any(job.token == submission.owner for job in self.table.held.values())

    def renew(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        """Prolong a lease; 0: let it go, with all that belongs to the owner."""
        known = self.leases.renew(owner, now + lease_seconds)
        if known and lease_seconds <= 0:
            self.cancel_owned(owner, OWNER_GONE, now, hints)
            self.leases.let_go(owner)
        return known

    def cancel_one_of(self, owner: bytes, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        """Cancel a job if it belongs to *owner* and has not ended."""
        known = job_id in self.table.owned.get(owner, ())
        return self.moves.cancel(job_id, reason, now, hints) if known else CancelAnswer.UNKNOWN

    def cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        """Cancel the jobs of an owner, except for those that are being cancelled; return how many."""
        jobs = [job for job in self.table.owned_by(owner) if not job.cancel_asked][:limit]
        for job in jobs:
            self.moves.cancel(job.submitted.id, reason, now, hints)
        return len(jobs)

    def owns_on(self, owner: bytes) -> bool:
        """Whether an owner is a job that has not ended."""
        job_id = owning_job(owner)
        return job_id is not None and self.table.lives(job_id)
