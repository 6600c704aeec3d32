"""One delivery, from its slot to the settler: a row of small steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import get_cancelled_exc_class

from ..brokers.protocol import Feature
from ..current import CurrentJob
from ..events import EventKind, Events
from ..loop.direct import loop_clock
from ..model.failure import Failure
from ..model.options import KINDS
from ..model.reasons import WORKER_STOPS
from ..model.states import JobState
from ..registry import HERE, Registry
from .attempt import Attempts, NativeCancels
from .attempt_context import LocalContext
from .batch import InFlightBatch
from .batches import BatchRunner
from .collecting import Collecting
from .ending import SUCCEED, Bury, Fail, Release, decide_ending
from .executors import Execute, Executors
from .hand_over import HandOver
from .in_flight import InFlightJob
from .log_notes import LogNotes
from .options import WorkerSettings
from .pauses import PauseWatch
from .prepare import Call, Preparer
from .reporting import Reporter
from .settler import Settler
from .starting import SUSPECT_CRASHES, Starter
from .streaming import Streams

_log = logging.getLogger("nursery_tasks.worker")


class Runner:
    """Runs deliveries for all slots of one worker; holds what they share.

    Args:
        state: The worker's resources, for `current_job().state`.
        limit_bytes: Larger results fail their job.
        hand_over: Where an attempt's slot is given back while its handler waits.
        collecting: Where jobs of batch tasks wait until they are enough.
        is_late: Says whether a lease is too old for a start; None: leases cannot be lost to another process.
        pauses: What is not to start for now.
        notes: Takes notes for the log of events.
        streams: Where the items of handlers go that make many of one message.
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
        collecting: Collecting,
        is_late: Callable[[InFlightJob], bool] | None,
        pauses: PauseWatch,
        notes: LogNotes,
        streams: Streams,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.processed = 0
        self.batched = 0  # of these, attempts in batches
        self.interrupted = 0  # attempts that were cancelled because the worker stops; their jobs are given back, or dead
        self.seconds_per_job: float | None = None  # moving average, with decoding, for intake's prefetch
        self._clock = loop_clock()
        self.last_ended = self._clock()  # when the latest attempt was over, on the loop's clock
        preparer = Preparer(
            registry,
            limit_bytes,
            KINDS if not settings.threads else HERE,
            parks=settler.broker.parking is not None,
            keeps_starts=Feature.ONCE in settler.broker.features,
        )
        self._registry = registry
        self._settler = settler
        self.reporter = Reporter(settler, events, registry, limit_bytes, settings.name, now, notes)
        self._settings = settings
        self._state = state
        self._hand_over = hand_over
        self._streams = streams
        self._fraction = settings.fraction
        self._now = now
        self._starter = Starter(preparer, settler, self.reporter, is_late, pauses)
        self.executors = Executors(registry, settings, limit_bytes)
        self._attempts = Attempts(owns_signals=settings.owns_signals, middleware=registry.middleware.attempt)
        self._batches = BatchRunner(
            self._starter,
            self.executors,
            self._attempts,
            settler,
            self.reporter,
            settings,
            state,
            hand_over,
            collecting,
            self._note_batch_ended,
            now,
        )

    async def run(self, job: InFlightJob, native_cancels: NativeCancels) -> None:
        """Run one delivery, and settle or release it: one of the two, once, or else its lease runs out.

        Args:
            native_cancels: Of the child that this is called in.

        What is not the handler may run code of the user's, too (decoders, encoders, `__str__`), and that may do anything.
        """
        try:
            await self._run(job, native_cancels)
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

    async def _run(self, job: InFlightJob, native_cancels: NativeCancels) -> None:
        began = self._clock()
        if isinstance(job, InFlightBatch):
            await self._batches.run(job, native_cancels)
            return
        call = self._starter.prepared(job, began)
        if call is None:
            return
        if call.spec.batch is not None:
            self.last_ended = began  # collecting is no attempt, and lets the others run now and then all the same
            await self._batches.take(job, call, native_cancels)
            return
        # A durable workflow waits for jobs that may be suspects, too.
        if job.delivery.crashes >= SUSPECT_CRASHES and not call.spec.durable:
            async with self._starter.alone(job):
                await self._reserve_and_call(job, call, began, native_cancels)
        else:
            await self._reserve_and_call(job, call, began, native_cancels)

    def _reserve_and_call(
        self, job: InFlightJob, call: Call, began: float, native_cancels: NativeCancels
    ) -> Coroutine[Any, Any, None]:
        if self.executors.limits(call):
            return self._call_in_place(job, call, native_cancels)
        return self._start_and_call(job, call, began, self.executors.call, native_cancels)

    async def _call_in_place(self, job: InFlightJob, call: Call, native_cancels: NativeCancels) -> None:
        async with self.executors.reserved(job, call) as execute:  # its place first: waiting for it is no part of the attempt
            now, starter = self._clock(), self._starter
            if (
                starter.settled_meanwhile(job, now)
                or starter.settled_too_late(job, call, now)
                or starter.settled_paused(job, call)
            ):
                return
            await self._start_and_call(job, call, now, execute, native_cancels)

    async def _start_and_call(
        self, job: InFlightJob, call: Call, began: float, execute: Execute, native_cancels: NativeCancels
    ) -> None:
        is_stored = call.once or job.delivery.lapses > 0
        if is_stored:
            await self._settler.store_starts([job])
            if job.cancelled:  # while its start was being stored
                self._starter.settle_cancelled(job)
                return
            began = self._clock()
        job.began_at = began_at = self._now()
        self._starter.begin(job, began, is_stored=is_stored)
        current = self._current_job(job, call)
        job.call = call
        end = await self._attempts.run(job, call, current, execute, native_cancels)
        job.scope = None
        if job.shared_leases is not None:
            job.note_running(running=False)
        job.context = job.call = None  # they refer to each other: the cycle collector would cost a third of a short job
        verdict = decide_ending(end, self._fraction())
        is_interrupted = verdict is not SUCCEED and isinstance(verdict, Release | Bury) and verdict.interrupted
        self._note_ended(began, end.now, 1, is_interrupted)
        self.reporter.report(job, call.spec, verdict, end.value, began_at)

    def _current_job(self, job: InFlightJob, call: Call) -> CurrentJob:
        delivery, message, stage = job.delivery, call.message, call.spec.stage
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
            headers=message.headers or {},
            slot=message.slot,
            state=self._state,
            _report=lambda value: self.reporter.report_progress(job, value),
            context=job.context,
            items=None if stage is None or not stage.many else self._streams.of_job(call.spec, stage, delivery),
        )

    def give_back(self, job: InFlightJob) -> None:
        """Give a job back that a slot has taken, and of which nothing is settled; what may not start twice has ended."""
        if isinstance(job, InFlightBatch):
            self._batches.give_back(job)
            return
        call = job.call  # None: its handler has not begun
        if call is not None and call.once:
            self.reporter.report(job, call.spec, Bury(WORKER_STOPS), None, job.began_at)
        else:
            self._settler.release(job)

    def give_up(self, job: InFlightJob, late_seconds: float) -> None:
        """Say that a handler does not end: of its job, which has failed if it is out of time, and is unresponsive otherwise."""
        detail = (
            f"its handler has not ended {late_seconds:.0f} s after it was told to; it costs worker {self._settings.name} a slot"
        )
        if isinstance(job, InFlightBatch):
            self._batches.give_up(job, detail)
            return
        call = job.call
        assert call is not None  # its handler runs
        self.reporter.tell(job, EventKind.UNRESPONSIVE, attempt=job.delivery.attempt, detail=detail)
        verdict = decide_ending(self._attempts.end_of(job, call, given_up=True), self._fraction())
        if isinstance(verdict, Fail):
            verdict.error.add_note(f"{detail}, and the job is not tried again: it may still be running")
        self.reporter.report(job, call.spec, verdict, None, job.began_at)

    def collects(self, job: InFlightJob) -> bool:
        """Say whether a slot that takes this runs no attempt of its own."""
        spec = self._registry.tasks.get(job.delivery.task)
        return isinstance(job, InFlightBatch) or (spec is not None and spec.batch is not None)

    def _note_batch_ended(self, began: float, ended: float, jobs: int, interrupted: int) -> None:
        self.batched += jobs
        self._note_ended(began, ended, jobs, interrupted)

    def _note_ended(self, began: float, ended: float, jobs: int, interrupted: int) -> None:
        """Note the end of a call, for so many jobs; when it began and ended, on the loop's clock."""
        self.processed += jobs
        self.interrupted += interrupted
        self.last_ended = ended
        average, seconds = self.seconds_per_job, (ended - began) / jobs
        self.seconds_per_job = seconds if average is None else average + (seconds - average) * 0.1
