"""Locks for async code: `async with app.lock("reports")`."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

from anyio import CancelScope, Event, move_on_after
from anyio.lowlevel import checkpoint

from ..brokers.gateway import Gateway
from ..brokers.needed import locks_of
from ..errors import BrokerError, LockTaken
from ..loop.threadsafe import loop_run_soon
from ..model.delivery import Topic
from .calls import GatewayCalls
from .lock_lease import Lock, LockKeeper
from .lock_request import LockRequest, lease_on

GIVE_BACK_SECONDS: Final = 5.0  # for the call that gives a lock back; then its lease must end


@asynccontextmanager
async def hold_lock(
    gateway: Gateway, keeper: LockKeeper, name: str, lease_seconds: float, wait_seconds: float | None
) -> AsyncGenerator[Lock, None]:
    """Hold a lock while the context is open. See `App.lock`."""
    locks_of(gateway.broker)  # raises where there are none
    request = LockRequest(name, lease_on(gateway.broker, lease_seconds), keeper.ask_seconds)
    try:
        lock = await _wait(gateway, keeper, request, wait_seconds)
        run_soon = loop_run_soon()
        with CancelScope() as scope:
            if lock.lease_seconds == math.inf:
                yield lock
            else:
                with keeper.keeping(lock, lambda: run_soon(scope.cancel)):
                    yield lock
        lock.check()
    finally:
        with move_on_after(GIVE_BACK_SECONDS, shield=True), suppress(BrokerError):
            await request.give_back(GatewayCalls(gateway))


async def _wait(gateway: Gateway, keeper: LockKeeper, request: LockRequest, seconds: float | None) -> Lock:
    """Wait until the lock is had, at most so long; None: for ever, 0: not at all.

    Raises:
        LockTaken: It was not.
    """
    await checkpoint()
    lock = await request.take(GatewayCalls(gateway))
    if lock is not None:
        return lock
    if seconds != 0:
        with move_on_after(seconds):
            return await _stand(gateway, keeper, request)
    raise LockTaken(request.name, seconds or 0.0)


async def _stand(gateway: Gateway, keeper: LockKeeper, request: LockRequest) -> Lock:
    calls, woken = GatewayCalls(gateway), Event()

    def on_hint(topic: Topic, names: set[str] | None) -> None:
        if names is None or request.name in names:
            woken.set()

    async with gateway.listen(["lock"], on_hint):
        while True:
            woken = Event()
            lock = await request.stand(calls, keeper.not_asked)
            if lock is not None:
                return lock
            with move_on_after(request.again_seconds):
                await woken.wait()
