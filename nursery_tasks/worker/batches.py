"""The jobs of batch tasks, from their slots to the settler: one call, and an end for each job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final

from anyio import current_time, get_cancelled_exc_class

from ..current import BatchedJob, CurrentJob
from ..events import EventKind
from ..model.failure import Failure
from ..model.reasons import WORKER_STOPS
from ..model.states import JobState
from .attempt import Attempts, NativeCancels
from .attempt_context import LocalContext
from .batch import InFlightBatch
from .batch_ending import ends_of
from .collecting import Collecting
from .ending import AttemptEnd, Bury, Fail, Release, decide_ending
from .executors import Execute, Executors
from .hand_over import HandOver
from .in_flight import InFlightJob
from .options import WorkerSettings
from .prepare import Call
from .reporting import Reporter
from .settler import Settler
from .starting import SUSPECT_CRASHES, Starter

ALONE_LAPSES: Final = 2  # leases that ran out on a job: it, or one that was in a batch with it, may be the cause

_log = logging.getLogger("nursery_tasks.worker")


class BatchRunner:
    """Collects and runs what belongs to batch tasks, for all slots of one worker.

    Args:
        state: The worker's resources, for `current_job().state`.
        on_ended: Told of each call that has ended: when it began and ended, on the loop's clock, for how many jobs, and how
            many of those go back because the worker stops.
        now: Epoch seconds, for display.
    """

    def __init__(
        self,
        starter: Starter,
        executors: Executors,
        attempts: Attempts,
        settler: Settler,
        reporter: Reporter,
        settings: WorkerSettings,
        state: dict[str, Any],
        hand_over: HandOver,
        collecting: Collecting,
        on_ended: Callable[[float, float, int, int], None],
        now: Callable[[], float],
    ) -> None:
        self._starter = starter
        self._executors = executors
        self._attempts = attempts
        self._settler = settler
        self._reporter = reporter
        self._settings = settings
        self._state = state
        self._hand_over = hand_over
        self._collecting = collecting
        self._on_ended = on_ended
        self._now = now
        collecting.on_left = starter.settle_cancelled

    async def take(self, job: InFlightJob, call: Call, native_cancels: NativeCancels) -> None:
        """Collect a job, and run its batch when that is full.

        One that may have killed its workers is run alone, so that the guilty one is found, and its neighbours are not charged.
        """
        if job.delivery.lapses >= ALONE_LAPSES:
            await self.run(self._collecting.add_alone(job, call), native_cancels)
        elif (batch := self._collecting.add(job, call)) is not None:
            await self.run(batch, native_cancels)

    async def run(self, batch: InFlightBatch, native_cancels: NativeCancels) -> None:
        """Run one batch, and settle or release each of its jobs.

        Args:
            native_cancels: Of the child that this is called in.

        Cancellation:
            They are given back.
        """
        suspect = any(job.delivery.crashes >= SUSPECT_CRASHES for job in batch.members)
        try:
            async with self._starter.alone(batch.members[0]) if suspect else nullcontext():
                await self._reserve_and_call(batch, native_cancels)
        except get_cancelled_exc_class():
            self.give_back(batch)
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self._settings.owns_signals:
                self.give_back(batch)
                raise
            _log.exception("something around the handler of a batch of %s failed", batch.spec.name)
            for job in batch.members:
                self._fail_around(job, error)

    async def _reserve_and_call(self, batch: InFlightBatch, native_cancels: NativeCancels) -> None:
        self._drop_settled(batch)
        if not batch.members:
            return
        call = batch.make_call()
        if not self._executors.limits(call):
            await self._start_and_call(batch, self._executors.call, native_cancels)
            return
        batch.expires_deadline = batch.latest_start
        async with self._executors.reserved(batch, call) as execute:
            await self._start_and_call(batch, execute, native_cancels)

    async def _start_and_call(self, batch: InFlightBatch, execute: Execute, native_cancels: NativeCancels) -> None:
        promised = [job for job in batch.members if _is_stored_before(job)]
        if promised:
            await self._settler.store_starts(promised)
        self._drop_settled(batch)
        if not batch.members:
            return
        began_at, began = self._now(), current_time()
        for job in batch.members:
            job.began_at = began_at
            self._starter.begin(job, began, is_stored=_is_stored_before(job))
        call = self._begin(batch, began_at)
        with self._collecting.running(batch):
            current = self._current_job(batch, call)
            end = await self._attempts.run(batch, call, current, execute, native_cancels)
        batch.scope = batch.context = batch.call = None
        interrupted = self._report(batch, end)
        self._on_ended(began, end.now, len(batch.members), interrupted)

    # --- before ----------------------------------------------------------------------------------------------------------

    def _drop_settled(self, batch: InFlightBatch) -> None:
        """Settle what is not to start any more."""
        now, starter = current_time(), self._starter
        for job in list(batch.members):
            call = job.call
            assert call is not None  # it is in the batch
            settled = starter.settled_meanwhile(job, now) or starter.settled_too_late(job, call, now)
            if (settled or starter.settled_paused(job, call)) and job.in_batch is batch:  # else it has left by itself
                batch.remove(job)

    def _begin(self, batch: InFlightBatch, began_at: float) -> Call:
        """Let no job leave from now on; returns what to call."""
        call = batch.make_call()
        batch.begun, batch.began_at, batch.call = True, began_at, call
        batch.delivery = batch.members[0].delivery
        return call

    def _current_job(self, batch: InFlightBatch, call: Call) -> CurrentJob:
        batch.context = context = LocalContext(batch, self._settler.broker, self._hand_over)
        if call.timeout_seconds is not None or call.deadline is not None:
            context.limited()
        jobs = [_shown(job) for job in batch.members]
        first = jobs[0]
        return CurrentJob(
            id=first.id,
            task=batch.spec.name,
            attempt=first.attempt,
            queue=batch.delivery.queue,
            worker=self._settings.name,
            parent=first.parent,
            tags=first.tags,
            headers=dict(first.headers),
            slot=first.slot,
            state=self._state,
            batch=tuple(jobs),
            _report=lambda value: self._report_progress(batch, value),
            context=context,
        )

    def _report_progress(self, batch: InFlightBatch, value: Any) -> None:
        for job in batch.members:
            self._reporter.report_progress(job, value)

    # --- after -----------------------------------------------------------------------------------------------------------

    def give_back(self, batch: InFlightBatch) -> None:
        """Give those back of which nothing is settled; what may not start twice, and has begun, has ended."""
        for job in batch.members if batch.begun else ():
            if job.call is not None and job.call.once and not job.ended:
                self._reporter.report(job, batch.spec, Bury(WORKER_STOPS), None, job.began_at)
        self._settler.release(batch)

    def give_up(self, batch: InFlightBatch, detail: str) -> None:
        """Say of each job that its handler does not end; those that are out of time have failed."""
        assert batch.call is not None  # its handler runs
        for job in batch.members:
            self._reporter.tell(job, EventKind.UNRESPONSIVE, attempt=job.delivery.attempt, detail=detail)
        end = self._attempts.end_of(batch, batch.call, given_up=True)
        for job, own in zip(batch.members, ends_of(end, batch.members), strict=True):
            verdict = decide_ending(own, self._settings.fraction())
            if isinstance(verdict, Fail):
                verdict.error.add_note(f"{detail}, and the job is not tried again: it may still be running")
            self._reporter.report(job, batch.spec, verdict, None, job.began_at)

    def _report(self, batch: InFlightBatch, end: AttemptEnd) -> int:
        """Say what became of each job; returns how many were interrupted because the worker stops."""
        interrupted = 0
        for job, own in zip(batch.members, ends_of(end, batch.members), strict=True):
            job.note_running(running=False)
            job.over = True
            job.call = job.in_batch = None
            verdict = decide_ending(own, self._settings.fraction())
            interrupted += isinstance(verdict, Release | Bury) and verdict.interrupted
            try:
                self._reporter.report(job, batch.spec, verdict, own.value, job.began_at)
            except BaseException as error:  # an encoder of the user's: the others have nothing to do with it
                if isinstance(error, KeyboardInterrupt) and not self._settings.owns_signals:
                    raise
                _log.exception("something around the handler of job %s failed", job.delivery.id)
                self._fail_around(job, error)
        batch.ended = True
        return interrupted

    def _fail_around(self, job: InFlightJob, error: BaseException) -> None:
        if not job.ended:
            failure = Failure(type(error).__name__, f"raised around the handler of {job.delivery.task!a}, not inside it")
            self._reporter.finish(job, JobState.FAILED, error=failure, attempt=job.delivery.attempt)


def _is_stored_before(job: InFlightJob) -> bool:
    """Say whether the start of a job is stored before its handler runs."""
    return job.delivery.lapses > 0 or (job.call is not None and job.call.once)


def _shown(job: InFlightJob) -> BatchedJob:
    call = job.call
    assert call is not None  # its batch begins
    message = call.message
    return BatchedJob(
        job.delivery.id,
        job.delivery.attempt,
        message.parent,
        message.tags or (),
        message.headers or {},
        message.slot,
    )
