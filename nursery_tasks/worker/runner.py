"""One delivery, from a slot's hand to the settler's: a row of small steps."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from anyio import Lock, current_time, get_cancelled_exc_class, move_on_after
from msgspec import Raw

from ..current import CurrentJob
from ..errors import JobTimedOut, NotSerializable, PayloadTooLarge
from ..events import EventKind, Events, JobEvent
from ..execution.results import encode_result
from ..model.again import Again, decide_retry
from ..model.codec import pack_outcome
from ..model.delivery import Finished, Reply, Retried
from ..model.failure import Failure, ForeignError, describe_safely
from ..model.options import KINDS, MAX_PROGRESS_BYTES
from ..model.outcome import GIVEN_BACK, LEASE_LOST, NOTHING, TIMED_OUT, Outcome
from ..model.reasons import DEADLINE_OVER, NOT_STARTED_IN_TIME
from ..model.reply import pack_error
from ..model.retry import Retry, told_by
from ..model.states import JobState
from ..registry import HERE, Registry
from .attempt import run_attempt
from .executors import Execute, Executors
from .foreign import pack_answer
from .hand_over import HandOver
from .held import Held
from .hold import AttemptHold
from .judge import Ending, Interrupted, Raised, Returned, WasCancelled
from .options import WorkerSettings
from .prepare import Bury, Call, GiveBack, Preparer, Refuse
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
        is_late: Callable[[Held], bool] | None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.processed = 0
        self.interrupted = 0  # attempts that were cancelled because the worker stops; their jobs are given back
        self.seconds_per_job: float | None = None  # moving average, with decoding, for intake's prefetch
        self.last_ended = current_time()  # when the latest attempt was over, on the loop's clock
        self._registry = registry
        self._preparer = Preparer(registry, limit_bytes, KINDS if not settings.threads else HERE)
        self._settler = settler
        self._events = events
        self._settings = settings
        self._state = state
        self._limit_bytes = limit_bytes
        self._hand_over = hand_over
        self._is_late = is_late
        self._fraction = settings.fraction
        self._now = now
        self._suspects = Lock()
        self.executors = Executors(registry, settings, limit_bytes)

    async def run(self, held: Held) -> None:
        """Run one delivery, and settle or release it: one of the two, once, or else its lease runs out.

        What is not the handler may run code of the user's, too (decoders, encoders, `__str__`), and that may do anything.
        """
        try:
            await self._run(held)
        except get_cancelled_exc_class():
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self._settings.owns_signals:
                raise
            _log.exception("something around the handler of job %s failed", held.delivery.id)
            if held.ended:
                return
            failure = Failure(type(error).__name__, f"raised around the handler of {held.delivery.task!a}, not inside it")
            self._finish(held, JobState.FAILED, error=failure, attempt=held.delivery.attempt)

    async def _run(self, held: Held) -> None:
        began = current_time()  # asked twice per job and passed on: it costs as much as encoding an outcome
        call = self._prepared(held, began)
        if call is None:
            return
        # A durable workflow waits for jobs that may be suspects, too.
        if held.delivery.crashes >= SUSPECT_CRASHES and not call.spec.durable:
            async with self._alone():
                await self._reserve_and_call(held, call, began)
        else:
            await self._reserve_and_call(held, call, began)

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None, None]:
        """Let no other suspect run here meanwhile, so that a worker's death is charged to one of them; bounded by patience."""
        with move_on_after(SUSPECT_SECONDS) as patience:
            await self._suspects.acquire()
        try:
            yield
        finally:
            if not patience.cancelled_caught:
                self._suspects.release()

    async def _reserve_and_call(self, held: Held, call: Call, began: float) -> None:
        if not self.executors.limits(call):
            await self._start_and_call(held, call, began, self.executors.call)
            return
        async with self.executors.reserved(held, call) as execute:  # its place first: waiting for it is no part of the attempt
            now = current_time()
            if self._settled_meanwhile(held, now):
                return
            if call.deadline is not None and now >= call.deadline:
                self._finish(held, JobState.CANCELLED, reason=DEADLINE_OVER)
                return
            await self._start_and_call(held, call, now, execute)

    async def _start_and_call(self, held: Held, call: Call, began: float, execute: Execute) -> None:
        if held.delivery.lapses:
            if not await self._settler.store_start(held):
                held.lose()
            if held.cancelled:  # while its start was being stored
                self._settle_cancelled(held)
                return
            began = current_time()
        began_at = self._now()
        self._begin(held, began)
        job = self._current_job(held, call)
        held.began_at, held.call = began_at, call
        ending = await run_attempt(held, call, job, execute=execute, owns_signals=self._settings.owns_signals)
        held.over, held.scope = True, None
        held.hold = held.call = None  # they refer to each other: the cycle collector would cost a third of a short job
        self.last_ended = current_time()
        self._note_duration(self.last_ended - began)
        self._settle(held, call, ending, began_at)

    # --- before ----------------------------------------------------------------------------------------------------------

    def _prepared(self, held: Held, now: float) -> Call | None:
        """Return what to call; None: the delivery is settled without a call."""
        delivery = held.delivery
        if self._settled_meanwhile(held, now):
            return None
        step = self._preparer.prepare(delivery, now, held.since)
        if isinstance(step, Call):
            held.address = step.address
            if step.deadline is None or now < step.deadline:
                return step
            self._finish(held, JobState.CANCELLED, reason=DEADLINE_OVER)
            return None
        if isinstance(step, GiveBack):
            self._settler.release(held, step.delay_seconds)
            self._tell(held, EventKind.RELEASED, detail=step.detail, wait_seconds=step.delay_seconds)
        elif isinstance(step, Bury):
            held.address = step.address
            self._finish(held, JobState.DEAD, reason=step.reason)
        elif isinstance(step, Refuse):
            held.address = step.address
            self._finish(held, JobState.FAILED, error=self._describe(step.error), attempt=delivery.attempt)
        return None

    def _settled_meanwhile(self, held: Held, now: float | None = None) -> bool:
        """Settle a job that was cancelled, has expired, or may belong to somebody else by now, while it waited here."""
        if self._is_late is not None and self._is_late(held):
            held.lose()
        if held.cancelled:
            held.address = self._preparer.find_address(held.delivery)
            self._settle_cancelled(held)
        elif held.expires_deadline is not None and (current_time() if now is None else now) >= held.expires_deadline:
            held.address = self._preparer.find_address(held.delivery)
            self._finish(held, JobState.EXPIRED, reason=NOT_STARTED_IN_TIME)
        else:
            return False
        return True

    def _settle_cancelled(self, held: Held) -> None:
        if held.lost:
            self._settler.release(held)
        else:
            self._finish(held, JobState.CANCELLED, reason=held.cancel_reason)

    def _begin(self, held: Held, began: float) -> None:
        if not held.delivery.lapses:
            self._settler.mark_started(held, began)
        if self._events.listeners:
            self._tell(held, EventKind.STARTED, attempt=held.delivery.attempt)

    def _current_job(self, held: Held, call: Call) -> CurrentJob:
        delivery, message = held.delivery, call.message
        held.hold = hold = AttemptHold(held, self._settler.broker, self._hand_over)
        if call.timeout_seconds is not None or call.deadline is not None:
            hold.limited()
        return CurrentJob(
            id=delivery.id,
            task=call.spec.name,
            attempt=delivery.attempt,
            queue=delivery.queue,
            worker=self._settings.name,
            parent=message.parent,
            tags=message.tags,
            state=self._state,
            _report=lambda value: self._report(held, value),
            hold=held.hold,
        )

    def _report(self, held: Held, value: Any) -> None:
        encoded = msgspec.json.encode(value)
        if len(encoded) > MAX_PROGRESS_BYTES:
            raise PayloadTooLarge(f"the progress of {held.delivery.task}", len(encoded), MAX_PROGRESS_BYTES, fixed=True)
        self._settler.report_progress(held, encoded)

    # --- after -----------------------------------------------------------------------------------------------------------

    def _settle(self, held: Held, call: Call, ending: Ending, began_at: float) -> None:
        self.processed += 1
        if held.ended:
            _log.warning("the handler of %s %s, which was given up, has ended", held.delivery.task, held.delivery.id)
            return
        match ending:
            case Returned(value):
                self._settle_value(held, call, value, began_at)
            case Raised(error, timed_out):
                self._settle_error(held, call, error, began_at, TIMED_OUT if timed_out else None)
            case WasCancelled(reason, error):
                failure = None if error is None else self._describe(error)
                attempt = held.delivery.attempt
                self._finish(held, JobState.CANCELLED, reason=reason, error=failure, attempt=attempt, began_at=began_at)
            case Interrupted(why):
                self.interrupted += why not in (LEASE_LOST, GIVEN_BACK)
                self._settler.release(held)
                self._tell(held, EventKind.RELEASED, attempt=held.delivery.attempt, detail=why)

    def _settle_value(self, held: Held, call: Call, value: Any, began_at: float) -> None:
        try:
            encoded = encode_result(call.spec, value, self._registry.codec, self._limit_bytes)
            address = held.address
            answer = None if address is None else pack_answer(address, call.spec, value, self._registry.codec)
        except (NotSerializable, PayloadTooLarge) as error:  # trying again would give the same
            self._fail(held, error, began_at)
            return
        self._finish(held, JobState.SUCCEEDED, value=encoded, attempt=held.delivery.attempt, began_at=began_at, answer=answer)

    def _settle_error(self, held: Held, call: Call, error: BaseException, began_at: float, reason: str | None) -> None:
        again = decide_retry(error, held.delivery.attempt, call.retry, self._fraction())
        if again is None:
            self._fail(held, error, began_at, reason)
        else:
            self._retry(held, error, again, began_at)

    def _retry(self, held: Held, error: BaseException, again: Again, began_at: float) -> None:
        attempt, failure = held.delivery.attempt, self._describe(error)
        outcome = Outcome(
            state=JobState.FAILED,
            error=failure,
            attempt=attempt,
            worker=self._settings.name,
            started_at=began_at,
            ended_at=self._now(),
        )
        self._settler.settle(held, Retried(held.delivery, again.wait_seconds, pack_outcome(outcome)))
        self._tell(
            held,
            EventKind.RETRYING,
            attempt=attempt,
            detail=_one_line(failure),
            wait_seconds=again.wait_seconds,
            began_at=began_at,
        )

    def _fail(self, held: Held, error: BaseException, began_at: float, reason: str | None = None) -> None:
        if isinstance(error, Retry):  # asked for one attempt too many: what it was raised from says more
            error = told_by(error)
        failure = error.last if isinstance(error, ForeignError) else self._describe(error)
        self._finish(held, JobState.FAILED, error=failure, reason=reason, attempt=held.delivery.attempt, began_at=began_at)

    def _finish(
        self,
        held: Held,
        state: JobState,
        *,
        value: bytes | None = None,
        error: Failure | None = None,
        reason: str | None = None,
        attempt: int = 0,
        began_at: float | None = None,
        answer: bytes | None = None,
    ) -> None:
        outcome = Outcome(
            state=state,
            value=NOTHING if value is None else Raw(value),
            error=error,
            reason=reason,
            attempt=attempt,
            worker=self._settings.name,
            started_at=began_at,
            ended_at=self._now(),
        )
        form = self._registry.codec.form if value is not None else "json"
        address = held.address
        reply = None
        if address is not None:
            reply = Reply(address.to, pack_error(address, outcome) if answer is None else answer)
        self._settler.settle(held, Finished(held.delivery, state, pack_outcome(outcome, form), reply))
        if self._events.listeners:
            detail = reason or (f"{error.type}: {error.text}" if error else None)
            self._tell(held, EventKind(state), attempt=attempt, detail=detail, began_at=began_at, failure=error)

    def give_up(self, held: Held, late_seconds: float) -> None:
        """Say that a handler does not end: of its job, which has failed if it is out of time, and is unresponsive otherwise."""
        call = held.call
        detail = (
            f"its handler has not ended {late_seconds:.0f} s after it was told to; it costs worker {self._settings.name} a slot"
        )
        self._tell(held, EventKind.UNRESPONSIVE, attempt=held.delivery.attempt, detail=detail)
        if call is None or held.cancelled or held.timeout_at > held.time_limit or current_time() < held.timeout_at:
            self._settler.mark_unresponsive(held)
            return
        error = JobTimedOut(held.delivery.id, call.spec.name, call.timeout_seconds)
        error.add_note(f"{detail}, and the job is not tried again: it may still be running")
        self._fail(held, error, held.began_at, TIMED_OUT)

    # --- small things ----------------------------------------------------------------------------------------------------

    def _describe(self, error: BaseException) -> Failure:
        return describe_safely(error, self._registry.codec.plain)

    def _note_duration(self, seconds: float) -> None:
        average = self.seconds_per_job
        self.seconds_per_job = seconds if average is None else average + (seconds - average) * 0.1

    def _tell(
        self,
        held: Held,
        kind: EventKind,
        *,
        attempt: int = 0,
        detail: str | None = None,
        wait_seconds: float | None = None,
        began_at: float | None = None,
        failure: Failure | None = None,
    ) -> None:
        if not self._events.listeners:
            return
        delivery, now = held.delivery, self._now()
        self._events.emit(
            JobEvent(
                kind=kind,
                job_id=delivery.id,
                task=delivery.task,
                queue=delivery.queue,
                at=now,
                attempt=attempt,
                worker=self._settings.name,
                seconds=None if began_at is None else now - began_at,
                wait_seconds=wait_seconds,
                detail=detail,
                remote_traceback=failure.traceback if failure else "",
            )
        )


def _one_line(failure: Failure) -> str:
    text = " ".join(failure.text.split())
    return f"{failure.type}: {text}"[:200] if text else failure.type
