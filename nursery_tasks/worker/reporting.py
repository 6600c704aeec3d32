"""Says what became of a delivery: to the broker, by way of the settler, and to whoever listens to events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from ..errors import NotSerializable, PayloadTooLarge
from ..events import EventKind, Events, JobEvent
from ..execution.results import encode_result
from ..model.codec import pack_outcome
from ..model.delivery import Finished, Reply, Retried
from ..model.failure import Failure, ForeignError, describe_safely
from ..model.options import MAX_PROGRESS_BYTES
from ..model.outcome import NOTHING, Outcome
from ..model.outgoing import Outgoing
from ..model.reasons import once_over
from ..model.reply import pack_error
from ..model.states import JobState
from ..registry import Registry, TaskSpec
from .ending import Bury, Cancel, Fail, Ignore, MarkUnresponsive, PutAside, Release, Succeed, TryAgain, Verdict
from .foreign import pack_answer
from .in_flight import InFlightJob
from .log_notes import END_KINDS, LogNotes
from .sending import Sending
from .settler import Settler

_log = logging.getLogger("nursery_tasks.worker")


class Reporter:
    """Tells how the jobs of one worker go, and how they end.

    Args:
        limit_bytes: Larger results fail their job.
        worker: Its name.
        now: Epoch seconds, for display.
        notes: Takes notes for the log of events.
    """

    def __init__(
        self,
        settler: Settler,
        events: Events,
        registry: Registry,
        limit_bytes: int,
        worker: str,
        now: Callable[[], float],
        notes: LogNotes,
    ) -> None:
        self.notes = notes
        self._settler = settler
        self._events = events
        self._codec = registry.codec
        self._sending = Sending(registry, limit_bytes)
        self._limit_bytes = limit_bytes
        self._worker = worker
        self._now = now

    def report(self, job: InFlightJob, spec: TaskSpec, verdict: Verdict, value: Any, began_at: float) -> None:
        """Say what became of a job after an attempt.

        Args:
            value: What the handler has returned.
            began_at: When the attempt began, in epoch seconds.
        """
        attempt = job.delivery.attempt
        match verdict:
            case Succeed():
                self._succeed(job, spec, value, began_at)
            case Fail(error, reason):
                failure = error.last if isinstance(error, ForeignError) else self.describe(error)
                self.finish(job, JobState.FAILED, error=failure, reason=reason, attempt=attempt, began_at=began_at)
            case TryAgain(error, wait_seconds):
                self._try_again(job, self.describe(error), wait_seconds, began_at)
            case PutAside(reason):
                self.finish(job, JobState.DEAD, reason=reason, attempt=attempt, began_at=began_at)
            case Cancel(reason, error):
                own = None if error is None else self.describe(error)
                self.finish(job, JobState.CANCELLED, reason=reason, error=own, attempt=attempt, began_at=began_at)
            case Release(why):
                self._settler.release(job)
                self.tell(job, EventKind.RELEASED, attempt=attempt, detail=why)
            case Bury(why):
                self.finish(job, JobState.DEAD, reason=once_over(why), attempt=attempt, began_at=began_at)
            case MarkUnresponsive():
                self._settler.mark_unresponsive(job)
            case Ignore():
                _log.warning("the handler of %s %s, which was given up, has ended", job.delivery.task, job.delivery.id)

    def _succeed(self, job: InFlightJob, spec: TaskSpec, value: Any, began_at: float) -> None:
        outgoing: tuple[Outgoing, ...] = ()
        try:
            if spec.stage is not None:
                value = self._sending.decoded(spec, spec.stage, value)
                outgoing = self._sending.of_result(spec, spec.stage, job.delivery, value)
                if value is None:  # silence: no answer
                    job.address = None
            is_sent = spec.stage is not None and job.delivery.raw  # no client has a handle on it, and it is stored once
            encoded = encode_result(spec, None if is_sent else value, self._codec, self._limit_bytes)
            answer = None if job.address is None else pack_answer(job.address, spec, value, self._codec)
        except (NotSerializable, PayloadTooLarge) as error:  # trying again would give the same
            self.report(job, spec, Fail(error), None, began_at)
            return
        attempt = job.delivery.attempt
        self.finish(
            job, JobState.SUCCEEDED, value=encoded, attempt=attempt, began_at=began_at, answer=answer, outgoing=outgoing
        )

    def _try_again(self, job: InFlightJob, failure: Failure, wait_seconds: float, began_at: float) -> None:
        attempt = job.delivery.attempt
        outcome = Outcome(
            state=JobState.FAILED,
            error=failure,
            attempt=attempt,
            worker=self._worker,
            started_at=began_at,
            ended_at=self._now(),
        )
        self._settler.settle(job, Retried(job.delivery, wait_seconds, pack_outcome(outcome)))
        self.tell(
            job,
            EventKind.RETRYING,
            attempt=attempt,
            detail=_one_line(failure),
            wait_seconds=wait_seconds,
            began_at=began_at,
            failure=failure,
        )

    def finish(
        self,
        job: InFlightJob,
        state: JobState,
        *,
        value: bytes | None = None,
        error: Failure | None = None,
        reason: str | None = None,
        attempt: int = 0,
        began_at: float | None = None,
        answer: bytes | None = None,
        outgoing: tuple[Outgoing, ...] = (),
    ) -> None:
        """Say that a job has ended.

        Args:
            attempt, began_at: The last attempt, if one began.
            answer: What another program gets, where one waits; None: the outcome in its words.
            outgoing: What leaves for channels.
        """
        ended_at = self._now()
        outcome = Outcome(
            state=state,
            value=NOTHING if value is None else Raw(value),
            error=error,
            reason=reason,
            attempt=attempt,
            worker=self._worker,
            started_at=began_at,
            ended_at=ended_at,
        )
        form = self._codec.form if value is not None else "json"
        address = job.address
        reply = None
        if address is not None:
            reply = Reply(address.to, pack_error(address, outcome) if answer is None else answer)
        if not outgoing and job.delivery.raw:
            outgoing = self._sending.of_end(job.delivery, outcome)
        self._settler.settle(job, Finished(job.delivery, state, pack_outcome(outcome, form), reply, outgoing))
        if not self._events.is_heard:
            return
        job.ended_at = ended_at
        is_plain = began_at is not None and reason is None and error is None
        if is_plain and not self._events.listeners:
            return
        detail = reason or (f"{error.type}: {error.text}" if error else None)
        kind = END_KINDS[state]
        event = self._event(job, kind, attempt, detail=detail, began_at=began_at, failure=error, at=ended_at)
        if not is_plain:
            job.end = event
        self._events.tell_listeners(event)

    def tell_started(self, job: InFlightJob) -> None:
        """Tell that an attempt has begun."""
        if self._events.listeners:
            self._events.tell_listeners(self._event(job, EventKind.STARTED, job.delivery.attempt, at=job.began_at))

    def report_progress(self, job: InFlightJob, value: Any) -> None:
        """Say how far a handler is; from any thread.

        Raises:
            PayloadTooLarge: It takes too much to say.
        """
        encoded = msgspec.json.encode(value)
        if len(encoded) > MAX_PROGRESS_BYTES:
            raise PayloadTooLarge(f"the progress of {job.delivery.task}", len(encoded), MAX_PROGRESS_BYTES, fixed=True)
        self._settler.report_progress(job, encoded)

    def tell_progress(self, job: InFlightJob, progress: bytes) -> None:
        """Tell what a handler has said of itself, encoded as JSON."""
        self.tell(job, EventKind.PROGRESS, attempt=job.delivery.attempt, detail=progress.decode())

    def tell_stale(self, job: InFlightJob) -> None:
        """Tell that an outcome came too late."""
        detail = "it came too late: its lease was over, and the broker had taken the job back"
        self.tell(job, EventKind.STALE, attempt=job.delivery.attempt, detail=detail)

    def describe(self, error: BaseException) -> Failure:
        """Return an error as data; whatever its own methods do."""
        return describe_safely(error, self._codec.plain)

    def tell(
        self,
        job: InFlightJob,
        kind: EventKind,
        *,
        attempt: int = 0,
        detail: str | None = None,
        wait_seconds: float | None = None,
        began_at: float | None = None,
        failure: Failure | None = None,
    ) -> None:
        """Tell the listeners and the log, if there are any, of what is not the job's end."""
        if self._events.is_heard:
            event = self._event(
                job, kind, attempt, detail=detail, wait_seconds=wait_seconds, began_at=began_at, failure=failure
            )
            self.notes.note(job, event)
            self._events.tell_listeners(event)

    def _event(
        self,
        job: InFlightJob,
        kind: EventKind,
        attempt: int,
        *,
        detail: str | None = None,
        wait_seconds: float | None = None,
        began_at: float | None = None,
        failure: Failure | None = None,
        at: float | None = None,
    ) -> JobEvent:
        """Make an event.

        Args:
            at: When it happened, in epoch seconds; None: now.
        """
        delivery, now = job.delivery, self._now() if at is None else at
        return JobEvent(
            kind=kind,
            job_id=delivery.id,
            task=delivery.task,
            queue=delivery.queue,
            at=now,
            attempt=attempt,
            worker=self._worker,
            seconds=None if began_at is None else now - began_at,
            wait_seconds=wait_seconds,
            detail=detail,
            remote_traceback=failure.traceback if failure else "",
        )


def _one_line(failure: Failure) -> str:
    text = " ".join(failure.text.split())
    return f"{failure.type}: {text}"[:200] if text else failure.type
