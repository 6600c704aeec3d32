"""What acts on behalf of a running handler needs of its worker: its slot, its token, and the way to its stack."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import NoEventLoopError, current_time

from ..model.outcome import TIMED_OUT
from ..model.reasons import DEADLINE_OVER
from .hand_over import HandOver
from .in_flight import InFlightJob
from .slot_release import SlotRelease


class LocalContext:
    """The `current.AttemptContext` of an attempt. Made for every job, so what few of them need is made when it is asked for."""

    __slots__ = ("_clock_gap", "_hand_over", "_job", "_slot", "broker", "can_resume", "coroutine", "thread_id")

    def __init__(self, job: InFlightJob, broker: object, hand_over: HandOver) -> None:
        self.broker = broker
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.thread_id: int | None = None
        self.can_resume: Callable[[], bool] | None = None
        self._job = job
        self._hand_over = hand_over
        self._slot: SlotRelease | None = None
        self._clock_gap = 0.0

    @property
    def token(self) -> bytes:
        """The delivery's token."""
        return self._job.delivery.token

    @property
    def cancel_reason(self) -> str | None:
        """Why the attempt is to end."""
        job = self._job
        if job.cancelled or job.time_limit == math.inf or self._now() < job.time_limit:
            return job.cancel_reason
        return DEADLINE_OVER if job.time_limit < job.timeout_at else TIMED_OUT

    @property
    def is_told(self) -> bool:
        """Whether somebody wants the job itself to end, by a cancel or a time limit; not while only its worker stops."""
        job = self._job
        return (
            not job.lost
            and not job.given_back
            and (job.cancelled or (job.time_limit != math.inf and self._now() >= job.time_limit))
        )

    @property
    def deadline(self) -> float:
        """When the time of the job's caller is over, on the loop's clock; a timeout of the job's own does not count."""
        call = self._job.call
        return math.inf if call is None or call.deadline is None else call.deadline

    @property
    def waits(self) -> bool:
        """Whether the handler waits for other jobs now; also for their end, when it is cancelled."""
        return self._slot is not None and self._slot.waits

    def limited(self) -> None:
        """Hear that the attempt has a time limit: a thread, which cannot ask the loop, compares it with a clock of its own."""
        self._clock_gap = time.monotonic() - current_time()

    def _now(self) -> float:
        try:
            return current_time()
        except NoEventLoopError:
            return time.monotonic() - self._clock_gap

    @property
    def slot(self) -> SlotRelease:
        """What the attempt gives back while it waits for other jobs."""
        if self._slot is None:
            self._slot = SlotRelease(self._hand_over)
        return self._slot
