"""Brokers with one fault each, made from the memory broker: what the contract suite must not let pass.

The faults are those that were met in real queues: a token that nobody checks, blame for neighbours, a cancel that is
forgotten, a sweep without a bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count, islice
from threading import Barrier, BrokenBarrierError
from typing import Any

import msgspec

from nursery_tasks.brokers.common.atomic_calls import AtomicCall
from nursery_tasks.brokers.common.hints import Hints
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.memory.admin import MemoryAdmin
from nursery_tasks.brokers.memory.parts import MemoryLocks, MemoryOutbox, MemorySchedules, MemoryStates
from nursery_tasks.brokers.memory.state import MemoryState
from nursery_tasks.brokers.protocol import OWNED_GRACE_SECONDS, SHARE_STEP, receipts_of
from nursery_tasks.brokers.rules.event_log import EventLogTable
from nursery_tasks.brokers.rules.gates import Gates
from nursery_tasks.brokers.rules.job import Gate, Job
from nursery_tasks.brokers.rules.locks import LockTable
from nursery_tasks.brokers.rules.machine import StateMachine
from nursery_tasks.brokers.rules.moves import Moves
from nursery_tasks.brokers.rules.order import JobOrder
from nursery_tasks.brokers.rules.outbox import OutboxLines
from nursery_tasks.brokers.rules.owners import Owners
from nursery_tasks.brokers.rules.parked import Parked
from nursery_tasks.brokers.rules.pauses import PauseTable
from nursery_tasks.brokers.rules.schedules import ScheduleTable
from nursery_tasks.brokers.rules.shares import Shares
from nursery_tasks.brokers.rules.states import StateTable
from nursery_tasks.brokers.rules.sweeping import Sweeps
from nursery_tasks.brokers.rules.table import JobTable
from nursery_tasks.brokers.rules.windows import Windows
from nursery_tasks.errors import QueueFull
from nursery_tasks.model.delivery import (
    CancelAnswer,
    Delivery,
    Finished,
    Hint,
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
from nursery_tasks.model.ended import Ended
from nursery_tasks.model.event_log import EventBatch, LogPage
from nursery_tasks.model.limits import Limit
from nursery_tasks.model.listing import JobFilter, JobRecord
from nursery_tasks.model.outgoing import BATCH_BYTES, OutboxRecord, Outgoing, StateRecord, StateRow
from nursery_tasks.model.pauses import PauseList, PauseRecord
from nursery_tasks.model.reasons import OWNER_ENDED, OWNER_GONE, pack_expired
from nursery_tasks.model.schedule import ScheduleChange, ScheduleLook, ScheduleRow
from nursery_tasks.model.states import ENDED, WAITING, JobState
from nursery_tasks.model.windows import Window

MUTANTS: list[type[MemoryBroker]] = []
RULES = {
    "gates": Gates,
    "order": JobOrder,
    "shares": Shares,
    "table": JobTable,
    "moves": Moves,
    "owners": Owners,
    "machine": StateMachine,
    "sweeps": Sweeps,
    "locks": LockTable,
    "schedules": ScheduleTable,
    "pauses": PauseTable,
    "windows": Windows,
    "outbox": OutboxLines,
    "states": StateTable,
    "event_log": EventLogTable,
}
PARTS = (MemoryAdmin, MemoryLocks, MemorySchedules, MemoryOutbox, MemoryStates)


def mutant(cls: type[Any]) -> type[MemoryBroker]:
    """Take a broker with a fault, or a part or a rule with one, of which a broker is made."""
    if issubclass(cls, MemoryBroker):
        broker = cls
    else:
        broker = with_part(cls) if issubclass(cls, PARTS) else with_rule(cls)
    MUTANTS.append(broker)
    return broker


def with_part(part: type[Any]) -> type[MemoryBroker]:
    def init(self: MemoryBroker, **how: Any) -> None:
        MemoryBroker.__init__(self, **how)
        if issubclass(part, MemoryAdmin):
            self.admin = part(self._calls, self._state)
        elif issubclass(part, MemorySchedules):
            self.schedules = part(self._calls, self._state.schedules, self._machine)
        elif issubclass(part, MemoryOutbox):
            self.outbox = part(self._calls, self._state.outbox)
        elif issubclass(part, MemoryStates):
            self.states = part(self._calls, self._state.states, self._state.outbox)
        else:
            self.locks = part(self._calls, self._state.locks)

    return type(part.__name__, (MemoryBroker,), {"__init__": init})


def with_rule(rule: type[Any]) -> type[MemoryBroker]:
    [part] = [part for part, whole in RULES.items() if issubclass(rule, whole)]

    def init(self: MemoryBroker, **how: Any) -> None:
        MemoryBroker.__init__(self, state=MemoryState(**{part: rule}), **how)

    return type(rule.__name__, (MemoryBroker,), {"__init__": init})


# --- claims ---------------------------------------------------------------------------------------


@mutant
class LastInFirstOut(JobOrder):
    def take_ready(self, queue: str, limit: int, now: float, refuse: Callable[[Job, Limit], None]) -> Iterator[Job]:
        ready = [entry[-1] for entry in self._ready.get(queue, [])]
        for job in sorted(ready, key=lambda job: -job.sequence):
            if job.state is JobState.READY and not job.dropped and limit > 0:
                limit -= 1
                yield job


@mutant
class PrioritiesIgnored(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, priority=0) for job in jobs])


@mutant
class QueuesInAnyOrder(MemoryBroker):
    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        return super().claim(sorted(queues), limit, worker, lease_seconds, names)


@mutant
class RetriedJobsGoToTheEnd(Moves):
    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        job.sequence = next(self.table._sequence)
        super().give_back(job, move, delay_seconds, now, hints)


@mutant
class LimitPerQueue(MemoryBroker):
    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        return [
            delivery
            for queue in queues
            for delivery in super(LimitPerQueue, self).claim([queue], limit, worker, lease_seconds, names)
        ]


@mutant
class LateJobsAreClaimed(JobOrder):
    def take_ready(self, queue: str, limit: int, now: float, refuse: Callable[[Job, Limit], None]) -> Iterator[Job]:
        return super().take_ready(queue, limit, 0.0, refuse)


@mutant
class PauseIsForgotten(MemoryBroker):
    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        self._state.order.paused.clear()
        return super().claim(queues, limit, worker, lease_seconds, names)


@mutant
class OneTokenPerJob(Moves):
    def lease(self, job: Job, token: bytes, worker: str, until: float) -> None:
        super().lease(job, job.submitted.id.encode().ljust(16)[:16], worker, until)


# --- submissions ----------------------------------------------------------------------------------


@mutant
class IdsAreOverwritten(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        known = self.table.jobs.get(submission.id)
        if known is not None:
            self.table.drop(known)
        return super().submit_one(submission, now, hints)


@mutant
class IdsAreForgottenAtTheEnd(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        known = self.table.jobs.get(submission.id)
        if known is not None and known.state in ENDED:
            self.table.drop(known)
        return super().submit_one(submission, now, hints)


@mutant
class RepetitionsInABatchAreAccepted(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        known = {job.id for job in jobs if job.id in self._state.table.jobs}
        return [Receipt(each.id, job.id not in known) for each, job in zip(super().submit(jobs), jobs, strict=True)]


@mutant
class KeysAreIgnored(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, key=None) for job in jobs])


@mutant
class KeysOfAllTasksAreOne(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        holders = {key: holder for (_, key), holder in self.table.keys.items()}
        if submission.key in holders:
            return Receipt(holders[submission.key], False)
        return super().submit_one(submission, now, hints)


@mutant
class KeysAreHeldForEver(JobTable):
    def _leave(self, job: Job) -> None:
        super()._leave(job)
        if job.unique is not None:
            self.keys[job.unique] = job.submitted.id


# --- settlements ----------------------------------------------------------------------------------


@mutant
class TokensAreNotChecked(JobTable):
    def find_held(self, delivery: Delivery) -> Job | None:
        return self.held.get(delivery.id)


@mutant
class RenewalsAreNotChecked(StateMachine):
    def renew_one(self, delivery: Delivery, until: float) -> Renewal:
        renewal = super().renew_one(delivery, until)
        return Renewal(LeaseState.HELD) if renewal.state is LeaseState.LOST else renewal


@mutant
class ReleaseIsAnAttempt(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Released):
            settlement = Retried(settlement.delivery, settlement.delay_seconds)
        return super().settle_one(settlement, now, hints)


@mutant
class RetryIsNoAttempt(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Retried):
            settlement = Released(settlement.delivery, settlement.delay_seconds)
        return super().settle_one(settlement, now, hints)


@mutant
class AttemptsCountOnlyWhenStarted(StateMachine):
    def count_attempt(self, job: Job) -> None:
        pass

    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        job = self.table.find_held(settlement.delivery)
        if job is not None and isinstance(settlement, Started) and job.state is JobState.CLAIMED:
            job.attempts += 1
        return super().settle_one(settlement, now, hints)


@mutant
class SecondStartCounts(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        job = self.table.find_held(settlement.delivery)
        if job is not None and isinstance(settlement, Started) and job.state is JobState.STARTED:
            job.attempts += 1
        return super().settle_one(settlement, now, hints)


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
class DelaysOfRetriesAreIgnored(Moves):
    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        super().give_back(job, move, 0.0, now, hints)


@mutant
class FailureIsShownAsOutcome(MemoryBroker):
    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        jobs = [self._state.table.jobs.get(job_id) for job_id in ids]
        return [Stored(job.state, job.outcome) if job else None for job in jobs]


# --- leases and time ------------------------------------------------------------------------------


@mutant
class NeighboursAreBlamed(Sweeps):
    def take_back(self, job: Job, now: float, hints: Hints) -> None:
        if job.state is JobState.CLAIMED:
            job.crashes += 1
        super().take_back(job, now, hints)


@mutant
class NobodyIsBlamed(Sweeps):
    def take_back(self, job: Job, now: float, hints: Hints) -> None:
        self.moves.give_back(job, "lease over", 0.0, now, hints)


@mutant
class OneCrashTooMany(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, max_crashes=job.max_crashes + 1) for job in jobs])


@mutant
class RetryForgetsCrashes(Moves):
    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        job.crashes = job.crashes if move == "lease over" else 0
        super().give_back(job, move, delay_seconds, now, hints)


@mutant
class LeasesNeverEnd(Sweeps):
    def sweep_leases(self, limit: int, now: float, hints: Hints) -> tuple[int, int]:
        return 0, 0


@mutant
class LeasesEndEarly(Sweeps):
    def sweep_leases(self, limit: int, now: float, hints: Hints) -> tuple[int, int]:
        return super().sweep_leases(limit, now + 1, hints)


@mutant
class RenewalDoesNothing(StateMachine):
    def renew_one(self, delivery: Delivery, until: float) -> Renewal:
        return super().renew_one(delivery, 0.0)


@mutant
class DelayedJobsComeEarly(Sweeps):
    def sweep_due(self, limit: int, now: float, hints: Hints) -> int:
        return super().sweep_due(limit, now + 1, hints)


@mutant
class ExpiryCountsFromTheSubmission(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        receipt = super().submit_one(submission, now, hints)
        assert isinstance(receipt, Receipt)
        job = self.table.jobs[receipt.id]
        if receipt.created and submission.expires_seconds is not None:
            job.expires_at = now + submission.expires_seconds
        return receipt


@mutant
class RetriedJobsExpire(Sweeps):
    def sweep_expired(self, limit: int, now: float, hints: Hints) -> int:
        waiting = [job for job in self.table.jobs.values() if job.state in WAITING]
        late = [job for job in waiting if job.expires_at is not None and now >= job.expires_at]
        for job in late[:limit]:
            self.moves.end(job, "expire", JobState.EXPIRED, pack_expired(now), now, hints)
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
class OutcomesAreDroppedAtOnce(Sweeps):
    def sweep_kept(self, limit: int, now: float) -> int:
        return super().sweep_kept(limit, now + 1_000_000)


@mutant
class OutcomesAreNeverDropped(Sweeps):
    def sweep_kept(self, limit: int, now: float) -> int:
        return 0


@mutant
class DueJobsBeyondTheLimitAreLost(Sweeps):
    def sweep_due(self, limit: int, now: float, hints: Hints) -> int:
        due = super().sweep_due(limit, now, hints)
        for job in self.order.due.take(1_000_000, now):
            self.table.drop(job)
        return due


# --- cancelling -----------------------------------------------------------------------------------


@mutant
class CancelIsForgotten(Moves):
    def cancel(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        answer = super().cancel(job_id, reason, now, hints)
        if answer is CancelAnswer.REQUESTED:
            self.table.jobs[job_id].cancel_asked = False
        return answer


@mutant
class StartForgetsTheCancel(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Started) and (job := self.table.find_held(settlement.delivery)):
            job.cancel_asked = False
        return super().settle_one(settlement, now, hints)


@mutant
class RetryForgetsTheCancel(Moves):
    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        job.cancel_asked = job.cancel_asked and move != "retry"
        super().give_back(job, move, delay_seconds, now, hints)


@mutant
class CancelWinsOverTheOutcome(Moves):
    def end(self, job: Job, move: str, state: JobState, outcome: bytes, now: float, hints: Hints) -> None:
        if job.cancel_asked and state is not JobState.CANCELLED:
            self.end_cancelled(job, move, now, hints)
        else:
            super().end(job, move, state, outcome, now, hints)


@mutant
class LastReasonCounts(Moves):
    def cancel(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        if job_id in self.table.jobs:
            self.table.jobs[job_id].cancel_asked = False
        return super().cancel(job_id, reason, now, hints)


@mutant
class UnknownCancelsAreKept(StateMachine):
    def cancel(
        self, ids: Sequence[str], reason: str | None, owner: bytes | None, now: float, hints: Hints
    ) -> list[CancelAnswer]:
        self._unknown = getattr(self, "_unknown", set[str]()) | {each for each in ids if each not in self.table.jobs}
        return super().cancel(ids, reason, owner, now, hints)

    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        receipt = super().submit_one(submission, now, hints)
        if submission.id in getattr(self, "_unknown", ()):
            self.moves.cancel(submission.id, None, now, hints)
        return receipt


@mutant
class CancelsDoNotAskForTheOwner(MemoryBroker):
    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        return super().cancel(ids, reason)


@mutant
class CancelsOfAnOwnerTellOfEnds(Owners):
    def cancel_one_of(self, owner: bytes, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        answer = super().cancel_one_of(owner, job_id, reason, now, hints)
        job = self.table.jobs.get(job_id)
        ended = answer is CancelAnswer.UNKNOWN and job is not None and job.owner == owner
        return CancelAnswer.FINISHED if ended else answer


# --- ends -----------------------------------------------------------------------------------------


@mutant
class EndsOfRetriesAreNotTold(Moves):
    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        super().give_back(job, move, delay_seconds, now, hints)
        if move != "lease over":
            hints.ended.clear()


@mutant
class EndsOfSweepsAreNotTold(Sweeps):
    def sweep(self, limit: int, now: float, hints: Hints) -> Swept:
        swept = super().sweep(limit, now, hints)
        hints.ended.clear()
        return swept


@mutant
class EndsWithAnOwnerAreNotTold(Owners):
    def cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        told = len(hints.ended)
        cancelled = super().cancel_owned(owner, reason, now, hints, limit)
        del hints.ended[told:]
        return cancelled


@mutant
class CancelsAreToldTwice(Moves):
    def cancel(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        answer = super().cancel(job_id, reason, now, hints)
        hints.ended += hints.ended[-1:]
        return answer


@mutant
class WorkersEndsAreToldToo(Moves):
    def end(self, job: Job, move: str, state: JobState, outcome: bytes, now: float, hints: Hints) -> None:
        super().end(job, move, state, outcome, now, hints)
        if move == "finish":
            hints.end(Ended(job.submitted.id, job.submitted.queue, job.submitted.task, state))


# --- owners ---------------------------------------------------------------------------------------


@mutant
class NobodyOwnsAnything(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, owner=None) for job in jobs])


@mutant
class OwnersLeasesNeverEnd(Sweeps):
    def sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        return super().sweep_owned(limit, 0.0, hints)


@mutant
class OwnersLeasesEndEarly(Sweeps):
    def sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        return super().sweep_owned(limit, now + 1, hints)


@mutant
class HoldingDoesNothing(Owners):
    def renew(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        until = self.leases._until.get(owner)
        held = super().renew(owner, lease_seconds, now, hints)
        if held and lease_seconds > 0:
            self.leases._until[owner] = until
        return held


@mutant
class HoldingMakesLeases(Owners):
    def renew(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        self.leases.make(owner, now)
        return super().renew(owner, lease_seconds, now, hints)


@mutant
class HoldingRevivesWhatWasSwept(Owners):
    def renew(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        if self.leases.is_gone(owner):
            self.leases.make(owner, now + lease_seconds)
        return super().renew(owner, lease_seconds, now, hints)


@mutant
class LettingGoOnlyShortensTheLease(Owners):
    def renew(self, owner: bytes, lease_seconds: float, now: float, hints: Hints) -> bool:
        return super().renew(owner, max(lease_seconds, 1e-9), now, hints)


@mutant
class SubmissionsCutLeasesShort(Owners):
    def make_leases(self, jobs: Sequence[Submission], now: float, hints: Hints) -> None:
        for job in jobs:
            if job.owner is not None and job.owner_seconds > 0:
                self.leases.let_go(job.owner)
        super().make_leases(jobs, now, hints)


@mutant
class RepetitionsDoNotProlongTheLease(Owners):
    def make_leases(self, jobs: Sequence[Submission], now: float, hints: Hints) -> None:
        super().make_leases([job for job in jobs if job.id not in self.table.jobs], now, hints)


@mutant
class NewLeasesSaveOldJobs(Owners):
    def make_leases(self, jobs: Sequence[Submission], now: float, hints: Hints) -> None:
        for job in jobs:
            if job.owner is not None and job.owner_seconds > 0:
                self.leases.make(job.owner, now + job.owner_seconds)


@mutant
class RepetitionsChangeHands(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        known = self.table.jobs.get(submission.id)
        if known is not None and not known.state.ended:
            self.table._leave(known)
            known.owner = submission.owner
            self.table._enter(known)
        return super().submit_one(submission, now, hints)


@mutant
class OwnersKeepWhatIsRepeated(JobTable):
    def detach(self, job: Job) -> None:
        pass


@mutant
class KeysDoNotDetach(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        known = self.table.find_known(submission)
        if known is not None and known.submitted.id != submission.id:
            return Receipt(known.submitted.id, False)
        return super().submit_one(submission, now, hints)


@mutant
class OwnedRepetitionsDetach(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        if self.table.find_known(submission) is not None:
            submission = msgspec.structs.replace(submission, owner=None)
        return super().submit_one(submission, now, hints)


@mutant
class DetachedJobsAreSavedFromACancel(JobTable):
    def detach(self, job: Job) -> None:
        job.cancel_asked = False
        super().detach(job)


@mutant
class OnlyWaitingJobsAreDetached(JobTable):
    def detach(self, job: Job) -> None:
        if job.state in WAITING:
            super().detach(job)


@mutant
class OwnersNeedNotBeThere(Owners):
    def has_owner(self, submission: Submission) -> bool:
        return True


@mutant
class LateJobsStart(Owners):
    def has_owner(self, submission: Submission) -> bool:
        return super().has_owner(submission) or submission.owner in {job.owner for job in self.table.jobs.values()}


@mutant
class OnlyEndsCancelWhatIsOwned(Owners):
    def cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        back = reason == OWNER_ENDED and limit is None and any(hint.topic == "work" for hint in hints)
        return 0 if back else super().cancel_owned(owner, reason, now, hints, limit)


@mutant
class OnlyWaitingJobsAreCancelled(Moves):
    def cancel(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        held = job_id in self.table.held and reason in (OWNER_GONE, OWNER_ENDED)
        return CancelAnswer.REQUESTED if held else super().cancel(job_id, reason, now, hints)


@mutant
class OwnedJobsAreCancelledInSilence(Owners):
    def cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        return super().cancel_owned(owner, reason, now, Hints(), limit)


@mutant
class ReasonsAreMixedUp(Owners):
    def cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        return super().cancel_owned(owner, OWNER_GONE, now, hints, limit)


@mutant
class GrandchildrenAreCancelledAtOnce(Owners):
    def cancel_owned(self, owner: bytes, reason: str, now: float, hints: Hints, limit: int | None = None) -> int:
        tokens = [job.token for job in self.table.owned_by(owner) if job.token]
        cancelled = super().cancel_owned(owner, reason, now, hints, limit)
        return cancelled + sum(Owners.cancel_owned(self, token, reason, now, hints) for token in tokens)


@mutant
class OwnedJobsAreCountedAgain(Sweeps):
    def sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        told = [
            job for owner, until in self.owners.leases._until.items() if until and until <= now for job in self._owned(owner)
        ]
        return super().sweep_owned(limit, now, hints) + len(told)

    def _owned(self, owner: bytes) -> list[Job]:
        return [job for job in self.table.owned_by(owner) if job.cancel_asked]


@mutant
class LostOwnersDoNotWait(Sweeps):
    def may_return(self, job: Job, now: float) -> bool:
        return True


@mutant
class LostOwnersWaitForEver(Sweeps):
    def may_return(self, job: Job, now: float) -> bool:
        return not self.table.owned_by(job.token)


@mutant
class LostOwnersLeaveOrphansBehind(Sweeps):
    def may_return(self, job: Job, now: float) -> bool:
        return now >= job.lease_until + OWNED_GRACE_SECONDS or super().may_return(job, now)


@mutant
class WaitingOwnersFillTheLimit(Sweeps):
    def sweep_leases(self, limit: int, now: float, hints: Hints) -> tuple[int, int]:
        first = self.lost(now)[:limit]
        waiting = [job for job in first if not self.may_return(job, now)]
        return super().sweep_leases(limit - len(waiting), now, hints)


@mutant
class SweepsCancelEverythingAtOnce(Sweeps):
    def sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        return min(super().sweep_owned(1_000_000, now, hints), limit - 1)


@mutant
class OrphansBeyondTheLimitAreForgotten(Sweeps):
    def sweep_owned(self, limit: int, now: float, hints: Hints) -> int:
        orphaned = super().sweep_owned(limit, now, hints)
        for owner in [owner for owner in self.owners.leases._until if self.owners.leases.is_gone(owner)]:
            self.owners.leases.let_go(owner)
        return orphaned


@mutant
class RequeuedJobsAreStillOwned(Moves):
    def requeue(self, job_id: str, now: float, hints: Hints) -> bool:
        done = super().requeue(job_id, now, hints)
        if done:
            job = self.table.jobs[job_id]
            self.table._leave(job)
            job.owner = job.submitted.owner
            self.table._enter(job)
        return done


@mutant
class RequeuedJobsKeepTheirAge(Moves):
    def requeue(self, job_id: str, now: float, hints: Hints) -> bool:
        created = {each: job.created_at for each, job in self.table.jobs.items()}
        done = super().requeue(job_id, now, hints)
        if done:
            self.table.jobs[job_id].created_at = created[job_id]
        return done


@mutant
class AgeIsTimeInTheQueue(MemoryBroker):
    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        found = super().claim(queues, limit, worker, lease_seconds, names)
        return [msgspec.structs.replace(delivery, age_seconds=delivery.waited_seconds) for delivery in found]


# --- unresponsive handlers ------------------------------------------------------------------------


@mutant
class UnresponsiveIsStarted(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Unresponsive):
            super().settle_one(Started(settlement.delivery), now, hints)
        return super().settle_one(settlement, now, hints)


@mutant
class UnresponsiveStays(Moves):
    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        marked = job.unresponsive
        super().give_back(job, move, delay_seconds, now, hints)
        job.unresponsive = marked


@mutant
class UnresponsiveIsNotTold(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        quiet = Hints() if isinstance(settlement, Unresponsive) else hints
        return super().settle_one(settlement, now, quiet)


@mutant
class UnresponsiveIsNotShownToWaiters(MemoryBroker):
    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        return [found and msgspec.structs.replace(found, unresponsive=False) for found in super().outcomes(ids)]


# --- people and listeners -------------------------------------------------------------------------


@mutant
class PagesOverlap(MemoryAdmin):
    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        return super().list_jobs(wanted, limit, max(0, after - 1), newest_first)


@mutant
class PagesCountWhatTheyPassOver(MemoryAdmin):
    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        shown = {record.id for record in super().list_jobs(JobFilter(), limit, after, newest_first)}
        return [record for record in super().list_jobs(wanted, limit, after, newest_first) if record.id in shown]


@mutant
class NewestFirstIsIgnored(MemoryAdmin):
    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        return super().list_jobs(wanted, limit, after)


@mutant
class TagsAreOneWord(MemoryAdmin):
    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        found = super().list_jobs(msgspec.structs.replace(wanted, tag=None), 1_000, after, newest_first)
        return [record for record in found if wanted.tag is None or wanted.tag in ",".join(record.tags)][:limit]


@mutant
class PurgesAreNotTold(MemoryAdmin):
    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        members, self._calls.audience._members = self._calls.audience._members, ()
        try:
            return super().purge(queue, states, limit)
        finally:
            self._calls.audience._members = members


@mutant
class PurgeTakesAllQueues(MemoryAdmin):
    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        purge = super().purge
        return sum(purge(name, states, limit) for name in list(self._state.table.counts))


@mutant
class PurgeTakesAllStates(MemoryAdmin):
    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        return super().purge(queue, states | WAITING | ENDED, limit)


@mutant
class RequeueKeepsTheAttempts(Moves):
    def requeue(self, job_id: str, now: float, hints: Hints) -> bool:
        job = self.table.jobs.get(job_id)
        attempts = job.attempts if job else 0
        done = super().requeue(job_id, now, hints)
        if job and done:
            job.attempts = attempts
        return done


@mutant
class RequeueStealsTheKey(Moves):
    def requeue(self, job_id: str, now: float, hints: Hints) -> bool:
        job = self.table.jobs.get(job_id)
        if job is not None and job.unique is not None:
            self.table.keys.pop(job.unique, None)
        return super().requeue(job_id, now, hints)


@mutant
class HeartbeatsAreForEver(MemoryAdmin):
    def beat(self, worker: Any, ttl_seconds: float) -> None:
        super().beat(worker, ttl_seconds and 1e9)


@mutant
class EndsAreNotTold(MemoryBroker):
    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        members, self._calls.audience._members = self._calls.audience._members, ()
        try:
            return super().settle(settlements)
        finally:
            self._calls.audience._members = members


@mutant
class HintsComeTooEarly(MemoryBroker):
    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        ends = [item.delivery.id for item in settlements if isinstance(item, Finished)]
        self._calls.audience.tell([Hint("outcome", (job_id,)) for job_id in ends])
        return super().settle(settlements)

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        self._calls.audience.tell([Hint("outcome", tuple(ids))])
        return super().cancel(ids, reason, owner)


@mutant
class ListenersAreNeverClosed(MemoryBroker):
    def listen(self, topics: Any, emit: Any) -> Any:
        listener: Any = super().listen(topics, emit)
        listener.close = lambda: None
        return listener


@mutant
class HintsTellWhatNobodySaid(MemoryBroker):
    def listen(self, topics: Any, emit: Any) -> Any:
        def lie(hint: Hint) -> None:
            emit(msgspec.structs.replace(hint, stored=dict.fromkeys(hint.names, Stored(JobState.SUCCEEDED, b"lies"))))

        return super().listen(topics, lie)


@mutant
class CloseIsNoEnd(MemoryBroker):
    def close(self) -> None:
        pass


@mutant
class OutcomesAreRewritten(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        if isinstance(settlement, Finished):
            settlement = msgspec.structs.replace(settlement, outcome=settlement.outcome + b" ")
        return super().settle_one(settlement, now, hints)


# --- at most once ---------------------------------------------------------------------------------


@mutant
class NobodyIsDeliveredOnce(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, once=False) for job in jobs])


@mutant
class LostOnesAreStartedAgain(Sweeps):
    def take_back(self, job: Job, now: float, hints: Hints) -> None:
        submitted, job.submitted = job.submitted, msgspec.structs.replace(job.submitted, once=False)
        super().take_back(job, now, hints)
        job.submitted = submitted


class _GivesBackLess(Moves):
    """Forgets that a job is delivered once, for some moves."""

    forgets: Collection[str] = ()

    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        submitted = job.submitted
        if move in self.forgets:
            job.submitted = msgspec.structs.replace(submitted, once=False)
        super().give_back(job, move, delay_seconds, now, hints)
        job.submitted = submitted


@mutant
class ReleasedOnesAreStartedAgain(_GivesBackLess):
    forgets = ("release",)


@mutant
class RetriedOnesAreStartedAgain(_GivesBackLess):
    forgets = ("retry",)


@mutant
class ClaimedOnesAreDead(Moves):
    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        if job.submitted.once:
            self.end_dead(job, "retry", now, hints)
        else:
            super().give_back(job, move, delay_seconds, now, hints)


@mutant
class OnceIsNotSaid(MemoryBroker):
    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        found = super().claim(queues, limit, worker, lease_seconds, names)
        return [msgspec.structs.replace(delivery, once=False) for delivery in found]


@mutant
class OnceIsForgottenByARequeue(Moves):
    def requeue(self, job_id: str, now: float, hints: Hints) -> bool:
        done = super().requeue(job_id, now, hints)
        if done:
            job = self.table.jobs[job_id]
            job.submitted = msgspec.structs.replace(job.submitted, once=False)
        return done


# --- limits ---------------------------------------------------------------------------------------


@mutant
class LimitsAreIgnored(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, limits=()) for job in jobs])


@mutant
class OneTooManyRuns(Gates):
    def has_room(self, limit: Limit, now: float) -> bool:
        return super().has_room(msgspec.structs.replace(limit, most=limit.most and limit.most + 1), now)


@mutant
class OnlyTheFirstLimitCounts(Gates):
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
class PlacesAreLost(Gates):
    def give_room_back(self, job: Job) -> None:
        """Open the gates, but keep one more place, as a counter does that somebody forgot to lower."""
        for limit in job.submitted.limits:
            self.held.setdefault(limit.name, {})[f"ghost {job.submitted.id}"] = job
        super().give_room_back(job)


@mutant
class GatesStayClosed(Gates):
    def _do_open(self, gate: Gate) -> None:
        if gate.opens_at is not None:
            super()._do_open(gate)


@mutant
class OpeningIsNotTold(Gates):
    def tell_opened(self, hints: Hints) -> None:
        self.opened.clear()
        super().tell_opened(hints)


@mutant
class ExcessWaitsAlways(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit(
            [
                msgspec.structs.replace(job, limits=tuple(msgspec.structs.replace(each, rejects=False) for each in job.limits))
                for job in jobs
            ]
        )


# --- ordering keys --------------------------------------------------------------------------------


@mutant
class TurnsArePlainLimits(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, limits=tuple(map(_without_order, job.limits))) for job in jobs])


def _without_order(limit: Limit) -> Limit:
    return msgspec.structs.replace(limit, ordered=False)


@mutant
class RetriesGiveTheTurnOn(Gates):
    def follow(self, job: Job, before: JobState, after: JobState) -> None:
        super().follow(job, before, after)
        if after in WAITING:
            self.give_turn_back(job)


@mutant
class DelaysGiveTheTurnOn(Gates):
    def follow(self, job: Job, before: JobState, after: JobState) -> None:
        super().follow(job, before, after)
        if after is JobState.SCHEDULED:
            self.give_turn_back(job)


@mutant
class WaitingJobsEndWithTheTurn(Gates):
    def follow(self, job: Job, before: JobState, after: JobState) -> None:
        if not (after in ENDED and before in WAITING):
            super().follow(job, before, after)


@mutant
class PurgedJobsKeepTheTurn(JobTable):
    def drop(self, job: Job) -> None:
        job.has_turn = False
        super().drop(job)


@mutant
class PrioritiesOvertakeInLine(JobTable):
    def add(self, submitted: Submission, now: float) -> Job:
        job = super().add(submitted, now)
        if job.gate is not None:
            self.gates.leave(job)
            job.turn -= 1_000 * submitted.priority
            self.gates.enter(job)
        return job


@mutant
class RequeuedJobsStandWhereTheyStood(JobTable):
    def line_up_last(self, job: Job) -> None:
        """Stay."""


@mutant
class OthersPassWhoeverWaitsElsewhere(Gates):
    def move(self, job: Job, limit: Limit) -> None:
        self.give_turn_back(job)
        super().move(job, limit)


@mutant
class EndsOfTurnsAreNotTold(Gates):
    def give_turn_back(self, job: Job) -> None:
        opened = set(self.opened)
        super().give_turn_back(job)
        self.opened = opened


@mutant
class RatesHaveNoBurst(Gates):
    def has_room(self, limit: Limit, now: float) -> bool:
        return super().has_room(msgspec.structs.replace(limit, tolerance_seconds=0.0), now)


@mutant
class RatesSaveUp(Gates):
    def count_start(self, job: Job, now: float) -> None:
        before = dict(self._full_at)
        super().count_start(job, now)
        for limit in job.submitted.limits:
            if not limit.most and limit.name in before:
                self._full_at[limit.name] = before[limit.name] + limit.interval_seconds

    def forget(self, now: float) -> None:
        """Keep them: what was not used is saved up."""


@mutant
class RatesCountWhatIsBlocked(Gates):
    def blocker(self, job: Job, now: float) -> Limit | None:
        blocker = super().blocker(job, now)
        if blocker is not None:
            self.count_start(job, now)
        return blocker


# --- locks ----------------------------------------------------------------------------------------


@mutant
class LocksAreForAll(LockTable):
    def lock(self, name: str, holder: bytes, now: float, lease_seconds: float, wait: bool) -> int:
        return super().lock(f"{name} {holder!r}", holder, now, lease_seconds, wait)


@mutant
class LocksHaveNoLease(LockTable):
    def drop(self, name: str, now: float) -> bool:
        return False


@mutant
class LocksAreUnfair(LockTable):
    def lock(self, name: str, holder: bytes, now: float, lease_seconds: float, wait: bool) -> int:
        line = self._lines.get(name, {})
        if line and not next(iter(line.values())).token:  # free just now: whoever asks first has it
            line.clear()
        return super().lock(name, holder, now, lease_seconds, wait)


@mutant
class TokensStayTheSame(LockTable):
    def lock(self, name: str, holder: bytes, now: float, lease_seconds: float, wait: bool) -> int:
        return min(1, super().lock(name, holder, now, lease_seconds, wait))


@mutant
class RenewalsRevive(LockTable):
    def relock(self, name: str, holder: bytes, until: float) -> bool:
        return super().relock(name, holder, until) or bool(self._lines.get(name))


@mutant
class FreedLocksAreNotTold(MemoryLocks):
    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        return [self._locks.unlock(name, holder) for name, holder in holds]


# --- parked jobs, and places after crashes ---------------------------------------------------------


@mutant
class ParkingIsADelay(MemoryBroker):
    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        return super().claim(queues, limit, worker, lease_seconds)


@mutant
class AnyNameUnparks(JobOrder):
    def parked_under(self, queue: str, names: Collection[str]) -> list[Job]:
        return super().parked_under(queue, self.parked._lines.get(queue, {})) if names else []


@mutant
class WhatIsNotTakenStaysReady(JobTable):
    def put_back(self, job: Job) -> None:
        job.parked = None


@mutant
class ParkedJobsGoFirst(MemoryBroker):
    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        order = self._state.order
        ready, order._ready = order._ready, {}
        found = super().claim(queues, limit, worker, lease_seconds, names) if names else []
        for queue, line in order._ready.items():
            ready.setdefault(queue, []).extend(line)
        order._ready = ready
        return found + super().claim(queues, limit - len(found), worker, lease_seconds, names)


@mutant
class TheNameIsNeverForgotten(MemoryBroker):
    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._names: dict[str, str] = {}

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        for item in settlements:
            if isinstance(item, Released) and item.park is not None:
                self._names[item.delivery.id] = item.park
        return super().settle(settlements)

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        found = super().claim(queues, limit, worker, lease_seconds, names)
        return [msgspec.structs.replace(each, parked=self._names.get(each.id)) for each in found]


@mutant
class ParkingIsNotTold(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        return super().settle_one(settlement, now, Hints() if isinstance(settlement, Released) else hints)


# --- pauses ---------------------------------------------------------------------------------------


@mutant
class ResumedJobsStayAway(PauseTable):
    def resumed(self, parked: Parked, limit: int) -> Iterator[Job]:
        return iter(())


@mutant
class PausedJobsComeBack(PauseTable):
    def resumed(self, parked: Parked, limit: int) -> Iterator[Job]:
        records, self._records = self._records, {}
        yield from list(super().resumed(parked, limit))
        self._records = records


@mutant
class AllComeBackAtOnce(PauseTable):
    def resumed(self, parked: Parked, limit: int) -> Iterator[Job]:
        return super().resumed(parked, 1_000)


@mutant
class TheLastComesBackFirst(PauseTable):
    def resumed(self, parked: Parked, limit: int) -> Iterator[Job]:
        return islice(reversed(list(super().resumed(parked, 1_000))), max(limit, 0))


@mutant
class ResumedAtTheEndOfTheQueue(Sweeps):
    def sweep_paused(self, limit: int, now: float, hints: Hints) -> int:
        for job in list(self.pauses.resumed(self.order.parked, limit)):
            self.table._leave(job)
            job.sequence = next(self.table._sequence)
            self.table._enter(job)
        return super().sweep_paused(limit, now, hints)


@mutant
class AllAreCountedForEach(PauseTable):
    def list_all(self, parked: Parked) -> PauseList:
        found = super().list_all(parked)
        total = sum(each.waiting for each in found.records)
        return msgspec.structs.replace(found, records=[msgspec.structs.replace(each, waiting=total) for each in found.records])


@mutant
class OneVersionForAll(PauseTable):
    def _changed(self, name: str, hints: Hints) -> None:
        super()._changed(name, hints)
        self.version = 1


@mutant
class PausesAreNotTold(PauseTable):
    def _changed(self, name: str, hints: Hints) -> None:
        super()._changed(name, Hints())


@mutant
class APauseIsNotReplaced(PauseTable):
    def put(self, pause: PauseRecord, now: float, hints: Hints) -> None:
        super().put(self._records.get(pause.name, pause), now, hints)


@mutant
class ResumeIsAlwaysDone(PauseTable):
    def remove(self, name: str, hints: Hints) -> bool:
        super().remove(name, hints)
        return True


@mutant
class TheNameStaysAfterThePause(Sweeps):
    def sweep_paused(self, limit: int, now: float, hints: Hints) -> int:
        resumed = [(job, job.parked) for job in self.pauses.resumed(self.order.parked, limit)]
        done = super().sweep_paused(limit, now, hints)
        for job, name in resumed:
            job.parked = name
        return done


class _WithPlaces(JobOrder):
    behind: Callable[[Job], int]

    def stand(self, job: Job) -> None:
        crashes, job.crashes = job.crashes, 0
        sequence, job.sequence = job.sequence, job.sequence + type(self).behind(job) if crashes else job.sequence
        super().stand(job)
        job.crashes, job.sequence = crashes, sequence


@mutant
class CrashesCostNoPlace(_WithPlaces):
    behind = staticmethod(lambda job: 0)


@mutant
class CrashedJobsGoToTheEndForEver(_WithPlaces):
    behind = staticmethod(lambda job: 1_000_000)


# --- the log of events -----------------------------------------------------------------------------


@mutant
class AppendsAreNotCompared(EventLogTable):
    def append(self, batch: EventBatch, keep_seconds: float, most: int, now: float, hints: Hints) -> bool:
        self._writers.pop(batch.writer, None)
        return super().append(batch, keep_seconds, most, now, hints)


@mutant
class OnlyTheLastAppendIsCompared(EventLogTable):
    def append(self, batch: EventBatch, keep_seconds: float, most: int, now: float, hints: Hints) -> bool:
        known = any((each.writer, each.sequence) == (batch.writer, batch.sequence) for each in self._batches)
        self._writers.pop(batch.writer, None)
        return not known and super().append(batch, keep_seconds, most, now, hints)


@mutant
class AllWritersCountTogether(EventLogTable):
    def append(self, batch: EventBatch, keep_seconds: float, most: int, now: float, hints: Hints) -> bool:
        batch = msgspec.structs.replace(batch, writer="all")
        return super().append(batch, keep_seconds, most, now, hints)


@mutant
class TheLogGrowsByCount(EventLogTable):
    def trim(self, before: float, up_to: int) -> None:
        super().trim(before, 0)


@mutant
class TheLogGrowsByAge(EventLogTable):
    def trim(self, before: float, up_to: int) -> None:
        super().trim(0.0, up_to)


@mutant
class HalfABatchIsDroppedWhole(EventLogTable):
    def trim(self, before: float, up_to: int) -> None:
        while self._batches and self._batches[0].number <= up_to:
            self._batches.popleft()
        super().trim(before, 0)


@mutant
class NumbersBeginAgainAfterATrim(EventLogTable):
    def trim(self, before: float, up_to: int) -> None:
        had = len(self._batches)
        super().trim(before, up_to)
        if len(self._batches) < had:
            self._last = sum(batch.count for batch in self._batches)


@mutant
class AppendsAreNotTold(EventLogTable):
    def append(self, batch: EventBatch, keep_seconds: float, most: int, now: float, hints: Hints) -> bool:
        return super().append(batch, keep_seconds, most, now, Hints())


@mutant
class PagesBeginWithWholeBatches(EventLogTable):
    def read(self, after: int, limit: int) -> LogPage:
        page = super().read(after, limit)
        return msgspec.structs.replace(page, batches=[batch for batch in page.batches if batch.number > after])


@mutant
class PagesHaveNoLimit(EventLogTable):
    def read(self, after: int, limit: int) -> LogPage:
        return super().read(after, 1_000_000)


@mutant
class PagesShowTheNewestFirst(EventLogTable):
    def read(self, after: int, limit: int) -> LogPage:
        page = super().read(after, limit)
        return msgspec.structs.replace(page, batches=page.batches[::-1])


@mutant
class TheFirstEventIsTheFirstEver(EventLogTable):
    def read(self, after: int, limit: int) -> LogPage:
        return msgspec.structs.replace(super().read(after, limit), first=1)


# --- schedules -------------------------------------------------------------------------------------


@mutant
class VersionsAreNotCompared(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        [row] = self.find([change.name])
        return super().change(msgspec.structs.replace(change, version=row.version if row else 0), hints)


@mutant
class VersionZeroIsAnyVersion(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        [row] = self.find([change.name])
        if row is not None and change.version == 0:
            change = msgspec.structs.replace(change, version=row.version)
        return super().change(change, hints)


@mutant
class RemovalsAreNotCompared(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        [row] = self.find([change.name])
        if row is not None and change.body is None:
            change = msgspec.structs.replace(change, version=row.version)
        return super().change(change, hints)


@mutant
class VersionsCountPerRow(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        self._versions = count(change.version + 1)
        return super().change(change, hints)


@mutant
class VersionsStayTheSame(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        self._versions = count(change.version or 1)
        return super().change(change, hints)


@mutant
class RemovedSchedulesArePaused(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        if change.body is None:
            change = msgspec.structs.replace(change, body=b"", look_at=None)
        return super().change(change, hints)


@mutant
class EmptyBodiesRemove(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        return super().change(msgspec.structs.replace(change, body=change.body or None), hints)


@mutant
class NamesOfSchedulesAreCutShort(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        return super().change(msgspec.structs.replace(change, name=change.name[:128]), hints)


@mutant
class ChangesOfSchedulesAreNotTold(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        return super().change(change, Hints())


@mutant
class RemovalsOfSchedulesAreNotTold(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        return super().change(change, Hints() if change.body is None else hints)


@mutant
class SchedulesAreListedAsTheyCame(ScheduleTable):
    def list_after(self, name: str, limit: int) -> list[ScheduleRow]:
        rows = super().list_after(name, 1_000)
        return sorted(rows, key=lambda row: row.version)[:limit]


@mutant
class SchedulesAreListedByTheirUtf16(ScheduleTable):
    def list_after(self, name: str, limit: int) -> list[ScheduleRow]:
        rows = super().list_after("", 1_000)
        ordered = sorted(rows, key=lambda row: row.name.encode("utf-16-be"))
        return [row for row in ordered if row.name.encode("utf-16-be") > name.encode("utf-16-be")][:limit]


@mutant
class PagesOfSchedulesOverlap(ScheduleTable):
    def list_after(self, name: str, limit: int) -> list[ScheduleRow]:
        first = [row for row in self.find([name]) if row]
        return [*first, *super().list_after(name, limit)][:limit]


@mutant
class PausedSchedulesAreLookedAt(ScheduleTable):
    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        return super().change(msgspec.structs.replace(change, look_at=change.look_at or 0.0), hints)


@mutant
class OldMomentsStay(ScheduleTable):
    def _remove(self, row: ScheduleRow) -> None:
        del self._rows[row.name]


@mutant
class LooksComeEarly(ScheduleTable):
    def look(self, limit: int, now: float) -> ScheduleLook:
        return super().look(limit, now + 0.5)


@mutant
class LooksTakeWhatTheyFind(ScheduleTable):
    def look(self, limit: int, now: float) -> ScheduleLook:
        look = super().look(limit, now)
        del self._looks[: len(look.rows)]
        return look


@mutant
class LooksGoByName(ScheduleTable):
    def look(self, limit: int, now: float) -> ScheduleLook:
        look = super().look(limit, now)
        return msgspec.structs.replace(look, rows=sorted(look.rows, key=lambda row: row.name))


@mutant
class LooksHaveNoLimit(ScheduleTable):
    def look(self, limit: int, now: float) -> ScheduleLook:
        return super().look(1_000, now)


@mutant
class LooksDoNotSayThatThereIsMore(ScheduleTable):
    def look(self, limit: int, now: float) -> ScheduleLook:
        all_of_them = super().look(1_000, now)
        return msgspec.structs.replace(all_of_them, rows=all_of_them.rows[: max(limit, 0)])


@mutant
class SweepsDoNotSayWhenToLook(MemoryBroker):
    def sweep(self, limit: int) -> Swept:
        return msgspec.structs.replace(super().sweep(limit), next_schedule_seconds=None)


@mutant
class SweepsForgetWhatIsOverdue(ScheduleTable):
    def next_at(self, after: float = 0.0) -> float:
        moments = [moment for moment, _ in self._looks]
        return super().next_at(moments[-2]) if len(moments) > 1 else super().next_at(after)


@mutant
class ChangesAndJobsAreTwoSteps(MemorySchedules):
    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        receipts = self._machine.submit(change.jobs, self._calls.clock(), Hints())
        return None if super().fire(change) is None else receipts


@mutant
class ChangesBringNoJobs(MemorySchedules):
    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        done = super().fire(msgspec.structs.replace(change, jobs=()))
        return None if done is None else [Receipt(job.id, True) for job in change.jobs]


@mutant
class RemovalsBringNoJobs(MemorySchedules):
    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        jobs = () if change.body is None else change.jobs
        return super().fire(msgspec.structs.replace(change, jobs=jobs))


@mutant
class KnownIdsStopTheChange(MemorySchedules):
    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        if change.jobs and all(job.id in self._machine.table.jobs for job in change.jobs[1:2]):
            return [Receipt(job.id, job.id not in self._machine.table.jobs) for job in change.jobs]
        return super().fire(change)


@mutant
class OneStaleChangeStopsAll(MemorySchedules):
    def change_schedules(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        rows = self.find_schedules([change.name for change in changes])
        fresh = [change.version == (0 if row is None else row.version) for change, row in zip(changes, rows, strict=True)]
        return super().change_schedules(changes) if all(fresh) else [False] * len(changes)


@mutant
class ManyChangesAreNotCompared(MemorySchedules):
    def change_schedules(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        rows = [self.find_schedules([change.name])[0] for change in changes]
        versions = [0 if row is None else row.version for row in rows]
        current = [msgspec.structs.replace(one, version=each) for one, each in zip(changes, versions, strict=True)]
        return super().change_schedules(current)


@mutant
class VersionsAreComparedTooEarly(MemorySchedules):
    """Look, let others look, and only then change."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._others = Barrier(2)

    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        [row] = self.find_schedules([change.name])
        if change.version != (0 if row is None else row.version):
            return None
        with suppress(BrokenBarrierError):
            self._others.wait(0.01)
        self._others.reset()
        [row] = self.find_schedules([change.name])
        return super().fire(msgspec.structs.replace(change, version=0 if row is None else row.version))


