"""Brokers with one fault each, made from the memory broker: what the contract suite must not let pass.

The faults are those that were met in real queues: a token that nobody checks, blame for neighbours, a cancel that is
forgotten, a sweep without a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.memory.gates import Gate, Gates
from nursery_tasks.brokers.memory.hints import Hints
from nursery_tasks.brokers.memory.lines import Lines
from nursery_tasks.brokers.memory.table import Job, JobTable
from nursery_tasks.brokers.protocol import OWNED_GRACE_SECONDS
from nursery_tasks.model.delivery import (
    CancelAnswer,
    Delivery,
    Finished,
    LeaseState,
    Receipt,
    Released,
    Renewal,
    Retried,
    Settlement,
    Started,
    Stored,
    Submission,
    Swept,
    Unresponsive,
)
from nursery_tasks.model.limits import Limit
from nursery_tasks.model.listing import JobFilter, JobRecord
from nursery_tasks.model.reasons import OWNER_ENDED, OWNER_GONE, pack_expired
from nursery_tasks.model.states import ENDED, WAITING, JobState

MUTANTS: list[type[MemoryBroker]] = []


def mutant(cls: type[MemoryBroker]) -> type[MemoryBroker]:
    MUTANTS.append(cls)
    return cls


class _WithTable(MemoryBroker):
    table: type[JobTable]  # what the mutant bends

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._table = self.table()


# --- claims ---------------------------------------------------------------------------------------


@mutant
class LastInFirstOut(_WithTable):
    class table(JobTable):  # noqa: N801
        def take_ready(self, queue: str, limit: int, now: float, refuse: Callable[[Job, Limit], None]) -> Iterator[Job]:
            for job in reversed(list(self.jobs.values())):
                if job.state is JobState.READY and job.submitted.queue == queue and limit > 0:
                    limit -= 1
                    yield job


@mutant
class PrioritiesIgnored(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, priority=0) for job in jobs])


@mutant
class QueuesInAnyOrder(MemoryBroker):
    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        return super().claim(sorted(queues), limit, worker, lease_seconds)


@mutant
class RetriedJobsGoToTheEnd(MemoryBroker):
    def _give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        job.sequence = next(self._table._sequence)
        super()._give_back(job, move, delay_seconds, now, hints)


@mutant
class LimitPerQueue(MemoryBroker):
    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        return [
            delivery for queue in queues for delivery in super(LimitPerQueue, self).claim([queue], limit, worker, lease_seconds)
        ]


@mutant
class LateJobsAreClaimed(_WithTable):
    class table(JobTable):  # noqa: N801
        def take_ready(self, queue: str, limit: int, now: float, refuse: Callable[[Job, Limit], None]) -> Iterator[Job]:
            return super().take_ready(queue, limit, 0.0, refuse)


@mutant
class PauseIsForgotten(MemoryBroker):
    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        self._paused.clear()
        return super().claim(queues, limit, worker, lease_seconds)


@mutant
class OneTokenPerJob(MemoryBroker):
    def _lease(self, job: Job, worker: str, until: float) -> None:
        super()._lease(job, worker, until)
        job.token = job.submitted.id.encode().ljust(16)[:16]


# --- submissions ----------------------------------------------------------------------------------


@mutant
class IdsAreOverwritten(MemoryBroker):
    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        known = self._table.jobs.get(submission.id)
        if known is not None:
            self._table.drop(known)
        return super()._submit_one(submission, now, hints)


@mutant
class IdsAreForgottenAtTheEnd(MemoryBroker):
    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        known = self._table.jobs.get(submission.id)
        if known is not None and known.state in ENDED:
            self._table.drop(known)
        return super()._submit_one(submission, now, hints)


@mutant
class RepetitionsInABatchAreAccepted(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        known = {job.id for job in jobs if job.id in self._table.jobs}
        return [Receipt(each.id, job.id not in known) for each, job in zip(super().submit(jobs), jobs, strict=True)]


@mutant
class KeysAreIgnored(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, key=None) for job in jobs])


@mutant
class KeysOfAllTasksAreOne(MemoryBroker):
    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        holders = {key: holder for (_, key), holder in self._table.keys.items()}
        if submission.key in holders:
            return Receipt(holders[submission.key], False)
        return super()._submit_one(submission, now, hints)


@mutant
class KeysAreHeldForEver(_WithTable):
    class table(JobTable):  # noqa: N801
        def _leave(self, job: Job) -> None:
            super()._leave(job)
            if job.unique is not None:
                self.keys[job.unique] = job.submitted.id


# --- settlements ----------------------------------------------------------------------------------


@mutant
class TokensAreNotChecked(_WithTable):
    class table(JobTable):  # noqa: N801
        def find_held(self, delivery: Delivery) -> Job | None:
            return self.held.get(delivery.id)


@mutant
class RenewalsAreNotChecked(MemoryBroker):
    def _renew_one(self, delivery: Delivery, until: float) -> Renewal:
        renewal = super()._renew_one(delivery, until)
        return Renewal(LeaseState.HELD) if renewal.state is LeaseState.LOST else renewal


@mutant
class ReleaseIsAnAttempt(MemoryBroker):
    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Released):
            settlement = Retried(settlement.delivery, settlement.delay_seconds)
        return super()._settle_one(settlement, now, hints)


@mutant
class RetryIsNoAttempt(MemoryBroker):
    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Retried):
            settlement = Released(settlement.delivery, settlement.delay_seconds)
        return super()._settle_one(settlement, now, hints)


@mutant
class AttemptsCountOnlyWhenStarted(MemoryBroker):
    def _count_attempt(self, job: Job) -> None:
        pass

    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        job = self._table.find_held(settlement.delivery)
        if job is not None and isinstance(settlement, Started) and job.state is JobState.CLAIMED:
            job.attempts += 1
        return super()._settle_one(settlement, now, hints)


@mutant
class SecondStartCounts(MemoryBroker):
    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        job = self._table.find_held(settlement.delivery)
        if job is not None and isinstance(settlement, Started) and job.state is JobState.STARTED:
            job.attempts += 1
        return super()._settle_one(settlement, now, hints)


@mutant
class BatchEndsAtTheFirstStaleToken(MemoryBroker):
    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        answers: list[bool] = []
        for settlement in settlements:
            answers.append((not answers or answers[-1]) and super().settle([settlement])[0])
        return answers


@mutant
class BatchesAreDoneInPart(MemoryBroker):
    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return [super(BatchesAreDoneInPart, self).settle([settlement])[0] for settlement in settlements]


@mutant
class DelaysOfRetriesAreIgnored(MemoryBroker):
    def _give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        super()._give_back(job, move, 0.0, now, hints)


@mutant
class FailureIsShownAsOutcome(MemoryBroker):
    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        jobs = [self._table.jobs.get(job_id) for job_id in ids]
        return [Stored(job.state, job.outcome) if job else None for job in jobs]


# --- leases and time ------------------------------------------------------------------------------


@mutant
class NeighboursAreBlamed(MemoryBroker):
    def _take_back(self, job: Job, now: float, hints: Hints) -> None:
        if job.state is JobState.CLAIMED:
            job.crashes += 1
        super()._take_back(job, now, hints)


@mutant
class NobodyIsBlamed(MemoryBroker):
    def _take_back(self, job: Job, now: float, hints: Hints) -> None:
        self._give_back(job, "lease over", 0.0, now, hints)


@mutant
class OneCrashTooMany(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, max_crashes=job.max_crashes + 1) for job in jobs])


@mutant
class RetryForgetsCrashes(MemoryBroker):
    def _give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        job.crashes = job.crashes if move == "lease over" else 0
        super()._give_back(job, move, delay_seconds, now, hints)


@mutant
class LeasesNeverEnd(MemoryBroker):
    def _sweep_leases(self, limit: int, now: float, hints: Hints) -> tuple[int, int]:
        return 0, 0


@mutant
class LeasesEndEarly(MemoryBroker):
    def _sweep_leases(self, limit: int, now: float, hints: Hints) -> tuple[int, int]:
        return super()._sweep_leases(limit, now + 1, hints)


@mutant
class RenewalDoesNothing(MemoryBroker):
    def _renew_one(self, delivery: Delivery, until: float) -> Renewal:
        return super()._renew_one(delivery, 0.0)


@mutant
class DelayedJobsComeEarly(MemoryBroker):
    def _sweep_due(self, limit: int, now: float, hints: Hints) -> int:
        return super()._sweep_due(limit, now + 1, hints)


@mutant
class ExpiryCountsFromTheSubmission(MemoryBroker):
    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        receipt = super()._submit_one(submission, now, hints)
        job = self._table.jobs[receipt.id]
        if receipt.created and submission.expires_seconds is not None:
            job.expires_at = now + submission.expires_seconds
        return receipt


@mutant
class RetriedJobsExpire(MemoryBroker):
    def _sweep_expired(self, limit: int, now: float, hints: Hints) -> int:
        waiting = [job for job in self._table.jobs.values() if job.state in WAITING]
        late = [job for job in waiting if job.expires_at is not None and now >= job.expires_at]
        for job in late[:limit]:
            self._end(job, "expire", JobState.EXPIRED, pack_expired(now), now, hints)
        return len(late[:limit])


@mutant
class SweepsHaveNoBound(MemoryBroker):
    def sweep(self, limit: int) -> Swept:
        return super().sweep(1_000_000)


@mutant
class SweepsSayThatNothingIsLeft(MemoryBroker):
    def sweep(self, limit: int) -> Swept:
        return msgspec.structs.replace(super().sweep(limit), more=False)


@mutant
class OutcomesAreDroppedAtOnce(MemoryBroker):
    def _sweep_kept(self, limit: int, now: float) -> int:
        return super()._sweep_kept(limit, now + 1_000_000)


@mutant
class OutcomesAreNeverDropped(MemoryBroker):
    def _sweep_kept(self, limit: int, now: float) -> int:
        return 0


@mutant
class DueJobsBeyondTheLimitAreLost(MemoryBroker):
    def _sweep_due(self, limit: int, now: float, hints: Hints) -> int:
        due = super()._sweep_due(limit, now, hints)
        for job in self._table.take_due(1_000_000, now):
            self._table.drop(job)
        return due


# --- cancelling -----------------------------------------------------------------------------------


@mutant
class CancelIsForgotten(MemoryBroker):
    def _cancel_one(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        answer = super()._cancel_one(job_id, reason, now, hints)
        if answer is CancelAnswer.REQUESTED:
            self._table.jobs[job_id].cancel_asked = False
        return answer


@mutant
class StartForgetsTheCancel(MemoryBroker):
    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Started) and (job := self._table.find_held(settlement.delivery)):
            job.cancel_asked = False
        return super()._settle_one(settlement, now, hints)


@mutant
class RetryForgetsTheCancel(MemoryBroker):
    def _give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        job.cancel_asked = job.cancel_asked and move != "retry"
        super()._give_back(job, move, delay_seconds, now, hints)


@mutant
class CancelWinsOverTheOutcome(MemoryBroker):
    def _end(self, job: Job, move: str, state: JobState, outcome: bytes, now: float, hints: Hints) -> None:
        if job.cancel_asked and state is not JobState.CANCELLED:
            self._end_cancelled(job, move, now, hints)
        else:
            super()._end(job, move, state, outcome, now, hints)


@mutant
class LastReasonCounts(MemoryBroker):
    def _cancel_one(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        if job_id in self._table.jobs:
            self._table.jobs[job_id].cancel_asked = False
        return super()._cancel_one(job_id, reason, now, hints)


@mutant
class UnknownCancelsAreKept(MemoryBroker):
    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        self._unknown = getattr(self, "_unknown", set[str]()) | {each for each in ids if each not in self._table.jobs}
        return super().cancel(ids, reason, owner)

    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        receipt = super()._submit_one(submission, now, hints)
        if submission.id in getattr(self, "_unknown", ()):
            self._cancel_one(submission.id, None, now, hints)
        return receipt


@mutant
class CancelsDoNotAskForTheOwner(MemoryBroker):
    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        return super().cancel(ids, reason)


@mutant
class CancelsOfAnOwnerTellOfEnds(MemoryBroker):
    def _cancel_one_of(self, owner: bytes, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        answer = super()._cancel_one_of(owner, job_id, reason, now, hints)
        job = self._table.jobs.get(job_id)
        ended = answer is CancelAnswer.UNKNOWN and job is not None and job.owner == owner
        return CancelAnswer.FINISHED if ended else answer


# --- owners ---------------------------------------------------------------------------------------


@mutant
class NobodyOwnsAnything(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, owner=None) for job in jobs])


@mutant
class OwnersLeasesNeverEnd(MemoryBroker):
    def _sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        return super()._sweep_owned(limit, 0.0, hints)


@mutant
class OwnersLeasesEndEarly(MemoryBroker):
    def _sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        return super()._sweep_owned(limit, now + 1, hints)


@mutant
class HoldingDoesNothing(MemoryBroker):
    def _hold_one(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        until = self._leases._until.get(owner)
        held = super()._hold_one(owner, lease_seconds, now, hints)
        if held and lease_seconds > 0:
            self._leases._until[owner] = until
        return held


@mutant
class HoldingMakesLeases(MemoryBroker):
    def _hold_one(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        self._leases.make(owner, now)
        return super()._hold_one(owner, lease_seconds, now, hints)


@mutant
class HoldingRevivesWhatWasSwept(MemoryBroker):
    def _hold_one(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        if self._leases.is_gone(owner):
            self._leases.make(owner, now + lease_seconds)
        return super()._hold_one(owner, lease_seconds, now, hints)


@mutant
class LettingGoOnlyShortensTheLease(MemoryBroker):
    def _hold_one(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        return super()._hold_one(owner, max(lease_seconds, 1e-9), now, hints)


@mutant
class SubmissionsCutLeasesShort(MemoryBroker):
    def _make_leases(self, jobs: Sequence[Submission], now: float, hints: Hints) -> None:
        for job in jobs:
            if job.owner is not None and job.owner_seconds > 0:
                self._leases.let_go(job.owner)
        super()._make_leases(jobs, now, hints)


@mutant
class RepetitionsDoNotProlongTheLease(MemoryBroker):
    def _make_leases(self, jobs: Sequence[Submission], now: float, hints: Hints) -> None:
        super()._make_leases([job for job in jobs if job.id not in self._table.jobs], now, hints)


@mutant
class NewLeasesSaveOldJobs(MemoryBroker):
    def _make_leases(self, jobs: Sequence[Submission], now: float, hints: Hints) -> None:
        for job in jobs:
            if job.owner is not None and job.owner_seconds > 0:
                self._leases.make(job.owner, now + job.owner_seconds)


@mutant
class RepetitionsChangeHands(MemoryBroker):
    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        known = self._table.jobs.get(submission.id)
        if known is not None and not known.state.ended:
            self._table._leave(known)
            known.owner = submission.owner
            self._table._enter(known)
        return super()._submit_one(submission, now, hints)


@mutant
class OwnersKeepWhatIsRepeated(_WithTable):
    class table(JobTable):  # noqa: N801
        def detach(self, job: Job) -> None:
            pass


@mutant
class KeysDoNotDetach(MemoryBroker):
    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        known = self._find_known(submission)
        if known is not None and known.submitted.id != submission.id:
            return Receipt(known.submitted.id, False)
        return super()._submit_one(submission, now, hints)


@mutant
class OwnedRepetitionsDetach(MemoryBroker):
    def _submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt:
        if self._find_known(submission) is not None:
            submission = msgspec.structs.replace(submission, owner=None)
        return super()._submit_one(submission, now, hints)


@mutant
class DetachedJobsAreSavedFromACancel(_WithTable):
    class table(JobTable):  # noqa: N801
        def detach(self, job: Job) -> None:
            job.cancel_asked = False
            super().detach(job)


@mutant
class OnlyWaitingJobsAreDetached(_WithTable):
    class table(JobTable):  # noqa: N801
        def detach(self, job: Job) -> None:
            if job.state in WAITING:
                super().detach(job)


@mutant
class OwnersNeedNotBeThere(MemoryBroker):
    def _has_owner(self, submission: Submission) -> bool:
        return True


@mutant
class LateJobsStart(MemoryBroker):
    def _has_owner(self, submission: Submission) -> bool:
        return super()._has_owner(submission) or submission.owner in {job.owner for job in self._table.jobs.values()}


@mutant
class OnlyEndsCancelWhatIsOwned(MemoryBroker):
    def _cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        back = reason == OWNER_ENDED and limit is None and any(hint.topic == "work" for hint in hints)
        return 0 if back else super()._cancel_owned(owner, reason, now, hints, limit)


@mutant
class OnlyWaitingJobsAreCancelled(MemoryBroker):
    def _cancel_one(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        held = job_id in self._table.held and reason in (OWNER_GONE, OWNER_ENDED)
        return CancelAnswer.REQUESTED if held else super()._cancel_one(job_id, reason, now, hints)


@mutant
class OwnedJobsAreCancelledInSilence(MemoryBroker):
    def _cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        return super()._cancel_owned(owner, reason, now, Hints(), limit)


@mutant
class ReasonsAreMixedUp(MemoryBroker):
    def _cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        return super()._cancel_owned(owner, OWNER_GONE, now, hints, limit)


@mutant
class GrandchildrenAreCancelledAtOnce(MemoryBroker):
    def _cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        tokens = [job.token for job in self._table.owned_by(owner) if job.token]
        cancelled = super()._cancel_owned(owner, reason, now, hints, limit)
        return cancelled + sum(
            super(GrandchildrenAreCancelledAtOnce, self)._cancel_owned(t, reason, now, hints) for t in tokens
        )


@mutant
class OwnedJobsAreCountedAgain(MemoryBroker):
    def _sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        told = [job for owner, until in self._leases._until.items() if until and until <= now for job in self._owned(owner)]
        return super()._sweep_owned(limit, now, hints) + len(told)

    def _owned(self, owner: bytes) -> list[Job]:
        return [job for job in self._table.owned_by(owner) if job.cancel_asked]


@mutant
class LostOwnersDoNotWait(MemoryBroker):
    def _may_return(self, job: Job, now: float) -> bool:
        return True


@mutant
class LostOwnersWaitForEver(MemoryBroker):
    def _may_return(self, job: Job, now: float) -> bool:
        return not self._table.owned_by(job.token)


@mutant
class LostOwnersLeaveOrphansBehind(MemoryBroker):
    def _may_return(self, job: Job, now: float) -> bool:
        return now >= job.lease_until + OWNED_GRACE_SECONDS or super()._may_return(job, now)


@mutant
class WaitingOwnersFillTheLimit(MemoryBroker):
    def _sweep_leases(self, limit: int, now: float, hints: Hints) -> tuple[int, int]:
        first = self._lost(now)[:limit]
        waiting = [job for job in first if not self._may_return(job, now)]
        return super()._sweep_leases(limit - len(waiting), now, hints)


@mutant
class SweepsCancelEverythingAtOnce(MemoryBroker):
    def _sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        return min(super()._sweep_owned(1_000_000, now, hints), limit - 1)


@mutant
class OrphansBeyondTheLimitAreForgotten(MemoryBroker):
    def _sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        orphaned = super()._sweep_owned(limit, now, hints)
        for owner in [owner for owner in self._leases._until if self._leases.is_gone(owner)]:
            self._leases.let_go(owner)
        return orphaned


@mutant
class RequeuedJobsAreStillOwned(MemoryBroker):
    def _requeue_one(self, job_id: str, now: float, hints: Hints) -> bool:
        done = super()._requeue_one(job_id, now, hints)
        if done:
            job = self._table.jobs[job_id]
            self._table._leave(job)
            job.owner = job.submitted.owner
            self._table._enter(job)
        return done


@mutant
class RequeuedJobsKeepTheirAge(MemoryBroker):
    def _requeue_one(self, job_id: str, now: float, hints: Hints) -> bool:
        created = {each: job.created_at for each, job in self._table.jobs.items()}
        done = super()._requeue_one(job_id, now, hints)
        if done:
            self._table.jobs[job_id].created_at = created[job_id]
        return done


@mutant
class AgeIsTimeInTheQueue(MemoryBroker):
    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        found = super().claim(queues, limit, worker, lease_seconds)
        return [msgspec.structs.replace(delivery, age_seconds=delivery.waited_seconds) for delivery in found]


# --- unresponsive handlers ------------------------------------------------------------------------


@mutant
class UnresponsiveIsStarted(MemoryBroker):
    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Unresponsive):
            super()._settle_one(Started(settlement.delivery), now, hints)
        return super()._settle_one(settlement, now, hints)


@mutant
class UnresponsiveStays(MemoryBroker):
    def _give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        marked = job.unresponsive
        super()._give_back(job, move, delay_seconds, now, hints)
        job.unresponsive = marked


@mutant
class UnresponsiveIsNotTold(MemoryBroker):
    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        quiet = Hints() if isinstance(settlement, Unresponsive) else hints
        return super()._settle_one(settlement, now, quiet)


@mutant
class UnresponsiveIsNotShownToWaiters(MemoryBroker):
    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        return [found and msgspec.structs.replace(found, unresponsive=False) for found in super().outcomes(ids)]


# --- people and listeners -------------------------------------------------------------------------


@mutant
class PagesOverlap(MemoryBroker):
    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        return super().jobs(wanted, limit, max(0, after - 1), newest_first)


@mutant
class PagesCountWhatTheyPassOver(MemoryBroker):
    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        shown = {record.id for record in super().jobs(JobFilter(), limit, after, newest_first)}
        return [record for record in super().jobs(wanted, limit, after, newest_first) if record.id in shown]


@mutant
class NewestFirstIsIgnored(MemoryBroker):
    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        return super().jobs(wanted, limit, after)


@mutant
class TagsAreOneWord(MemoryBroker):
    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        found = super().jobs(msgspec.structs.replace(wanted, tag=None), 1_000, after, newest_first)
        return [record for record in found if wanted.tag is None or wanted.tag in ",".join(record.tags)][:limit]


@mutant
class PurgesAreNotTold(MemoryBroker):
    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        members, self._audience._members = self._audience._members, ()
        try:
            return super().purge(queue, states, limit)
        finally:
            self._audience._members = members


@mutant
class PurgeTakesAllQueues(MemoryBroker):
    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        return sum(super(PurgeTakesAllQueues, self).purge(name, states, limit) for name in list(self._table.counts))


@mutant
class PurgeTakesAllStates(MemoryBroker):
    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        return super().purge(queue, states | WAITING | ENDED, limit)


@mutant
class RequeueKeepsTheAttempts(MemoryBroker):
    def _requeue_one(self, job_id: str, now: float, hints: Hints) -> bool:
        job = self._table.jobs.get(job_id)
        attempts = job.attempts if job else 0
        done = super()._requeue_one(job_id, now, hints)
        if job and done:
            job.attempts = attempts
        return done


@mutant
class RequeueStealsTheKey(MemoryBroker):
    def _requeue_one(self, job_id: str, now: float, hints: Hints) -> bool:
        job = self._table.jobs.get(job_id)
        if job is not None and job.unique is not None:
            self._table.keys.pop(job.unique, None)
        return super()._requeue_one(job_id, now, hints)


@mutant
class HeartbeatsAreForEver(MemoryBroker):
    def beat(self, worker: Any, ttl_seconds: float) -> None:
        super().beat(worker, ttl_seconds and 1e9)


@mutant
class EndsAreNotTold(MemoryBroker):
    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        members, self._audience._members = self._audience._members, ()
        try:
            return super().settle(settlements)
        finally:
            self._audience._members = members


@mutant
class HintsComeTooEarly(MemoryBroker):
    def _end(self, job: Job, move: str, state: JobState, outcome: bytes, now: float, hints: Hints) -> None:
        early = Hints()
        early.add("outcome", job.submitted.id)
        self._audience.tell(early)
        super()._end(job, move, state, outcome, now, hints)


@mutant
class ListenersAreNeverClosed(MemoryBroker):
    def listen(self, topics: Any, emit: Any) -> Any:
        listener: Any = super().listen(topics, emit)
        listener.close = lambda: None
        return listener


@mutant
class CloseIsNoEnd(MemoryBroker):
    def close(self) -> None:
        pass


@mutant
class OutcomesAreRewritten(MemoryBroker):
    def _settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Finished):
            settlement = msgspec.structs.replace(settlement, outcome=settlement.outcome + b" ")
        return super()._settle_one(settlement, now, hints)


# --- limits ---------------------------------------------------------------------------------------


class _WithGates(MemoryBroker):
    gates: type[Gates]  # what the mutant bends

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._table.gates = self.gates()


@mutant
class LimitsAreIgnored(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, limits=()) for job in jobs])


@mutant
class OneTooManyRuns(_WithGates):
    class gates(Gates):  # noqa: N801
        def has_room(self, limit: Limit, now: float) -> bool:
            return super().has_room(msgspec.structs.replace(limit, most=limit.most and limit.most + 1), now)


@mutant
class OnlyTheFirstLimitCounts(_WithGates):
    class gates(Gates):  # noqa: N801
        def blocker(self, job: Job, now: float) -> Limit | None:
            blocker = super().blocker(job, now)
            return blocker if blocker is job.submitted.limits[0] else None


@mutant
class LimitsCountPerQueue(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit(
            [msgspec.structs.replace(job, limits=tuple(_of_queue(each, job.queue) for each in job.limits)) for job in jobs]
        )


def _of_queue(limit: Limit, queue: str) -> Limit:
    return msgspec.structs.replace(limit, name=f"{limit.name} {queue}")


@mutant
class PlacesAreLost(_WithGates):
    class gates(Gates):  # noqa: N801
        def give_back(self, job: Job) -> None:
            """Open the gates, but keep one more place, as a counter does that somebody forgot to lower."""
            for limit in job.submitted.limits:
                self.held.setdefault(limit.name, {})[f"ghost {job.submitted.id}"] = job
            super().give_back(job)


@mutant
class GatesStayClosed(_WithGates):
    class gates(Gates):  # noqa: N801
        def _do_open(self, gate: Gate) -> None:
            if gate.opens_at is not None:
                super()._do_open(gate)


@mutant
class OpeningIsNotTold(MemoryBroker):
    def _tell_opened(self, hints: Hints) -> None:
        self._table.gates.opened.clear()
        super()._tell_opened(hints)


@mutant
class ExcessWaitsAlways(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit(
            [
                msgspec.structs.replace(job, limits=tuple(msgspec.structs.replace(each, rejects=False) for each in job.limits))
                for job in jobs
            ]
        )


@mutant
class RatesHaveNoBurst(_WithGates):
    class gates(Gates):  # noqa: N801
        def has_room(self, limit: Limit, now: float) -> bool:
            return super().has_room(msgspec.structs.replace(limit, tolerance_seconds=0.0), now)


@mutant
class RatesSaveUp(_WithGates):
    class gates(Gates):  # noqa: N801
        def count_start(self, job: Job, now: float) -> None:
            before = dict(self._full_at)
            super().count_start(job, now)
            for limit in job.submitted.limits:
                if not limit.most and limit.name in before:
                    self._full_at[limit.name] = before[limit.name] + limit.interval_seconds

        def forget(self, now: float) -> None:
            """Keep them: what was not used is saved up."""


@mutant
class RatesCountWhatIsBlocked(_WithGates):
    class gates(Gates):  # noqa: N801
        def blocker(self, job: Job, now: float) -> Limit | None:
            blocker = super().blocker(job, now)
            if blocker is not None:
                self.count_start(job, now)
            return blocker


# --- locks ----------------------------------------------------------------------------------------


class _WithLines(MemoryBroker):
    lines: type[Lines]  # what the mutant bends

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._lines = self.lines()


@mutant
class LocksAreForAll(_WithLines):
    class lines(Lines):  # noqa: N801
        def lock(self, name: str, holder: bytes, now: float, lease_seconds: float, wait: bool) -> int:
            return super().lock(f"{name} {holder!r}", holder, now, lease_seconds, wait)


@mutant
class LocksHaveNoLease(_WithLines):
    class lines(Lines):  # noqa: N801
        def drop(self, name: str, now: float) -> bool:
            return False


@mutant
class LocksAreUnfair(_WithLines):
    class lines(Lines):  # noqa: N801
        def lock(self, name: str, holder: bytes, now: float, lease_seconds: float, wait: bool) -> int:
            line = self._lines.get(name, {})
            if line and not next(iter(line.values())).token:  # free just now: whoever asks first has it
                line.clear()
            return super().lock(name, holder, now, lease_seconds, wait)


@mutant
class TokensStayTheSame(_WithLines):
    class lines(Lines):  # noqa: N801
        def lock(self, name: str, holder: bytes, now: float, lease_seconds: float, wait: bool) -> int:
            return min(1, super().lock(name, holder, now, lease_seconds, wait))


@mutant
class RenewalsRevive(_WithLines):
    class lines(Lines):  # noqa: N801
        def relock(self, name: str, holder: bytes, until: float) -> bool:
            return super().relock(name, holder, until) or bool(self._lines.get(name))


@mutant
class FreedLocksAreNotTold(MemoryBroker):
    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        return [self._lines.unlock(name, holder) for name, holder in holds]
