"""The moves of one job after the other. The caller holds the lock, and tells the hints when it has given it back."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_bytes

from ...model.delivery import (
    CancelAnswer,
    Delivery,
    Finished,
    LeaseState,
    Progressed,
    Receipt,
    Renewal,
    Retried,
    Settlement,
    Started,
    Submission,
    Unresponsive,
)
from ...model.limits import Limit, no_room
from ...model.reasons import OWNER_GONE, pack_cancelled
from ...model.states import JobState
from .hints import Hints
from .locks import MemoryLocks
from .table import Job


class MemoryMoves(MemoryLocks):
    """What the calls of a worker and a client are made of."""

    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        known = self._find_known(submission)
        if known is not None:
            if submission.owner is None and known.owner is not None and not known.state.ended:
                self._table.detach(known)
            return Receipt(known.submitted.id, False)
        job = self._table.add(submission, now)
        if job.state.ended:
            hints.add("outcome", submission.id)
            return Receipt(submission.id, True)
        if not self._has_owner(submission):
            self._cancel_one(submission.id, OWNER_GONE, now, hints)
            return Receipt(submission.id, True)
        hints.add("work" if job.state is JobState.READY else "due", submission.queue)
        return Receipt(submission.id, True)

    def _find_known(self, submission: Submission) -> Job | None:
        """Return the job that stands for a submission, if there is one."""
        known = self._table.jobs.get(submission.id)
        if known is None and submission.key is not None:
            holder = self._table.keys.get((submission.task, submission.key))
            return None if holder is None else self._table.jobs[holder]
        return known

    def _lease(self, job: Job, worker: str, until: float) -> None:
        job.token, job.lease_until = token_bytes(16), until
        job.worker, job.started_at = worker, None
        self._table.move(job, "claim", JobState.CLAIMED)

    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        job = self._table.find_held(settlement.delivery)
        if job is None:
            return False
        if isinstance(settlement, Started):
            if job.state is JobState.CLAIMED:
                self._count_attempt(job)
                job.started_at = now
                self._table.move(job, "start", JobState.STARTED)
        elif isinstance(settlement, Progressed):
            job.progress = settlement.progress
        elif isinstance(settlement, Unresponsive):
            job.unresponsive = True
            hints.add("outcome", settlement.delivery.id)
        elif isinstance(settlement, Finished):
            self._count_attempt(job)
            self._end(job, "finish", settlement.state, settlement.outcome, now, hints)
            if settlement.reply is not None:
                self._replies.add(settlement.reply, now)
        elif isinstance(settlement, Retried):
            self._count_attempt(job)
            job.outcome = settlement.failure
            self._give_back(job, "retry", settlement.delay_seconds, now, hints)
        else:
            if job.state is JobState.STARTED:
                job.attempts -= 1
            self._give_back(job, "release", settlement.delay_seconds, now, hints)
        return True

    def _count_attempt(self, job: Job) -> None:
        """Count the attempt, unless its `Started` did."""
        if job.state is JobState.CLAIMED:
            job.attempts += 1

    def _give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        if job.cancel_asked:
            self._end_cancelled(job, move, now, hints)
            return
        job.token, job.unresponsive = b"", False
        job.due_at = now + max(0.0, delay_seconds)
        waits = job.due_at > now
        self._table.move(job, move, JobState.SCHEDULED if waits else JobState.READY)
        hints.add("due" if waits else "work", job.submitted.queue)

    def _end(self, job: Job, move: str, state: JobState, outcome: bytes, now: float, hints: Hints) -> None:
        job.token, job.unresponsive = b"", False
        job.outcome, job.ended_at = outcome, now
        self._table.move(job, move, state)
        hints.add("outcome", job.submitted.id)

    def _end_cancelled(self, job: Job, move: str, now: float, hints: Hints) -> None:
        outcome = pack_cancelled(job.cancel_reason, job.attempts, job.worker, now)
        self._end(job, move, JobState.CANCELLED, outcome, now, hints)

    def _renew_one(self, delivery: Delivery, until: float) -> Renewal:
        job = self._table.find_held(delivery)
        if job is None:
            return Renewal(LeaseState.LOST)
        job.lease_until = until
        return Renewal(LeaseState.CANCEL, job.cancel_reason) if job.cancel_asked else Renewal(LeaseState.HELD)

    def _cancel_one(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        job = self._table.jobs.get(job_id)
        if job is None:
            return CancelAnswer.UNKNOWN
        if job.state.ended:
            return CancelAnswer.FINISHED
        if not job.cancel_asked:
            job.cancel_asked, job.cancel_reason = True, reason or None
        if job.token:
            hints.add("cancel", job_id)
            return CancelAnswer.REQUESTED
        self._end_cancelled(job, "cancel", now, hints)
        return CancelAnswer.CANCELLED

    def _refuse(self, job: Job, limit: Limit, now: float, hints: Hints) -> None:
        """End a ready job that a limit has no room for."""
        self._cancel_one(job.submitted.id, no_room(limit.name), now, hints)

    def _tell_opened(self, hints: Hints) -> None:
        """Tell of queues where a limit has room for some who waited for it, or will have some at a known time."""
        gates = self._table.gates
        for queue in gates.opened:
            hints.add("work", queue)
        for queue in gates.closed:
            hints.add("due", queue)
        gates.opened.clear()
        gates.closed.clear()

    # --- owners -----------------------------------------------------------------------------------

    def _cancel_one_of(self, owner: bytes, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        """Cancel a job if it belongs to *owner* and has not ended."""
        known = job_id in self._table.owned.get(owner, ())
        return self._cancel_one(job_id, reason, now, hints) if known else CancelAnswer.UNKNOWN

    def _make_leases(self, jobs: Sequence[Submission], now: float, hints: Hints) -> None:
        for job in jobs:
            if job.owner is not None and job.owner_seconds > 0:
                if self._leases.is_gone(job.owner):  # whoever owned the jobs that are left was told that they are cancelled
                    self._cancel_owned(job.owner, OWNER_GONE, now, hints)
                self._leases.make(job.owner, now + job.owner_seconds)

    def _has_owner(self, submission: Submission) -> bool:
        """Whether a new job is detached, or who owns it is there."""
        if submission.owner is None or submission.owner_seconds > 0:
            return True
        return any(job.token == submission.owner for job in self._table.held.values())

    def _hold_one(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        held = self._leases.hold(owner, now + lease_seconds)
        if held and lease_seconds <= 0:
            self._cancel_owned(owner, OWNER_GONE, now, hints)
            self._leases.let_go(owner)
        return held

    def _cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        """Cancel the jobs of an owner, except for those that are being cancelled; return how many."""
        jobs = [job for job in self._table.owned_by(owner) if not job.cancel_asked][:limit]
        for job in jobs:
            self._cancel_one(job.submitted.id, reason, now, hints)
        return len(jobs)
