"""Locks for async code: `async with app.lock("reports")`.

A free lock costs one call. Who has to wait stands in line at the broker under a short lease of its own, is woken by a hint
when a lock is given back, and asks now and then, because hints can be lost.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from secrets import token_bytes
from typing import Final

from anyio import CancelScope, Event, move_on_after
from anyio.lowlevel import checkpoint

from ..brokers.gateway import Gateway
from ..brokers.posting import loop_poster
from ..brokers.protocol import Broker, BrokerLocks, Feature, step_of
from ..errors import BrokerClosed, BrokerError, LockTaken, NotSupported
from ..model.delivery import Topic
from .keeping import Lock, LockKeeper, boot_time

LOCK_LEASE_SECONDS: Final = 15.0
MIN_LOCK_LEASE_SECONDS: Final = 0.5
LINE_SECONDS: Final = 5.0  # the lease of who stands in line: for how long one that died holds up the others, at most
ASK_SECONDS: Final = 1.0  # how late a lock is had when the hint was lost
GIVE_BACK_SECONDS: Final = 5.0  # for the call that gives a lock back; then its lease must end


def locks_of(broker: Broker) -> BrokerLocks:
    """Return the broker's locks.

    Raises:
        NotSupported: It has none.
    """
    if Feature.LOCKS not in broker.features or not isinstance(broker, BrokerLocks):
        raise NotSupported(broker.name, Feature.LOCKS, step_of(broker))
    return broker


def lease_on(broker: Broker, seconds: float) -> float:
    """Return for how long a lock is had at once: a broker that is not shared ends with the program, and so do its locks."""
    return seconds if Feature.SHARED in broker.features else math.inf


@asynccontextmanager
async def hold_lock(
    gateway: Gateway, keeper: LockKeeper, name: str, lease_seconds: float, wait_seconds: float | None
) -> AsyncGenerator[Lock, None]:
    """Hold a lock while the context is open. See `App.lock`."""
    locks = locks_of(gateway.broker)
    line = _Line(gateway, locks, keeper, name, lease_on(gateway.broker, lease_seconds))
    try:
        lock = await line.wait(wait_seconds)
        post = loop_poster()
        with CancelScope() as scope:
            if lock.lease_seconds == math.inf:
                yield lock
            else:
                with keeper.keeping(lock, lambda: post(scope.cancel)):
                    yield lock
        lock.check()
    finally:
        with move_on_after(GIVE_BACK_SECONDS, shield=True), suppress(BrokerError):
            await gateway.call(locks.unlock, [(name, line.holder)])


class _Line:
    """One who wants a lock."""

    def __init__(self, gateway: Gateway, locks: BrokerLocks, keeper: LockKeeper, name: str, lease_seconds: float) -> None:
        self.holder = token_bytes(16)
        self._keeper = keeper
        self._gateway, self._locks, self._name, self._lease_seconds = gateway, locks, name, lease_seconds
        self._woken = Event()

    async def wait(self, seconds: float | None) -> Lock:
        """Wait until the lock is had, at most so long; None: for ever, 0: not at all.

        Raises:
            LockTaken: It was not.
        """
        await checkpoint()
        lock = await self._ask(self._lease_seconds, wait=False)
        if lock is not None:
            return lock
        if seconds == 0:
            raise LockTaken(self._name, 0.0)
        with move_on_after(seconds):
            async with self._gateway.listen(["lock"], self._on_hint):
                return await self._stand()
        raise LockTaken(self._name, seconds or 0.0)

    async def _stand(self) -> Lock:
        line_seconds = min(LINE_SECONDS, self._lease_seconds)
        while True:
            self._woken = Event()
            try:
                lock = await self._ask(line_seconds, wait=True)
                if lock is not None:
                    return lock
            except BrokerClosed:
                raise
            except BrokerError as error:  # a link that is down: the wait has its own deadline
                self._keeper.not_asked.say("cannot ask for the lock %s, trying again: %s", self._name, error)
            with move_on_after(min(ASK_SECONDS, line_seconds / 3)):
                await self._woken.wait()

    async def _ask(self, seconds: float, *, wait: bool) -> Lock | None:
        sent = boot_time()
        token = await self._gateway.call(self._locks.lock, self._name, self.holder, seconds, wait)
        if not token:
            return None
        if seconds < self._lease_seconds:
            sent = boot_time()
            [held] = await self._gateway.call(self._locks.relock, [(self._name, self.holder)], self._lease_seconds)
            if not held:
                return None
        return Lock(self._name, token, self.holder, self._lease_seconds, sent)

    def _on_hint(self, topic: Topic, names: set[str] | None) -> None:
        if names is None or self._name in names:
            self._woken.set()
