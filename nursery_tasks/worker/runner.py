"""One delivery, from its slot to the settler: a row of small steps."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio import Lock, current_time, get_cancelled_exc_class, move_on_after

from ..brokers.protocol import Feature
from ..current import CurrentJob
from ..events import EventKind, Events
from ..model.failure import Failure
from ..model.options import KINDS
from ..model.reasons import DEADLINE_OVER, NOT_STARTED_IN_TIME
from ..model.states import JobState
from ..registry import HERE, Registry
from .attempt import end_of, run_attempt
from .attempt_context import LocalContext
from .ending import WORKER_STOPS, Bury, Fail, Release, decide_ending
from .executors import Execute, Executors
from .hand_over import HandOver
from .in_flight import InFlightJob
from .options import WorkerSettings
from .prepare import Call, FailUnstarted, MarkDead, Preparer, ReleaseUnstarted
from .reporting import Reporter
from .settler import Settler

SUSPECT_CRASHES: Final = 2  # workers that died while they ran a job: it, or one of those that ran beside it, is the cause
SUSPECT_SECONDS: Final = 5.0  # how long a suspect waits for the one before it to end

_log = logging.getLogger("nursery_tasks.worker")


class Runner:
    """Runs deliveries for all slots of one worker; holds what they share.

    Args:
        state: The worker's resources, for `current_job().state`.
        limit_bytes: Larger results fail their job.
        hand_over: Where an attempt's slot is given back while its handler waits.
        is_late: Says whether a lease is too old for a start; None: leases cannot be lost to another process.
        now: Epoch seconds, for display.
    """

    def __init__(
        self,
        registry: Registry,
        settler: Settler,
        events: Events,
        settings: WorkerSettings,
        state: dict[str, Any],
        limit_bytes: int,
        hand_over: HandOver,
        is_late: Callable[[InFlightJob], bool] | None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.processed = 0
        self.interrupted = 0  # attempts that were cancelled because the worker stops; their jobs are given back, or dead
        self.seconds_per_job: float | None = None  # moving average, with decoding, for intake's prefetch
        self.last_ended = current_time()  # when the latest attempt was over, on the loop's clock
        self._preparer = Preparer(
            registry,
            limit_bytes,
            KINDS if not settings.threads else HERE,
            parks=settler.broker.parking is not None,
            keeps_starts=Feature.ONCE in settler.broker.features,
        )
        self._settler = settler
        self.reporter = Reporter(settler, events, registry.codec, limit_bytes, settings.name, now)
        self._events = events
        self._settings = settings
        self._state = state
        self._hand_over = hand_over
        self._is_late = is_late
        self._fraction = settings.fraction
        self._now = now
        self._suspects = Lock()
        self.executors = Executors(registry, settings, limit_bytes)

    async def run(self, job: InFlightJob) -> None:
        """Run one delivery, and settle or release it: one of the two, once, or else its lease runs out.

        What is not the handler may run code of the user's, too (decoders, encoders, `__str__`), and that may do anything.
        """
        try:
            await self._run(job)
        except get_cancelled_exc_class():
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self._settings.owns_signals:
                raise
            _log.exception("something around the handler of job %s failed", job.delivery.id)
            if job.ended:
                return
            failure = Failure(type(error).__name__, f"raised around the handler of {job.delivery.task!a}, not inside it")
            self.reporter.finish(job, JobState.FAILED, error=failure, attempt=job.delivery.attempt)

    async def _run(self, job: InFlightJob) -> None:
        began = current_time()  # asked twice per job and passed on: it costs as much as encoding an outcome
        call = self._prepared(job, began)
        if call is None:
            return
        # A durable workflow waits for jobs that may be suspects, too.
        if job.delivery.crashes >= SUSPECT_CRASHES and not call.spec.durable:
            async with self._alone():
                await self._reserve_and_call(job, call, began)
        else:
            await self._reserve_and_call(job, call, began)

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None, None]:
        """Let no other suspect run here meanwhile, so that a worker's death is charged to one of them; bounded."""
        with move_on_after(SUSPECT_SECONDS) as turn:
            await self._suspects.acquire()
        try:
            yield
        finally:
            if not turn.cancelled_caught:
                self._suspects.release()

    async def _reserve_and_call(self, job: InFlightJob, call: Call, began: float) -> None:
        if not self.executors.limits(call):
            await self._start_and_call(job, call, began, self.executors.call)
            return
        async with self.executors.reserved(job, call) as execute:  # its place first: waiting for it is no part of the attempt
            now = current_time()
            if self._settled_meanwhile(job, now):
                return
            if call.deadline is not None and now >= call.deadline:
                self.reporter.finish(job, JobState.CANCELLED, reason=DEADLINE_OVER)
                return
            await self._start_and_call(job, call, now, execute)

    async def _start_and_call(self, job: InFlightJob, call: Call, began: float, execute: Execute) -> None:
        is_stored = call.once or job.delivery.lapses > 0
        if is_stored:
            if not await self._settler.store_start(job):
                job.lose()
            if job.cancelled:  # while its start was being stored
                self._settle_cancelled(job)
                return
            began = current_time()
        began_at = self._now()
        self._begin(job, began, is_stored)
        current = self._current_job(job, call)
        job.began_at, job.call = began_at, call
        end = await run_attempt(job, call, current, execute=execute, owns_signals=self._settings.owns_signals)
        job.scope = None
        job.note_running(running=False)
        job.context = job.call = None  # they refer to each other: the cycle collector would cost a third of a short job
        self.processed += 1
        self.last_ended = end.now
        self._note_duration(end.now - began)
        verdict = decide_ending(end, self._fraction())
        if isinstance(verdict, Release | Bury):
            self.interrupted += verdict.interrupted
        self.reporter.report(job, call.spec, verdict, end.value, began_at)

    # --- before ----------------------------------------------------------------------------------------------------------

    def _prepared(self, job: InFlightJob, now: float) -> Call | None:
        """Return what to call; None: the delivery is settled without a call."""
        delivery = job.delivery
        if self._settled_meanwhile(job, now):
            return None
        step = self._preparer.prepare(delivery, now, job.since)
        if isinstance(step, Call):
            job.address = step.address
            if step.deadline is None or now < step.deadline:
                return step
            self.reporter.finish(job, JobState.CANCELLED, reason=DEADLINE_OVER)
            return None
        if isinstance(step, ReleaseUnstarted):
            self._settler.release(job, step.delay_seconds, step.park)
            wait_seconds = step.delay_seconds if step.park is None else None
            self.reporter.tell(job, EventKind.RELEASED, detail=step.detail, wait_seconds=wait_seconds)
        elif isinstance(step, MarkDead):
            job.address = step.address
            self.reporter.finish(job, JobState.DEAD, reason=step.reason)
        elif isinstance(step, FailUnstarted):
            job.address = step.address
            self.reporter.finish(job, JobState.FAILED, error=self.reporter.describe(step.error), attempt=delivery.attempt)
        return None

    def _settled_meanwhile(self, job: InFlightJob, now: float | None = None) -> bool:
        """Settle a job that was cancelled, has expired, or may belong to somebody else by now, while it waited here."""
        if self._is_late is not None and self._is_late(job):
            job.lose()
        if job.cancelled:
            job.address = self._preparer.find_address(job.delivery)
            self._settle_cancelled(job)
        elif job.expires_deadline is not None and (current_time() if now is None else now) >= job.expires_deadline:
            job.address = self._preparer.find_address(job.delivery)
            self.reporter.finish(job, JobState.EXPIRED, reason=NOT_STARTED_IN_TIME)
        else:
            return False
        return True

    def _settle_cancelled(self, job: InFlightJob) -> None:
        if job.lost:
            self._settler.release(job)
        else:
            self.reporter.finish(job, JobState.CANCELLED, reason=job.cancel_reason)

    def _begin(self, job: InFlightJob, began: float, is_stored: bool) -> None:
        job.note_running(running=True)
        if not is_stored:
            self._settler.mark_started(job, began)
        if self._events.listeners:
            self.reporter.tell(job, EventKind.STARTED, attempt=job.delivery.attempt)

    def _current_job(self, job: InFlightJob, call: Call) -> CurrentJob:
        delivery, message = job.delivery, call.message
        job.context = context = LocalContext(job, self._settler.broker, self._hand_over)
        if call.timeout_seconds is not None or call.deadline is not None:
            context.limited()
        return CurrentJob(
            id=delivery.id,
            task=call.spec.name,
            attempt=delivery.attempt,
            queue=delivery.queue,
            worker=self._settings.name,
            parent=message.parent,
            tags=message.tags or (),
            slot=message.slot,
            state=self._state,
            _report=lambda value: self.reporter.report_progress(job, value),
            context=job.context,
        )

    def give_back(self, job: InFlightJob) -> None:
        """Give a job back that a slot has taken, and of which nothing is settled; what may not start twice has ended."""
        call = job.call  # None: its handler has not begun
        if call is not None and call.once:
            self.reporter.report(job, call.spec, Bury(WORKER_STOPS), None, job.began_at)
        else:
            self._settler.release(job)

    # --- after -----------------------------------------------------------------------------------------------------------

    def give_up(self, job: InFlightJob, late_seconds: float) -> None:
        """Say that a handler does not end: of its job, which has failed if it is out of time, and is unresponsive otherwise."""
        call = job.call
        assert call is not None  # its handler runs
        detail = (
            f"its handler has not ended {late_seconds:.0f} s after it was told to; it costs worker {self._settings.name} a slot"
        )
        self.reporter.tell(job, EventKind.UNRESPONSIVE, attempt=job.delivery.attempt, detail=detail)
        verdict = decide_ending(end_of(job, call, given_up=True), self._fraction())
        if isinstance(verdict, Fail):
            verdict.error.add_note(f"{detail}, and the job is not tried again: it may still be running")
        self.reporter.report(job, call.spec, verdict, None, job.began_at)

    def _note_duration(self, seconds: float) -> None:
        average = self.seconds_per_job
        self.seconds_per_job = seconds if average is None else average + (seconds - average) * 0.1
