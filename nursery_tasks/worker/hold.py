"""What a running handler holds of its worker: its slot, its token, and the way to its stack."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import NoEventLoopError, current_time

from ..model.outcome import TIMED_OUT
from ..model.reasons import DEADLINE_OVER
from .hand_over import HandOver
from .held import Held
from .loan import Loan


class AttemptHold:
    """The `current.Hold` of one attempt. Made for every job, so what few of them need is made when it is asked for."""

    __slots__ = ("_clock_gap", "_hand_over", "_held", "_loan", "broker", "can_resume", "coroutine", "thread_id")

    def __init__(self, held: Held, broker: object, hand_over: HandOver) -> None:
        self.broker = broker
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.thread_id: int | None = None
        self.can_resume: Callable[[], bool] | None = None
        self._held = held
        self._hand_over = hand_over
        self._loan: Loan | None = None
        self._clock_gap = 0.0

    @property
    def token(self) -> bytes:
        """The delivery's token."""
        return self._held.delivery.token

    @property
    def cancel_reason(self) -> str | None:
        """Why the attempt is to end."""
        held = self._held
        if held.cancelled or held.time_limit == math.inf or self._now() < held.time_limit:
            return held.cancel_reason
        return DEADLINE_OVER if held.time_limit < held.timeout_at else TIMED_OUT

    @property
    def is_told(self) -> bool:
        """Whether somebody wants the job itself to end, by a cancel or a time limit; not while only its worker stops."""
        held = self._held
        return (
            not held.lost
            and not held.given_back
            and (held.cancelled or (held.time_limit != math.inf and self._now() >= held.time_limit))
        )

    @property
    def deadline(self) -> float:
        """When the time of the job's caller is over, on the loop's clock; a timeout of the job's own does not count."""
        call = self._held.call
        return math.inf if call is None or call.deadline is None else call.deadline

    @property
    def waits(self) -> bool:
        """Whether the handler waits for other jobs now; also for their end, when it is cancelled."""
        return self._loan is not None and self._loan.waits

    def limited(self) -> None:
        """Hear that the attempt has a time limit: a thread, which cannot ask the loop, compares it with a clock of its own."""
        self._clock_gap = time.monotonic() - current_time()

    def _now(self) -> float:
        try:
            return current_time()
        except NoEventLoopError:
            return time.monotonic() - self._clock_gap

    @property
    def slot(self) -> Loan:
        """What the attempt gives back while it waits for other jobs."""
        if self._loan is None:
            self._loan = Loan(self._hand_over)
        return self._loan
