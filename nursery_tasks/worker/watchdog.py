"""Watches handlers that were told to end: cancelled, out of time, or interrupted because the worker stops.

Nothing can stop an async handler that swallows its cancellation, nor a thread. What can be done is to say so, and to count the
loss. After a second the log shows where the handler is. When its clean-up has had its time, in a shield or not, it is given
up:

- a cancelled job is marked as *unresponsive*; it stays in flight until its handler ends, because only then is it `cancelled`;
- a job that is out of time has failed, and is not tried again: the first attempt may still be running;
- either way its slot is lost for as long as the handler runs, and the worker says so in its heartbeat.

When too many slots are lost the worker asks to be recycled: the other attempts drain, then the process ends, and with it what
nothing else could end. Handlers in processes are not watched: their process is killed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from anyio import CancelScope, Event, current_time, sleep_until

from .attempt_context import LocalContext
from .in_flight import InFlightJob, InFlightJobs
from .stacks import stack_of

WARN_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.25
GAP_SECONDS: Final = 1.0  # a look that comes so late was held up by a loop that was blocked, or a process that was stopped
LEAST_PAUSE_SECONDS: Final = 0.001  # between two looks where the clock is virtual, so that it moves
CHILDREN_SECONDS: Final = 10.0  # more, for a handler that waits for the end of the jobs that it owns

_log = logging.getLogger("nursery_tasks.worker")


class Watchdog:
    """Looks at the jobs in flight of one worker a few times per second.

    Args:
        give_up: Called for each handler whose clean-up has had its time, with the seconds since it was told to end.
        on_lost: Called with the number of lost slots when it has grown.
        cleanup_seconds: How long a handler that was told to end may take.
        pace: What the period is multiplied by; infinite: it looks when there may be something to see, for virtual clocks.
    """

    def __init__(
        self,
        in_flight: InFlightJobs,
        give_up: Callable[[InFlightJob, float], None],
        on_lost: Callable[[int], None],
        cleanup_seconds: float,
        *,
        pace: float = 1.0,
    ) -> None:
        self._interrupt_at = math.inf  # when the worker's drain is over, on the loop's clock
        self._in_flight = in_flight
        self._give_up = give_up
        self._on_lost = on_lost
        self._cleanup_seconds = cleanup_seconds
        self._warn_seconds = min(WARN_SECONDS, cleanup_seconds / 2)
        self._period_seconds = min(LOOK_SECONDS, self._warn_seconds / 2) * pace
        self._lost: list[InFlightJob] = []
        self._told = Event()
        if self._period_seconds == math.inf:
            in_flight.on_told = self._look_soon

    @property
    def unresponsive(self) -> tuple[str, ...]:
        """The ids of the jobs whose handlers were given up and still run."""
        self._lost = [job for job in self._lost if not job.over]
        return tuple(job.delivery.id for job in self._lost)

    @property
    def given_up(self) -> tuple[InFlightJob, ...]:
        """Those jobs, maybe with some that have ended by now; from any thread."""
        return tuple(self._lost)

    def interrupt(self, moment: float) -> None:
        """Hear when the worker's drain is over, on the loop's clock: from then on all handlers have to end."""
        self._interrupt_at = moment
        self._look_soon()

    async def serve(self) -> None:
        """Watch until cancelled."""
        while True:
            gap_seconds = await self._pause()
            now = current_time()
            for job in self._watched():
                self._look_at(job, now, gap_seconds)

    async def _pause(self) -> float:
        """Wait for the next look; return by how much it is too late, because this process or its loop did not run."""
        if self._period_seconds < math.inf:
            due_at = current_time() + self._period_seconds
            await sleep_until(due_at)
            return current_time() - due_at
        self._told = Event()
        look_at = min((self._next_look_at(job) for job in self._watched()), default=math.inf)
        with CancelScope(deadline=max(look_at, current_time() + LEAST_PAUSE_SECONDS)):
            await self._told.wait()
        return 0.0

    def _look_soon(self) -> None:
        self._told.set()

    def _watched(self) -> list[InFlightJob]:
        return [job for job in self._in_flight.handlers() if not job.over and not _is_killed(job)]

    def _told_at(self, job: InFlightJob) -> float:
        """Say since when a handler has to end."""
        return min(job.told_at, job.time_limit, self._interrupt_at) + job.excused_seconds

    def _next_look_at(self, job: InFlightJob) -> float:
        if job.watched == 2 or job.ended:
            return math.inf
        if job.cancelled and job.told_at == math.inf:
            return 0.0
        return self._told_at(job) + (self._warn_seconds if job.watched == 0 else self._most_seconds(job))

    def _look_at(self, job: InFlightJob, now: float, gap_seconds: float) -> None:
        if job.cancelled and job.told_at == math.inf:
            job.told_at = now  # not when it happens: that may be in a callback, where nobody can ask for the time
        if gap_seconds > GAP_SECONDS:  # a handler that could not run had no chance to end
            job.excused_seconds += max(0.0, min(gap_seconds, now - self._told_at(job)))
        late_seconds = now - self._told_at(job)
        if job.watched == 0 and late_seconds >= self._warn_seconds:
            job.watched = 1
            self._warn(job, late_seconds)
        if job.watched == 1 and late_seconds >= self._most_seconds(job) and not job.ended:
            job.watched = 2
            self._lost.append(job)
            self._give_up(job, late_seconds)
            self._on_lost(len(self.unresponsive))

    def _most_seconds(self, job: InFlightJob) -> float:
        waits = isinstance(job.context, LocalContext) and job.context.waits
        return self._cleanup_seconds + (CHILDREN_SECONDS if waits else 0.0)

    def _warn(self, job: InFlightJob, late_seconds: float) -> None:
        delivery = job.delivery
        if job.cancelled:
            what = f"was cancelled ({job.cancel_reason})" if job.cancel_reason else "was cancelled"
        else:
            what = "has to end because the worker stops" if self._interrupt_at < job.time_limit else "is out of time"
        extra = {"job_id": delivery.id, "task": delivery.task, "attempt": delivery.attempt}
        stack = stack_of(job.context) if job.context is not None else ""
        text = "%s %s %s, and its handler has not ended %.1f s later; it is here:\n%s"
        _log.warning(text, delivery.task, delivery.id, what, late_seconds, stack or "  (nowhere to be found)", extra=extra)


def _is_killed(job: InFlightJob) -> bool:
    """Say whether the handler's own process ends it when it does not listen."""
    return job.call is not None and job.call.spec.kind == "process"
