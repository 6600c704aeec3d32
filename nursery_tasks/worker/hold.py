"""What a running handler holds of its worker: its slot, its token, and the way to its stack."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from .hand_over import HandOver
from .held import Held
from .loan import Loan


class AttemptHold:
    """The `current.Hold` of one attempt. Made for every job, so what few of them need is made when it is asked for."""

    __slots__ = ("_hand_over", "_held", "_loan", "broker", "coroutine", "thread_id")

    def __init__(self, held: Held, broker: object, hand_over: HandOver) -> None:
        self.broker = broker
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.thread_id: int | None = None
        self._held = held
        self._hand_over = hand_over
        self._loan: Loan | None = None

    @property
    def token(self) -> bytes:
        """The delivery's token."""
        return self._held.delivery.token

    @property
    def cancel_reason(self) -> str | None:
        """Why the attempt is to end."""
        return self._held.cancel_reason

    @property
    def slot(self) -> Loan:
        """What the attempt gives back while it waits for other jobs."""
        if self._loan is None:
            self._loan = Loan(self._hand_over)
        return self._loan
