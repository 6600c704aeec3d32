"""Before an attempt, for one delivery: what keeps it from starting, and what is noted when it starts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from anyio import Lock, current_time, move_on_after

from ..events import EventKind
from ..model.reasons import DEADLINE_OVER, NOT_STARTED_IN_TIME
from ..model.states import JobState
from .in_flight import InFlightJob
from .pauses import PauseWatch
from .prepare import Call, FailUnstarted, MarkDead, Preparer, ReleaseUnstarted
from .reporting import Reporter
from .settler import Settler

SUSPECT_CRASHES: Final = 2  # workers that died while they ran a job: it, or one of those that ran beside it, is the cause
SUSPECT_SECONDS: Final = 5.0  # how long a suspect waits for the one before it to end


class Starter:
    """Starts the attempts of one worker, or settles what is not to start.

    Args:
        is_late: Says whether a lease is too old for a start; None: leases cannot be lost to another process.
        pauses: What is not to start for now.
    """

    def __init__(
        self,
        preparer: Preparer,
        settler: Settler,
        reporter: Reporter,
        is_late: Callable[[InFlightJob], bool] | None,
        pauses: PauseWatch,
    ) -> None:
        self._preparer = preparer
        self._settler = settler
        self._reporter = reporter
        self._is_late = is_late
        self._pauses = pauses
        self._suspects = Lock()
        self._last_suspect: InFlightJob | None = None

    def prepared(self, job: InFlightJob, now: float) -> Call | None:
        """Return what to call; None: the delivery is settled without a call."""
        delivery = job.delivery
        if self.settled_meanwhile(job, now):
            return None
        step = self._preparer.prepare(delivery, now, job.since)
        if self._pauses.some:
            step = self._pauses.judge(delivery, step)
        if isinstance(step, Call):
            job.address = step.address
            return None if step.deadline is not None and self.settled_too_late(job, step, now) else step
        if isinstance(step, ReleaseUnstarted):
            self._release(job, step)
        elif isinstance(step, MarkDead):
            job.address = step.address
            self._reporter.finish(job, JobState.DEAD, reason=step.reason)
        elif isinstance(step, FailUnstarted):
            job.address = step.address
            error = self._reporter.describe(step.error)
            self._reporter.finish(job, JobState.FAILED, error=error, attempt=delivery.attempt)
        return None

    def settled_too_late(self, job: InFlightJob, call: Call, now: float) -> bool:
        """Settle a job whose caller has no more time."""
        if call.deadline is None or now < call.deadline:
            return False
        self._reporter.finish(job, JobState.CANCELLED, reason=DEADLINE_OVER)
        return True

    def settled_paused(self, job: InFlightJob, call: Call) -> bool:
        """Give a job back that was paused while it waited here."""
        step = self._pauses.judge(job.delivery, call) if self._pauses.some else call
        if isinstance(step, Call):
            return False
        self._release(job, step)
        return True

    def settled_meanwhile(self, job: InFlightJob, now: float | None = None) -> bool:
        """Settle a job that was cancelled, has expired, or may belong to somebody else by now, while it waited here."""
        if self._is_late is not None and self._is_late(job):
            job.lose()
        if job.cancelled:
            if not job.ended:  # else it has just left a batch
                job.address = self._preparer.find_address(job.delivery)
                self.settle_cancelled(job)
        elif job.expires_deadline is not None and (current_time() if now is None else now) >= job.expires_deadline:
            job.address = self._preparer.find_address(job.delivery)
            self._reporter.finish(job, JobState.EXPIRED, reason=NOT_STARTED_IN_TIME)
        else:
            return False
        return True

    def _release(self, job: InFlightJob, step: ReleaseUnstarted) -> None:
        self._settler.release(job, step.delay_seconds, step.park)
        wait_seconds = step.delay_seconds if step.park is None else None
        self._reporter.tell(job, EventKind.RELEASED, detail=step.detail, wait_seconds=wait_seconds)

    def settle_cancelled(self, job: InFlightJob) -> None:
        """Settle a job that is to end before it has begun."""
        if job.lost:
            self._settler.release(job)
        else:
            self._reporter.finish(job, JobState.CANCELLED, reason=job.cancel_reason)

    def begin(self, job: InFlightJob, began: float, *, is_stored: bool) -> None:
        """Note that an attempt begins; *began* is on the loop's clock, `job.began_at` in the world.

        Args:
            is_stored: The broker knows it already.
        """
        if job.shared_leases is not None:
            job.note_running(running=True)
        if is_stored:
            self._reporter.notes.note_start(job)
        else:
            self._settler.mark_started(job, began)
        self._reporter.tell_started(job)

    @asynccontextmanager
    async def alone(self, job: InFlightJob) -> AsyncGenerator[None, None]:
        """Let no other suspect run here meanwhile, so that a worker's death is charged to one of them; bounded.

        What the one before has come to must be stored, or the death would be charged to it, too.
        """
        is_turn = False
        try:
            with move_on_after(SUSPECT_SECONDS):
                await self._suspects.acquire()
                is_turn = True
                if self._last_suspect is not None:
                    await self._settler.wait_stored(self._last_suspect)
            self._last_suspect = job
            yield
        finally:
            if is_turn:
                self._suspects.release()
