"""How one worker stops: when it has begun to, how long its attempts may go on, and what cuts that short."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager

from anyio import CancelScope, Event, current_time

from ..model.reasons import WORKER_STOPS


class Drain:
    """The stop of one worker. Used on its loop only.

    Args:
        seconds: How long attempts may go on, unless something else is said.
        on_limit: Told from when on, on the loop's clock, all handlers have to end.

    Attributes:
        begun: Nothing more is claimed.
        over: No attempt runs any more.
        recycling: Why the worker wants to be replaced, once it does.
    """

    def __init__(self, seconds: float, on_limit: Callable[[float], None]) -> None:
        self.begun = Event()
        self.over = Event()
        self.recycling: str | None = None
        self._usual_seconds = self._seconds = seconds
        self._on_limit = on_limit
        self._ends = -math.inf  # on the loop's clock, once it drains; until then nothing is worth waiting for
        self._attempts: CancelScope | None = None
        self._storing: CancelScope | None = None

    def begin(self) -> None:
        """Begin, if it has not; a worker that had more time because it recycles has the usual time from now on."""
        if self._seconds != self._usual_seconds:
            self._seconds = self._usual_seconds
            if self._attempts is not None and self.begun.is_set():
                self.limit()
        self.begun.set()

    def recycle(self, reason: str, seconds: float | None) -> float:
        """Begin, to be replaced; return for how long the attempts may go on."""
        self.recycling = reason
        self._seconds = self._usual_seconds if seconds is None else seconds
        self.begun.set()
        return self._seconds

    def cut_short(self) -> None:
        """Begin, and cancel the attempts now."""
        self.begun.set()
        self._ends = -math.inf
        if self._attempts is not None:
            self._on_limit(current_time())
            self._attempts.cancel(WORKER_STOPS)
        if self._storing is not None:
            self._storing.cancel(WORKER_STOPS)

    @contextmanager
    def over_after(self) -> Generator[Callable[[CancelScope], None], None, None]:
        """Be over when the context is left; it gets the scope of all attempts."""

        def watch(attempts: CancelScope) -> None:
            self._attempts = attempts

        try:
            yield watch
        finally:
            self._attempts = None
            self.over.set()

    def limit(self) -> None:
        """Give the attempts their time from now on. A soft stop is a deadline on a scope that exists already."""
        assert self._attempts is not None
        deadline = current_time() + self._seconds
        self._attempts.deadline = deadline
        self._on_limit(deadline)
        if not self._attempts.cancel_called:
            self._ends = deadline

    @contextmanager
    def storing(self) -> Generator[None, None, None]:
        """Store what has ended, for as long as attempts could have gone on; a cancel, in whatever way, cuts it short."""
        ends = current_time() + self._usual_seconds if self._ends == math.inf else self._ends
        with CancelScope(deadline=ends) as self._storing:
            yield