@mutant
class FiredJobsAreNotTold(MemorySchedules):
    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        members, self._calls.audience._members = self._calls.audience._members, ()
        try:
            return super().fire(change)
        finally:
            self._calls.audience._members = members
            self._calls.audience.tell([Hint("schedule", (change.name,))])


def _fired_without(**what: Any) -> type[MemorySchedules]:
    """Return a part that forgets something of the jobs that it submits."""

    class Forgetful(MemorySchedules):
        def fire(self, change: ScheduleChange) -> list[Receipt] | None:
            jobs = tuple(msgspec.structs.replace(job, **what) for job in change.jobs)
            return super().fire(msgspec.structs.replace(change, jobs=jobs))

    Forgetful.__name__ = f"FiredJobsHaveNo{''.join(what).title().replace('_', '')}"
    return Forgetful


mutant(_fired_without(limits=()))
mutant(_fired_without(key=None))
mutant(_fired_without(owner=None))
mutant(_fired_without(priority=0))
mutant(_fired_without(delay_seconds=0.0))


# --- windows ---------------------------------------------------------------------------------------


@mutant
class DebounceRunsTheFirst(JobTable):
    def replace(self, job: Job, submitted: Submission, due_at: float) -> None:
        super().replace(job, job.submitted, due_at)


@mutant
class DebounceDoesNotWaitAgain(JobTable):
    def replace(self, job: Job, submitted: Submission, due_at: float) -> None:
        super().replace(job, submitted, job.due_at)


