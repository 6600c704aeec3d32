"""The calls of clients and workers, for whoever knows all jobs and for whoever knows a few."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import QueueFull
from ...model.delivery import (
    CancelAnswer,
    Delivery,
    Finished,
    LeaseState,
    Progressed,
    Receipt,
    Released,
    Renewal,
    Retried,
    Settlement,
    Started,
    Stored,
    Submission,
    Unresponsive,
    job_owner,
)
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ...model.states import ENDED, JobState
from ...model.windows import Window
from ..common.hints import Hints
from .job import Job
from .outbox import OutboxLines
from .owners import Owners
from .replies import ReplyLists
from .windows import Windows


def check_ends(settlements: Sequence[Settlement]) -> None:
    """Refuse a batch before the first change: a call happens completely or not at all.

    Raises:
        ValueError: A `Finished` names a state that is no end.
    """
    for settlement in settlements:
        if isinstance(settlement, Finished) and settlement.state not in ENDED:
            raise ValueError(f"{settlement.delivery.id}: no job ends in the state {settlement.state}")


class StateMachine:
    """Each method is one call of the broker's protocol, as that describes it.

    Args:
        replies: Takes the replies of what has finished; None: they are somebody else's.
        outbox: Takes what has finished sends out; None: nothing does.
        windows: Of submissions that belong together in time; None: nobody submits any.
    """

    def __init__(
        self,
        owners: Owners,
        replies: ReplyLists | None = None,
        windows: Windows | None = None,
        outbox: OutboxLines | None = None,
    ) -> None:
        self.owners, self.moves, self.table = owners, owners.moves, owners.table
        self._replies, self._outbox = replies, outbox
        self.windows = Windows() if windows is None else windows

    def submit(self, jobs: Sequence[Submission], now: float, hints: Hints) -> list[Receipt | QueueFull]:
        """Store jobs; those that find no room in their queue are answered with the error."""
        self.owners.make_leases(jobs, now, hints)
        return [self.submit_one(submission, now, hints) for submission in jobs]

    def settle(self, settlements: Sequence[Settlement], now: float, hints: Hints) -> list[bool]:
        """Record what happened to deliveries; `check_ends` comes first."""
        answers = [self.settle_one(settlement, now, hints) for settlement in settlements]
        for settlement, done in zip(settlements, answers, strict=True):
            if done and isinstance(settlement, Finished | Retried | Released):
                self.owners.cancel_owned(settlement.delivery.token, OWNER_ENDED, now, hints)
            if done and isinstance(settlement, Finished):
                self.owners.cancel_owned(job_owner(settlement.delivery.id), OWNER_ENDED, now, hints)
                self.owners.leases.let_go(job_owner(settlement.delivery.id))
        self.table.gates.tell_opened(hints)
        return answers

    def renew(self, deliveries: Sequence[Delivery], until: float) -> list[Renewal]:
        return [self.renew_one(delivery, until) for delivery in deliveries]

    def cancel(
        self, ids: Sequence[str], reason: str | None, owner: bytes | None, now: float, hints: Hints
    ) -> list[CancelAnswer]:
        if owner is None:
            answers = [self.moves.cancel(job_id, reason, now, hints) for job_id in ids]
        else:
            answers = [self.owners.cancel_one_of(owner, job_id, reason, now, hints) for job_id in ids]
        self.table.gates.tell_opened(hints)
        return answers

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float, now: float, hints: Hints) -> list[bool]:
        answers = [self.owners.renew(owner, lease_seconds, now, hints) for owner in owners]
        self.table.gates.tell_opened(hints)
        return answers

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        jobs = [self.table.jobs.get(job_id) for job_id in ids]
        return [None if job is None else job.to_stored() for job in jobs]

    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        known = self.table.find_known(submission)
        if known is not None:
            self.detach_for(submission, known)
            return Receipt(known.submitted.id, False)
        window = submission.window
        if window is not None:
            stands = self.find_in_window(submission, window, now, hints)
            if stands is not None:
                return Receipt(stands, False)
        is_record, has_owner = submission.ended is not None, self.owners.has_owner(submission)
        if has_owner and not is_record and self.is_full(submission):
            return QueueFull(submission.queue, submission.max_length)
        job = self.table.add(submission, now)
        if job.state.ended:
            hints.add("outcome", submission.id)
            return Receipt(submission.id, True)
        if not has_owner:
            self.moves.cancel(submission.id, OWNER_GONE, now, hints)
            return Receipt(submission.id, True)
        if window is not None:
            self.windows.open(window.name, submission.id, window.open_until(now, job.due_at))
        hints.add("work" if job.state is JobState.READY else "due", submission.queue)
        return Receipt(submission.id, True)

    def detach_for(self, submission: Submission, known: Job) -> None:
        """Let a job that stands for a detached submission outlive its owner."""
        if submission.owner is None and known.owner is not None and not known.state.ended:
            self.table.detach(known)

    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        """Return the job that stands for a submission whose window is open; of a debounce it is this submission from now on."""
        found = self.windows.find(window.name, now)
        if found is None:
            return None
        job_id, until = found
        job = self.table.jobs.get(job_id)
        if window.is_debounce:
            if job is None or job.state is not JobState.SCHEDULED or job.due_at != until:
                return None
            if self.owners.has_owner(submission):
                self.table.replace(job, submission, window.due_again(job.created_at, submission.due_at(now), now))
                self.windows.open(window.name, job_id, job.due_at)
                hints.add("due", submission.queue)
        if job is not None:
            self.detach_for(submission, job)
        return job_id

    def is_full(self, submission: Submission) -> bool:
        """Say whether so many jobs wait in the queue that this one finds no room."""
        return 0 < submission.max_length <= self.table.count_waiting(submission.queue)

    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        job = self.table.find_held(settlement.delivery)
        if job is None:
            return False
        if isinstance(settlement, Started):
            if job.state is JobState.CLAIMED:
                self.count_attempt(job)
                job.started_at = now
                self.table.move(job, "start", JobState.STARTED)
                hints.add("change", job.submitted.id)
        elif isinstance(settlement, Progressed):
            job.progress = settlement.progress
            hints.add("change", job.submitted.id)
        elif isinstance(settlement, Unresponsive):
            job.unresponsive = True
            hints.add("outcome", settlement.delivery.id)
        elif isinstance(settlement, Finished):
            self.count_attempt(job)
            self.moves.end(job, "finish", settlement.state, settlement.outcome, now, hints)
            if settlement.reply is not None and self._replies is not None:
                self._replies.add(settlement.reply, now)
            if settlement.outgoing and self._outbox is not None:
                self._outbox.add(settlement.outgoing, now, hints)
        elif isinstance(settlement, Retried):
            self.count_attempt(job)
            job.outcome = settlement.failure
            self.moves.give_back(job, "retry", settlement.delay_seconds, now, hints)
        else:
            if job.state is JobState.STARTED and not job.submitted.once:
                job.attempts -= 1
            job.parked = settlement.park if settlement.delay_seconds > 0 else None
            self.moves.give_back(job, "release", settlement.delay_seconds, now, hints)
        return True

    def count_attempt(self, job: Job) -> None:
        """Count the attempt, unless its `Started` did."""
        if job.state is JobState.CLAIMED:
            job.attempts += 1

    def renew_one(self, delivery: Delivery, until: float) -> Renewal:
        job = self.table.find_held(delivery)
        if job is None:
            return Renewal(LeaseState.LOST)
        job.lease_until = until
        return Renewal(LeaseState.CANCEL, job.cancel_reason) if job.cancel_asked else Renewal(LeaseState.HELD)
