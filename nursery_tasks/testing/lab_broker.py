"""The broker of a lab: the one in memory, and an alarm.

A virtual clock leaps to the next moment for which anybody waits. Who looks each second whether there is something to do has it
stop 86 400 times a day. So in a lab nobody looks: this broker knows when time makes a sweep necessary, says so after each
sweep, and gives a hint when that moment has come nearer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

import msgspec

from ..brokers.memory import MemoryBroker
from ..brokers.memory.state import MemoryState
from ..brokers.protocol import OWNED_GRACE_SECONDS
from ..brokers.rules.job import Job
from ..model.delivery import Hint, Swept

SPARE_SECONDS: Final = 86_400.0  # until it is looked again whether an outcome is still needed by a job that has not ended


class LabBroker(MemoryBroker):
    """A broker in memory, on whose sweeps nobody has to insist.

    Args:
        clock: The lab's time, in epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock, state=MemoryState(spare_seconds=SPARE_SECONDS))
        self._promised_at = math.inf  # for when a sweeper was told to come, or has been given a hint
        self._swept_at = -math.inf
        self._calls.lock = _Turns(self._calls.lock, self._look)

    def sweep(self, limit: int) -> Swept:
        """Sweep, and say when to come again: when anything is to be done, and not only when a job is due."""
        with self._calls.lock:
            swept = super().sweep(limit)
            self._swept_at = now = self._calls.clock()
            self._promised_at = self._next_at()
        wait_seconds = None if self._promised_at == math.inf else max(0.0, self._promised_at - now)
        return msgspec.structs.replace(swept, next_due_seconds=wait_seconds)

    def _look(self) -> None:
        """Tell the sweepers, after each call, when they have to come sooner."""
        if not self._calls.is_closed and (moment := self._next_at()) < self._promised_at:
            self._promised_at = moment
            self._calls.audience.tell([Hint("due")])

    def _next_at(self) -> float:
        state = self._state
        room_at = state.gates.next_room_at()
        return min(
            state.order.next_at(),
            state.leases.next_at(state.owners.owns_on),
            state.locks.next_at(),
            math.inf if room_at is None else room_at,
            state.schedules.next_at(self._swept_at),  # a sweep only says that one is due: whoever looks at it is not waited for
            *(self._lost_at(job) for job in state.table.held.values()),
        )

    def _lost_at(self, job: Job) -> float:
        """Return when a sweep has something to do for a job that a worker holds."""
        if job.lease_until > self._swept_at:
            return job.lease_until
        owned = self._state.table.owned_by(job.token)
        if not owned:
            return job.lease_until
        grace_until = job.lease_until + OWNED_GRACE_SECONDS
        return grace_until if grace_until > self._swept_at else math.inf  # the end of what it owns comes first


class _Turns:
    """The lock around every call, and what is to be done after it."""

    def __init__(self, lock: AbstractContextManager[object], after: Callable[[], None]) -> None:
        self._lock, self._after = lock, after
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.__enter__()
        self._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._depth -= 1
        last = not self._depth
        self._lock.__exit__(kind, error, traceback)
        if last:
            self._after()
