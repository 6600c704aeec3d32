"""What becomes of one job: each function is one move of the table in `model/states.py`, with all that belongs to it."""

from __future__ import annotations

from collections.abc import Callable

from ...model.delivery import CancelAnswer
from ...model.ended import cancelled, dead, expired
from ...model.reasons import pack_cancelled, pack_dead, pack_expired
from ...model.states import JobState, is_legal
from ..common.hints import Hints
from .job import Job
from .table import JobTable


class Moves:
    """The moves of jobs.

    Args:
        on_let_go: Called with each job that has ended or was given back, last of all; it may drop the job.
    """

    def __init__(self, table: JobTable, on_let_go: Callable[[Job], None] | None = None) -> None:
        self.table = table
        self._on_let_go = on_let_go

    def lease(self, job: Job, token: bytes, worker: str, until: float) -> None:
        """Give a ready job to a worker."""
        job.token, job.lease_until = token, until
        job.worker, job.started_at = worker, None
        self.table.move(job, "claim", JobState.CLAIMED)

    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        """Let a held job wait for another attempt; or end it, where a cancel was asked for."""
        if job.cancel_asked:
            self.end_cancelled(job, move, now, hints)
            return
        if job.submitted.once and (move == "retry" or job.state is JobState.STARTED):
            self.end_dead(job, move, now, hints)
            return
        job.token, job.unresponsive = b"", False
        job.due_at = now + max(0.0, delay_seconds)
        waits = job.due_at > now
        self.table.move(job, move, JobState.SCHEDULED if waits else JobState.READY)
        hints.add("change", job.submitted.id)
        hints.add("due" if waits else "work", job.submitted.queue)
        if job.parked is not None:  # a worker that knows it may be idle
            hints.add("work", job.submitted.queue)
        if self._on_let_go is not None:
            self._on_let_go(job)

    def end(self, job: Job, move: str, state: JobState, outcome: bytes, now: float, hints: Hints) -> None:
        """Let a job end."""
        job.token, job.unresponsive = b"", False
        job.outcome, job.ended_at = outcome, now
        self.table.move(job, move, state)
        hints.add("outcome", job.submitted.id)
        if self._on_let_go is not None:
            self._on_let_go(job)

    def end_cancelled(self, job: Job, move: str, now: float, hints: Hints) -> None:
        outcome = pack_cancelled(job.cancel_reason, job.attempts, job.worker, now)
        hints.end(cancelled(*_names_of(job), job.attempts, job.worker, job.cancel_reason))
        self.end(job, move, JobState.CANCELLED, outcome, now, hints)

    def end_dead(self, job: Job, move: str, now: float, hints: Hints) -> None:
        """Let a job end that nobody may start again."""
        outcome = pack_dead(job.crashes, job.attempts, job.worker, now, job.outcome, once=job.submitted.once)
        hints.end(dead(*_names_of(job), job.attempts, job.worker, job.crashes, once=job.submitted.once))
        self.end(job, move, JobState.DEAD, outcome, now, hints)

    def end_expired(self, job: Job, now: float, hints: Hints) -> None:
        """Let a job end that nobody started in time."""
        hints.end(expired(*_names_of(job)))
        self.end(job, "expire", JobState.EXPIRED, pack_expired(now), now, hints)

    def cancel(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        """Cancel a job that waits; ask for it where somebody holds the job."""
        job = self.table.jobs.get(job_id)
        if job is None:
            return CancelAnswer.UNKNOWN
        if job.state.ended:
            return CancelAnswer.FINISHED
        if not job.cancel_asked:
            job.cancel_asked, job.cancel_reason = True, reason or None
        if job.token:
            hints.add("cancel", job_id)
            return CancelAnswer.REQUESTED
        if job.held_elsewhere:
            return CancelAnswer.REQUESTED
        self.end_cancelled(job, "cancel", now, hints)
        return CancelAnswer.CANCELLED

    def requeue(self, job_id: str, now: float, hints: Hints) -> bool:
        """Make an ended job ready again, as new."""
        job = self.table.jobs.get(job_id)
        if job is None or not is_legal("requeue", job.state, JobState.READY):
            return False
        if job.unique is not None and job.unique in self.table.keys:
            return False
        job.attempts = job.crashes = job.lapses = 0
        job.created_at = job.due_at = now
        job.owner = job.expires_at = None
        job.worker = job.started_at = job.ended_at = job.progress = job.outcome = job.cancel_reason = None
        job.parked = None
        job.cancel_asked = False
        self.table.line_up_last(job)
        self.table.move(job, "requeue", JobState.READY)
        hints.add("work", job.submitted.queue)
        return True


def _names_of(job: Job) -> tuple[str, str, str]:
    return job.submitted.id, job.submitted.queue, job.submitted.task
