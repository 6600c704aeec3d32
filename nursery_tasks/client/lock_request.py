"""Asking for a lock: what both clients ask of the broker, and when again.

A free lock costs one call. Who has to wait stands in line at the broker under a short lease of its own, is woken by a hint
when a lock is given back, and asks now and then, because hints can be lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Final

from ..brokers.needed import locks_of
from ..brokers.protocol import Broker, Feature
from ..errors import BrokerClosed, BrokerError, BrokerReplaced
from ..log_throttle import LogThrottle
from ..loop.clocks import boot_time
from .calls import Calls
from .lock_lease import Lock

LOCK_LEASE_SECONDS: Final = 15.0
MIN_LOCK_LEASE_SECONDS: Final = 0.5
LINE_SECONDS: Final = 5.0  # the lease of who stands in line: for how long one that died holds up the others, at most


def lease_on(broker: Broker, seconds: float) -> float:
    """Return for how long a lock is had at once: a broker that is not shared ends with the program, and so do its locks."""
    return seconds if Feature.SHARED in broker.features else math.inf


@dataclass(frozen=True, slots=True)
class LockRequest:
    """One who wants a lock.

    Attributes:
        lease_seconds: For how long it is had at once.
        ask_seconds: How late it is had when the hint was lost.
    """

    name: str
    lease_seconds: float
    ask_seconds: float
    holder: bytes = field(default_factory=lambda: token_bytes(16))

    @property
    def line_seconds(self) -> float:
        """The lease of the place in the line."""
        return min(max(LINE_SECONDS, 3 * self.ask_seconds), self.lease_seconds)

    @property
    def again_seconds(self) -> float:
        """After which time without a hint to ask again."""
        return min(self.ask_seconds, self.line_seconds / 3)

    async def take(self, calls: Calls) -> Lock | None:
        """Take the lock if it is free."""
        return await self._ask(calls, self.lease_seconds, wait=False)

    async def stand(self, calls: Calls, not_asked: LogThrottle) -> Lock | None:
        """Take the lock if it is one's turn, else take or keep a place in the line."""
        try:
            return await self._ask(calls, self.line_seconds, wait=True)
        except (BrokerClosed, BrokerReplaced):
            raise
        except BrokerError as error:  # a link that is down: the wait has its own deadline
            not_asked.log("cannot ask for the lock %s, trying again: %s", self.name, error)
            return None

    async def give_back(self, calls: Calls) -> None:
        """Give the lock back, or the place in the line."""
        await calls(locks_of(calls.broker).unlock, [(self.name, self.holder)])

    async def _ask(self, calls: Calls, seconds: float, *, wait: bool) -> Lock | None:
        locks, sent = locks_of(calls.broker), boot_time()
        token = await calls(locks.lock, self.name, self.holder, seconds, wait)
        if not token:
            return None
        if seconds < self.lease_seconds:
            sent = boot_time()
            [held] = await calls(locks.relock, [(self.name, self.holder)], self.lease_seconds)
            if not held:
                return None
        return Lock(self.name, token, self.holder, self.lease_seconds, sent)
