"""Locks for programs without an event loop, and for `def` handlers: `with app.sync.lock("reports")`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from secrets import token_bytes

from ..brokers.protocol import Broker, BrokerLocks
from ..errors import BrokerClosed, BrokerError, LockTaken
from ..model.delivery import Hint
from .keeping import Lock, LockKeeper, boot_time
from .locks import ASK_SECONDS, LINE_SECONDS, lease_on, locks_of
from .sync_handle import pause


@contextmanager
def hold_lock_here(
    broker: Broker, keeper: LockKeeper, name: str, lease_seconds: float, wait_seconds: float | None
) -> Generator[Lock, None, None]:
    """Hold a lock while the context is open. See `SyncClient.lock`."""
    locks, holder = locks_of(broker), token_bytes(16)
    try:
        lock = _wait(broker, keeper, name, holder, lease_on(broker, lease_seconds), wait_seconds)
        if lock.lease_seconds == math.inf:
            yield lock
        else:
            with keeper.keeping(lock, lambda: None):
                yield lock
        lock.check()
    finally:
        with suppress(BrokerError):
            locks.unlock([(name, holder)])


def _wait(
    broker: Broker, keeper: LockKeeper, name: str, holder: bytes, lease_seconds: float, wait_seconds: float | None
) -> Lock:
    locks = locks_of(broker)
    lock = _ask(locks, name, holder, lease_seconds, lease_seconds, wait=False)
    if lock is not None:
        return lock
    deadline = math.inf if wait_seconds is None else time.monotonic() + wait_seconds
    line_seconds = min(LINE_SECONDS, lease_seconds)
    woken = threading.Event()

    def emit(hint: Hint) -> None:
        if not hint.names or name in hint.names:
            woken.set()

    listener = broker.listen(["lock"], emit)
    try:
        while time.monotonic() < deadline:
            woken.clear()
            try:
                lock = _ask(locks, name, holder, line_seconds, lease_seconds, wait=True)
                if lock is not None:
                    return lock
            except BrokerClosed:
                raise
            except BrokerError as error:  # a link that is down: the wait has its own deadline
                keeper.not_asked.say("cannot ask for the lock %s, trying again: %s", name, error)
            _pause_until(woken, min(time.monotonic() + min(ASK_SECONDS, line_seconds / 3), deadline))
        raise LockTaken(name, wait_seconds or 0.0)
    finally:
        listener.close()


def _pause_until(woken: threading.Event, moment: float) -> None:
    """Wait for a hint; in a handler, leave when its job has been cancelled."""
    while (left := moment - time.monotonic()) > 0 and not woken.is_set():
        pause(woken, left)


def _ask(locks: BrokerLocks, name: str, holder: bytes, seconds: float, lease_seconds: float, *, wait: bool) -> Lock | None:
    sent = boot_time()
    token = locks.lock(name, holder, seconds, wait)
    if not token:
        return None
    if seconds < lease_seconds:
        sent = boot_time()
        [held] = locks.relock([(name, holder)], lease_seconds)
        if not held:
            return None
    return Lock(name, token, holder, lease_seconds, sent)
