"""The calls of the memory broker: the rules in `rules/`, one call at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from msgspec.structs import replace

from ...model.delivery import CancelAnswer, Delivery, Receipt, Renewal, Settlement, Stored, Submission, Swept, Topic
from ..common.atomic_calls import AtomicCall, AtomicCalls
from ..protocol import Broker, Emit, Feature, Listener, receipts_of
from ..rules.machine import check_ends
from .admin import MemoryAdmin
from .parts import (
    MemoryEventLog,
    MemoryLimits,
    MemoryLocks,
    MemoryOutbox,
    MemoryParking,
    MemoryPauses,
    MemoryReplies,
    MemorySchedules,
    MemoryStates,
)
from .state import MemoryState

_BEGAN: Final = time.time() - time.monotonic()


def steady_time() -> float:
    """Epoch seconds as they were when the program began, plus what has passed: nobody can set this clock back or forth."""
    return _BEGAN + time.monotonic()


class MemoryBroker(Broker):
    """A broker in the memory of this process.

    Args:
        clock: Tells the time in epoch seconds; a test passes its own. Default: one that follows no change of the system's.
        name: How the broker is called in errors.
        state: What it keeps. Default: nothing yet.
    """

    blocking = False
    features: frozenset[Feature] = frozenset(Feature) - {Feature.DURABLE, Feature.SHARED}

    def __init__(
        self, *, clock: Callable[[], float] | None = None, name: str = "memory:", state: MemoryState | None = None
    ) -> None:
        self.name = name
        self._calls = AtomicCalls(clock or steady_time, name)
        self._state = state or MemoryState()
        self._machine = self._state.machine
        self.admin = MemoryAdmin(self._calls, self._state)
        self.limits = MemoryLimits(self._calls, self._state.gates)
        self.locks = MemoryLocks(self._calls, self._state.locks)
        self.replies = MemoryReplies(self._calls, self._state.replies)
        self.outbox = MemoryOutbox(self._calls, self._state.outbox)
        self.states = MemoryStates(self._calls, self._state.states, self._state.outbox)
        self.parking = MemoryParking(self._calls, self._state.claims)
        self.pauses = MemoryPauses(self._calls, self._state.pauses, self._state.order.parked)
        self.schedules = MemorySchedules(self._calls, self._state.schedules, self._machine)
        self.event_log = MemoryEventLog(self._calls, self._state.event_log)
        self.ends = self._calls.ends

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        with AtomicCall(self._calls) as call:
            answers = self._machine.submit(jobs, call.now, call.hints)
        return receipts_of(answers)

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        with AtomicCall(self._calls) as call:
            return self._state.claims.claim(queues, limit, worker, call.now + lease_seconds, names, call.now, call.hints)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        check_ends(settlements)
        with AtomicCall(self._calls) as call:
            return self._machine.settle(settlements, call.now, call.hints)

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        with AtomicCall(self._calls) as call:
            return self._machine.renew(deliveries, call.now + lease_seconds)

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        with AtomicCall(self._calls) as call:
            return self._machine.cancel(ids, reason, owner, call.now, call.hints)

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        with AtomicCall(self._calls) as call:
            return self._machine.renew_owners(owners, lease_seconds, call.now, call.hints)

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        with AtomicCall(self._calls):
            return self._machine.outcomes(ids)

    def sweep(self, limit: int) -> Swept:
        with AtomicCall(self._calls) as call:
            swept = self._state.sweeps.sweep(limit, call.now, call.hints)
            for name in self._state.locks.drop_all(call.now):
                call.hints.add("lock", name)
            self._state.replies.drop_old(call.now)
            self._state.windows.forget(call.now)
            look_at = self._state.schedules.next_at()
            return swept if math.isinf(look_at) else replace(swept, next_schedule_seconds=max(0.0, look_at - call.now))

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        with AtomicCall(self._calls):
            return self._calls.audience.join(topics, emit)

    def close(self) -> None:
        self._calls.close()