@mutant
class DebounceTakesThePayloadOnly(JobTable):
    def replace(self, job: Job, submitted: Submission, due_at: float) -> None:
        super().replace(job, msgspec.structs.replace(job.submitted, payload=submitted.payload), due_at)


@mutant
class DebounceExpiresAsItsFirst(JobTable):
    def replace(self, job: Job, submitted: Submission, due_at: float) -> None:
        expires_at = job.expires_at
        super().replace(job, submitted, due_at)
        job.expires_at = expires_at


@mutant
class DebounceGoesToTheEnd(JobTable):
    def replace(self, job: Job, submitted: Submission, due_at: float) -> None:
        super().replace(job, submitted, due_at)
        job.sequence = next(self._sequence)


@mutant
class DebounceIsCountedWhereItWas(JobTable):
    def replace(self, job: Job, submitted: Submission, due_at: float) -> None:
        super().replace(job, submitted, due_at)
        before = job.submitted
        self._uncount(job)
        job.submitted = msgspec.structs.replace(before, queue="work")
        self._count(job)
        job.submitted = before


@mutant
class DebounceHasNoMost(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit(
            [
                job if job.window is None else msgspec.structs.replace(job, window=Window(job.window.name, job.window.seconds))
                for job in jobs
            ]
        )


@mutant
class DebounceTakesWhateverIsScheduled(StateMachine):
    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        found = self.windows.find(window.name, now)
        job = self.table.jobs.get(found[0]) if found is not None else None
        if job is not None and window.is_debounce:
            self.windows.open(window.name, job.submitted.id, job.due_at)
        return super().find_in_window(submission, window, now, hints)


@mutant
class DebounceIsNotTold(StateMachine):
    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        return super().find_in_window(submission, window, now, Hints())


@mutant
class DebounceOutlivesACancel(StateMachine):
    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        found = self.windows.find(window.name, now)
        job = self.table.jobs.get(found[0]) if found is not None else None
        if job is not None and job.state is JobState.CANCELLED:
            return job.submitted.id
        return super().find_in_window(submission, window, now, hints)


@mutant
class ThrottleEndsWithItsJob(StateMachine):
    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        found = self.windows.find(window.name, now)
        job = self.table.jobs.get(found[0]) if found is not None else None
        if job is not None and job.state.ended:
            return None
        return super().find_in_window(submission, window, now, hints)


@mutant
class ThrottleForgetsWhatWasDropped(StateMachine):
    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        stands = super().find_in_window(submission, window, now, hints)
        return stands if stands in self.table.jobs else None


@mutant
class ThrottleCountsFromTheLast(StateMachine):
    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        stands = super().find_in_window(submission, window, now, hints)
        if stands is not None and not window.is_debounce:
            self.windows.open(window.name, stands, now + window.seconds)
        return stands


@mutant
class WindowsStayOwned(StateMachine):
    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        return super().find_in_window(msgspec.structs.replace(submission, owner=b"me", owner_seconds=1.0), window, now, hints)


@mutant
class DeadAttemptsTakePlaces(StateMachine):
    def find_in_window(self, submission: Submission, window: Window, now: float, hints: Hints) -> str | None:
        return super().find_in_window(msgspec.structs.replace(submission, owner_seconds=1.0), window, now, hints)


@mutant
class DeadAttemptsOpenWindows(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        receipt = super().submit_one(submission, now, hints)
        if isinstance(receipt, Receipt) and receipt.created and submission.window is not None and submission.window.seconds:
            self.windows.open(submission.window.name, submission.id, now + submission.window.seconds)
        return receipt


@mutant
class WindowsWinOverIds(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        if submission.window is not None:
            stands = self.find_in_window(submission, submission.window, now, hints)
            if stands is not None:
                return Receipt(stands, False)
        return super().submit_one(submission, now, hints)


@mutant
class WindowsAreNeverOver(Windows):
    def find(self, name: str, now: float) -> tuple[str, float] | None:
        return self._open.get(name)


@mutant
class WindowsAreForgottenEarly(Windows):
    def forget(self, now: float) -> None:
        self._open.clear()


@mutant
class WindowsOfAllNames(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit(
            [
                job
                if job.window is None
                else msgspec.structs.replace(job, window=msgspec.structs.replace(job.window, name=str(job.window.is_debounce)))
                for job in jobs
            ]
        )


# --- bounded queues --------------------------------------------------------------------------------


@mutant
class LengthsAreIgnored(StateMachine):
    def is_full(self, submission: Submission) -> bool:
        return False


@mutant
class OneTooManyWaits(StateMachine):
    def is_full(self, submission: Submission) -> bool:
        return super().is_full(
            msgspec.structs.replace(submission, max_length=submission.max_length and submission.max_length + 1)
        )


@mutant
class AFullQueueRefusesTheWholeBatch(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        waiting = self._state.table.count_waiting
        numbers = Counter(job.queue for job in jobs if job.id not in self._state.table.jobs)
        for job in jobs:
            if (
                job.max_length
                and job.id not in self._state.table.jobs
                and waiting(job.queue) + numbers[job.queue] > job.max_length
            ):
                raise QueueFull(job.queue, job.max_length)
        return super().submit(jobs)


@mutant
class RepetitionsAreRefused(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        if submission.owner is None and self.is_full(submission):
            return QueueFull(submission.queue, submission.max_length)
        return super().submit_one(submission, now, hints)


@mutant
class RefusedJobsAreStored(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        answer = super().submit_one(submission, now, hints)
        if isinstance(answer, QueueFull):
            super().submit_one(msgspec.structs.replace(submission, max_length=0), now, hints)
        return answer


@mutant
class OnlyReadyJobsCount(JobTable):
    def count_waiting(self, queue: str) -> int:
        return self.counts.get(queue, Counter[JobState]())[JobState.READY]


@mutant
class JobsAtALimitDoNotCount(JobTable):
    def count_waiting(self, queue: str) -> int:
        return super().count_waiting(queue) - sum(gate.count for gate in self.gates._gates.values() if gate.queue == queue)


@mutant
class HeldJobsCount(JobTable):
    def count_waiting(self, queue: str) -> int:
        return sum(number for state, number in self.counts.get(queue, {}).items() if state not in ENDED)


@mutant
class AllQueuesAreOne(JobTable):
    def count_waiting(self, queue: str) -> int:
        return sum(map(super().count_waiting, self.counts))


@mutant
class OnlyJobsWithALengthCount(JobTable):
    def count_waiting(self, queue: str) -> int:
        waiting = [job for job in self.jobs.values() if job.state in WAITING and job.submitted.queue == queue]
        return sum(job.submitted.max_length > 0 for job in waiting)


@mutant
class RecordsAreRefused(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        if submission.id not in self.table.jobs and submission.ended is not None and self.is_full(submission):
            return QueueFull(submission.queue, submission.max_length)
        return super().submit_one(submission, now, hints)


@mutant
class LostLeasesTakeAPlaceForEver(Sweeps):
    """Count what comes back once more, as a counter does that somebody has forgotten to lower."""

    def take_back(self, job: Job, now: float, hints: Hints) -> None:
        super().take_back(job, now, hints)
        count_waiting = self.table.count_waiting
        self.table.count_waiting = lambda queue: count_waiting(queue) + (queue == job.submitted.queue)  # type: ignore[method-assign]


@mutant
class PartOfABatchIsNotTold(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        with AtomicCall(self._calls) as call:
            answers = self._machine.submit(jobs, call.now, call.hints)
            return receipts_of(answers)


# --- fair queues -----------------------------------------------------------------------------------


@mutant
class SharesAreIgnored(MemoryBroker):
    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return super().submit([msgspec.structs.replace(job, share=None) for job in jobs])


@mutant
class WeightsAreIgnored(Shares):
    def take(self, job: Submission) -> int | None:
        return super().take(msgspec.structs.replace(job, weight=1.0))


@mutant
class WeightsAreRounded(Shares):
    def take(self, job: Submission) -> int | None:
        return super().take(msgspec.structs.replace(job, weight=SHARE_STEP / (100 * round(SHARE_STEP / job.weight / 100) or 1)))


@mutant
class TheVirtualTimeStandsStill(Shares):
    def reach(self, job: Job) -> None:
        pass


@mutant
class TheVirtualTimeIsOneForAllPriorities(Shares):
    def reach(self, job: Job) -> None:
        super().reach(job)
        if job.rank is not None:
            for line in [line for line in self.finish if line[0] == job.submitted.queue]:
                self.time[line] = max(self.time.get(line, 0.0), job.rank)


@mutant
class PrioritiesShareTheirTurns(Shares):
    def take(self, job: Submission) -> int | None:
        return super().take(msgspec.structs.replace(job, priority=0))


@mutant
class QueuesShareTheirTurns(Shares):
    def take(self, job: Submission) -> int | None:
        return super().take(msgspec.structs.replace(job, queue="all"))


@mutant
class ReturnedJobsTakeAnotherTurn(Moves):
    def give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        assert self.table._order is not None
        if job.rank is not None:
            job.rank = self.table._order.shares.take(job.submitted)
        super().give_back(job, move, delay_seconds, now, hints)


@mutant
class RepetitionsTakeATurn(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        answer = super().submit_one(submission, now, hints)
        assert self.table._order is not None
        if isinstance(answer, Receipt) and not answer.created:
            self.table._order.shares.take(submission)
        return answer


@mutant
class RefusedJobsTakeATurn(StateMachine):
    def submit_one(self, submission: Submission, now: float, hints: Hints) -> Receipt | QueueFull:
        answer = super().submit_one(submission, now, hints)
        assert self.table._order is not None
        if isinstance(answer, QueueFull):
            self.table._order.shares.take(submission)
        return answer


@mutant
class BusySharesAreForgotten(Shares):
    def forget(self) -> None:
        self.finish.clear()


@mutant
class NewcomersWaitForAllThatIsThere(Shares):
    def take(self, job: Submission) -> int | None:
        latest = max((at for finish in self.finish.values() for at in finish.values()), default=0.0)
        if job.share is not None and job.share not in self.finish.get((job.queue, job.priority), {}):
            self.time[job.queue, job.priority] = latest
        return super().take(job)


@mutant
class GatesKnowNoTurns(JobOrder):
    def stand(self, job: Job) -> None:
        rank = job.rank
        if job.submitted.limits:
            job.rank = None
        super().stand(job)
        job.rank = rank


@mutant
class RequeuedJobsLoseTheirTurn(Moves):
    def requeue(self, job_id: str, now: float, hints: Hints) -> bool:
        job = self.table.jobs.get(job_id)
        if job is not None and job.rank is not None:
            job.rank += 1_000_000
        return super().requeue(job_id, now, hints)


# --- outgoing messages -----------------------------------------------------------------------------


class _Sending(StateMachine):
    """Gives other messages to the outbox than an outcome says."""

    def change(self, item: Finished) -> Finished:
        raise NotImplementedError

    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        return super().settle_one(self.change(settlement) if isinstance(settlement, Finished) else settlement, now, hints)


@mutant
class OutcomesSendNothing(_Sending):
    def change(self, item: Finished) -> Finished:
        return msgspec.structs.replace(item, outgoing=())


@mutant
class OutcomesSendTheirFirstMessageOnly(_Sending):
    def change(self, item: Finished) -> Finished:
        return msgspec.structs.replace(item, outgoing=item.outgoing[:1])


@mutant
class OnlySuccessesSend(_Sending):
    def change(self, item: Finished) -> Finished:
        return item if item.state is JobState.SUCCEEDED else msgspec.structs.replace(item, outgoing=())


@mutant
class EmptyMessagesAreLeftOut(_Sending):
    def change(self, item: Finished) -> Finished:
        return msgspec.structs.replace(item, outgoing=tuple(each for each in item.outgoing if each.body))


@mutant
class RepliesWinOverMessages(_Sending):
    def change(self, item: Finished) -> Finished:
        return item if item.reply is None else msgspec.structs.replace(item, outgoing=())


@mutant
class StaleOutcomesSend(StateMachine):
    def settle_one(self, settlement: Settlement, now: float, hints: Hints) -> bool:
        done = super().settle_one(settlement, now, hints)
        if not done and isinstance(settlement, Finished) and self._outbox is not None:
            self._outbox.add(settlement.outgoing, now, hints)
        return done


@mutant
class OutcomesSendBeforeOthersOfTheCall(MemoryBroker):
    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        sent = [each for item in reversed(settlements) if isinstance(item, Finished) for each in item.outgoing]
        if len(settlements) < 2 or not sent:
            return super().settle(settlements)
        answers = super().settle(
            [msgspec.structs.replace(item, outgoing=()) if isinstance(item, Finished) else item for item in settlements]
        )
        if all(answers):
            self.outbox.put_outgoing(sent)
        return answers


@mutant
class OneLineForAllDestinations(OutboxLines):
    def add(self, items: Iterable[Outgoing], now: float, hints: Hints) -> None:
        super().add([msgspec.structs.replace(item, destination="a") for item in items], now, hints)


@mutant
class TheNewestComeFirst(OutboxLines):
    def first(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        return super().first(destination, 1_000)[::-1][:limit]


@mutant
class LooksTakeMessages(OutboxLines):
    def first(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        found = super().first(destination, limit)
        if found:
            self.drop(destination, found[-1][0])
        return found


@mutant
class LooksAtMessagesHaveNoLimit(OutboxLines):
    def first(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        return super().first(destination, max(limit, 100))


@mutant
class LooksReturnAllBytes(OutboxLines):
    def first(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        return [(position, body) for position, _, body in list(self._lines.get(destination, ()))[:limit]]


@mutant
class LargeMessagesBlockTheirLine(OutboxLines):
    def first(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        found = super().first(destination, limit)
        return found if found and len(found[0][1]) <= BATCH_BYTES else []


@mutant
class PositionsCountPerLine(OutboxLines):
    def add(self, items: Iterable[Outgoing], now: float, hints: Hints) -> None:
        for item in items:
            line = self._lines.get(item.destination)
            self._positions = count(line[-1][0] + 1 if line else 1)
            super().add([item], now, hints)


@mutant
class DroppingTakesTheWholeLine(OutboxLines):
    def drop(self, destination: str, up_to: int) -> int:
        found = [position for position, _, _ in self._lines.get(destination, ()) if position <= up_to]
        super().drop(destination, 1_000_000)
        return len(found)


@mutant
class DroppingLeavesTheLast(OutboxLines):
    def drop(self, destination: str, up_to: int) -> int:
        return super().drop(destination, up_to - 1)


@mutant
class DroppingTakesOfAllLines(OutboxLines):
    def drop(self, destination: str, up_to: int) -> int:
        return sum([OutboxLines.drop(self, name, up_to) for name in list(self._lines)])


@mutant
class ALineKeepsTheNewestTwo(OutboxLines):
    def add(self, items: Iterable[Outgoing], now: float, hints: Hints) -> None:
        super().add(items, now, hints)
        for line in self._lines.values():
            while len(line) > 2:
                line.popleft()


@mutant
class MessagesAge(MemoryBroker):
    def sweep(self, limit: int) -> Swept:
        swept = super().sweep(limit)
        for record in self.outbox.list_outboxes(1_000):
            if record.age_seconds > 86_400:
                self._state.outbox.drop(record.destination, 1_000_000)
        return swept


@mutant
class MessagesAreDroppedWithTheirJobs(MemoryBroker):
    def sweep(self, limit: int) -> Swept:
        swept = super().sweep(limit)
        if swept.dropped:
            self._state.outbox._lines.clear()
        return swept


@mutant
class MessagesAreNotTold(OutboxLines):
    def add(self, items: Iterable[Outgoing], now: float, hints: Hints) -> None:
        super().add(items, now, Hints())


@mutant
class OutboxesAreListedAsTheyCame(OutboxLines):
    def records(self, limit: int, after: str, now: float) -> list[OutboxRecord]:
        names = list(self._lines)
        found = {record.destination: record for record in super().records(1_000, "", now)}
        return [found[name] for name in names if name > after][: max(limit, 0)]


@mutant
class OutboxesTellTheNewest(OutboxLines):
    def records(self, limit: int, after: str, now: float) -> list[OutboxRecord]:
        return [
            msgspec.structs.replace(record, oldest_at=(at := self._lines[record.destination][-1][1]), age_seconds=now - at)
            for record in super().records(limit, after, now)
        ]


@mutant
class EmptyOutboxesAreListed(OutboxLines):
    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, float] = {}

    def add(self, items: Iterable[Outgoing], now: float, hints: Hints) -> None:
        super().add(items, now, hints)
        self._known |= dict.fromkeys(self._lines, now)

    def records(self, limit: int, after: str, now: float) -> list[OutboxRecord]:
        empty = [OutboxRecord(name, 0, at, now - at) for name, at in self._known.items() if name not in self._lines]
        return sorted([*super().records(limit, after, now), *empty], key=lambda record: record.destination)[: max(limit, 0)]


@mutant
class HalfOfAPutStands(MemoryOutbox):
    def put_outgoing(self, items: Sequence[Outgoing]) -> None:
        for item in items:
            super().put_outgoing([item])


# --- states ----------------------------------------------------------------------------------------


@mutant
class StatesAreOverwritten(StateTable):
    def put(self, name: str, version: int, body: bytes) -> int:
        row = self.get(name)
        return super().put(name, 0 if row is None else row.version, body)


@mutant
class StateZeroIsAnyVersion(StateTable):
    def put(self, name: str, version: int, body: bytes) -> int:
        row = self.get(name)
        return super().put(name, row.version if row is not None and not version else version, body)


@mutant
class StatesCountTheirVersions(StateTable):
    def put(self, name: str, version: int, body: bytes) -> int:
        self._versions = count(version + 1)
        return super().put(name, version, body)


@mutant
class StatesAreDeletedByName(StateTable):
    def delete(self, name: str, version: int) -> bool:
        row = self.get(name)
        return row is not None and super().delete(name, row.version)


@mutant
class DeletedStatesAreEmpty(StateTable):
    def delete(self, name: str, version: int) -> bool:
        return super().put(name, version, b"") > 0 if version else False


@mutant
class PrefixesAreIgnored(StateTable):
    def records(self, prefix: str, limit: int, after: str) -> list[StateRecord]:
        return super().records("", limit, after)


@mutant
class PrefixesAreWholeNames(StateTable):
    def records(self, prefix: str, limit: int, after: str) -> list[StateRecord]:
        return [record for record in super().records(prefix, limit, after) if record.name == prefix or not prefix]


@mutant
class ListsOfStatesHaveNoLimit(StateTable):
    def records(self, prefix: str, limit: int, after: str) -> list[StateRecord]:
        return super().records(prefix, 1_000, after)


@mutant
class PagesOfStatesOverlap(StateTable):
    def records(self, prefix: str, limit: int, after: str) -> list[StateRecord]:
        return super().records(prefix, limit, after[:-1])


@mutant
class NamesOfStatesAreCutShort(StateTable):
    def put(self, name: str, version: int, body: bytes) -> int:
        return super().put(name[:150], version, body)

    def get(self, name: str) -> StateRow | None:
        return super().get(name[:150])


@mutant
class ChangesOfStatesSendNothing(MemoryStates):
    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        return super().put_state(name, version, body)


@mutant
class StaleChangesOfStatesSend(MemoryStates):
    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        new = super().put_state(name, version, body, outgoing)
        if not new:
            self._outbox.add(outgoing, self._calls.clock(), Hints())
        return new


@mutant
class BadMessagesAreSeenTooLate(MemoryStates):
    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        super().put_state(name, version, body)
        return super().put_state(name, version, body, outgoing)


@mutant
class ChangesOfStatesAreTwoSteps(MemoryStates):
    """Look, let others look, and only then change."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._others = Barrier(2)

    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        if version != (row.version if (row := self.get_state(name)) else 0):
            return super().put_state(name, version, body, outgoing)
        with suppress(BrokenBarrierError):
            self._others.wait(0.01)
        self._others.reset()
        return super().put_state(name, row.version if (row := self.get_state(name)) else 0, body, outgoing)
