"""Locks for programs without an event loop, and for `def` handlers: `with app.sync.lock("reports")`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

from ..brokers.needed import locks_of
from ..brokers.protocol import Broker
from ..errors import BrokerError, LockTaken
from .calls import DirectCalls, run_at_once
from .lock_lease import ASK_SECONDS, Lock, LockKeeper
from .lock_request import LockRequest, lease_on
from .sync_connection import pause, woken_by


@contextmanager
def hold_lock_here(
    broker: Broker, keeper: LockKeeper, name: str, lease_seconds: float, wait_seconds: float | None
) -> Generator[Lock, None, None]:
    """Hold a lock while the context is open. See `SyncClient.lock`."""
    locks_of(broker)  # raises where there are none
    request = LockRequest(name, lease_on(broker, lease_seconds), ASK_SECONDS)
    try:
        lock = _wait(broker, keeper, request, wait_seconds)
        if lock.lease_seconds == math.inf:
            yield lock
        else:
            with keeper.keeping(lock, lambda: None):
                yield lock
        lock.check()
    finally:
        with suppress(BrokerError):
            run_at_once(request.give_back(DirectCalls(broker)))


def _wait(broker: Broker, keeper: LockKeeper, request: LockRequest, wait_seconds: float | None) -> Lock:
    calls = DirectCalls(broker)
    lock = run_at_once(request.take(calls))
    if lock is not None:
        return lock
    deadline = math.inf if wait_seconds is None else time.monotonic() + wait_seconds
    with woken_by(broker, ["lock"], request.name) as woken:
        while time.monotonic() < deadline:
            woken.clear()
            lock = run_at_once(request.stand(calls, keeper.not_asked))
            if lock is not None:
                return lock
            _pause_until(woken, min(time.monotonic() + request.again_seconds, deadline))
        raise LockTaken(request.name, wait_seconds or 0.0)


def _pause_until(woken: threading.Event, moment: float) -> None:
    """Wait for a hint; in a handler, leave when its job has been cancelled."""
    while (left := moment - time.monotonic()) > 0 and not woken.is_set():
        pause(woken, left)
