"""What is around every call of a state machine in memory: one lock, one moment, and hints that are told after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import RLock
from types import TracebackType
from typing import Self

from ...errors import BrokerClosed
from .ends import EndListeners
from .hints import Hints
from .subscription import Audience


class AtomicCall:
    """One call: an atomic step, whichever thread makes it. Entering it raises `BrokerClosed` once the broker is closed.

    The hints are told when the lock was given back. So a listener may call the broker again, and nobody who listens can hold up
    another thread's call.
    """

    __slots__ = ("_calls", "_lock", "hints", "now")

    now: float  # on the broker's clock

    def __init__(self, calls: AtomicCalls) -> None:
        self._calls, self._lock = calls, calls.lock
        self.hints = Hints()

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            if self._calls.is_closed:
                raise BrokerClosed(self._calls.name)
            self.now = self._calls.clock()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.__exit__(kind, error, traceback)
        if kind is None:
            self._calls.audience.tell(self.hints)
            self._calls.ends.tell(self.hints.ended)


class AtomicCalls:
    """The calls of one broker.

    Args:
        clock: Tells the time in epoch seconds.
        name: How the broker is called in errors.

    Attributes:
        lock: Is held during each call.
        audience: Those who listen.
        ends: Those who hear of jobs that a call has ended.
    """

    def __init__(self, clock: Callable[[], float], name: str) -> None:
        self.clock, self.name = clock, name
        self.lock: AbstractContextManager[object] = RLock()
        self.audience = Audience()
        self.ends = EndListeners()
        self.is_closed = False

    def close(self) -> None:
        with self.lock:
            self.is_closed = True
        self.audience.close()
