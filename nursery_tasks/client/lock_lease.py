"""Keeps the leases of the locks that a program holds, and says which are lost.

Two threads, while any lock is held: one renews, the other looks whether a lease has become too old, which a renewal that
hangs must not hold up. Neither waits for an event loop, so a program that blocks its loop keeps its locks. A lease is given
up a little before it is over, counted from the *sending* of its last renewal, so that the next holder does not begin before
this one was told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from ..brokers.needed import locks_of
from ..brokers.protocol import Broker
from ..errors import BrokerClosed, BrokerError, LockLost
from ..forks import renew_in_children
from ..log_throttle import LogThrottle
from ..loop.clocks import boot_time
from ..model.lease import fence_seconds

RETRY_SECONDS: Final = 0.2  # between two tries to renew
ASK_SECONDS: Final = 1.0  # between two looks whether it is one's turn

_log = logging.getLogger("nursery_tasks.client")


class Lock:
    """A lock that is held; what `async with app.lock(...)` and `with app.sync.lock(...)` give.

    Attributes:
        name: The lock's name.
        token: The fencing token: greater than that of each holder before. A storage that refuses what comes with a smaller
            token than it has seen is safe from a holder that was stopped for long and does not know yet that it has lost it.
    """

    __slots__ = ("holder", "lease_seconds", "lost", "name", "renewed_at", "token")

    def __init__(self, name: str, token: int, holder: bytes, lease_seconds: float, renewed_at: float) -> None:
        self.name = name
        self.token = token
        self.holder = holder
        self.lease_seconds = lease_seconds
        self.renewed_at = renewed_at  # when the last successful call was sent, by `boot_time()`; the renewing thread writes it
        self.lost = False  # either thread writes it, once

    def __repr__(self) -> str:
        return f"<Lock {self.name} {'lost' if self.lost else self.token}>"

    def check(self) -> None:
        """Do nothing while the lock is held.

        Raises:
            LockLost: It is not any more.
        """
        if self.lost:
            raise LockLost(self.name, self.token)

    @property
    def fence_at(self) -> float:
        """When the lease must be given up if it is not renewed, by `boot_time()`."""
        return self.renewed_at + fence_seconds(self.lease_seconds)


class LockKeeper:
    """The locks of one program. Thread-safe.

    Attributes:
        ask_seconds: How late a lock is had when the hint was lost; infinite where hints cannot be.
        not_asked: Tells that the broker cannot be asked for locks; for those who wait for one.
    """

    def __init__(self, broker: Callable[[], Broker]) -> None:
        self._broker = broker
        self.ask_seconds = ASK_SECONDS
        self.not_asked = LogThrottle(_log)
        self._not_renewed = LogThrottle(_log)
        self._begin()
        renew_in_children(self, LockKeeper._begin)

    def _begin(self) -> None:
        """Hold nothing: a forked child does not hold its parent's locks."""
        self._changed = threading.Condition()
        self._held: dict[bytes, tuple[Lock, Callable[[], object]]] = {}
        self._threads: list[threading.Thread] = []
        self._retry_at = 0.0  # by `boot_time()`; only the renewing thread uses it

    @contextmanager
    def keeping(self, lock: Lock, on_lost: Callable[[], object]) -> Generator[None, None, None]:
        """Keep a lock while the context is open; *on_lost* is called in a thread, once, when that cannot be done."""
        with self._changed:
            self._held[lock.holder] = lock, on_lost
            if not any(thread.is_alive() for thread in self._threads):
                self._threads = [
                    threading.Thread(target=self._renew, name="nursery-tasks lock renewal", daemon=True),
                    threading.Thread(target=self._fence, name="nursery-tasks lock fence", daemon=True),
                ]
                for thread in self._threads:
                    thread.start()
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held.pop(lock.holder, None)
                self._changed.notify_all()

    def _renew(self) -> None:
        """Renew what is a third of a lease old, in a thread."""
        while (due := self._wait(lambda lock: max(lock.renewed_at + lock.lease_seconds / 3, self._retry_at))) is not None:
            for lock in due:
                sent = boot_time()
                try:
                    [held] = locks_of(self._broker()).relock([(lock.name, lock.holder)], lock.lease_seconds)
                except BrokerClosed:
                    held = False
                except BrokerError as error:
                    self._not_renewed.log("cannot renew the lock %s, trying again: %s", lock.name, error)
                    self._retry_at = boot_time() + RETRY_SECONDS
                    continue
                if held:
                    lock.renewed_at = sent
                else:
                    self._lose(lock)

    def _fence(self) -> None:
        """Give up what could not be renewed in time, in a thread."""
        while (late := self._wait(lambda lock: lock.fence_at)) is not None:
            for lock in late:
                if boot_time() >= lock.fence_at:
                    self._lose(lock)

    def _wait(self, moment_of: Callable[[Lock], float]) -> list[Lock] | None:
        """Wait until the moment of some locks has come, and return them; None: no lock is held any more."""
        with self._changed:
            while True:
                locks = [lock for lock, _ in self._held.values() if not lock.lost]
                if not self._held:
                    return None
                now = boot_time()
                due = [lock for lock in locks if moment_of(lock) <= now]
                if due:
                    return due
                self._changed.wait(min((moment_of(lock) - now for lock in locks), default=None))

    def _lose(self, lock: Lock) -> None:
        with self._changed:
            known = self._held.get(lock.holder)
            if known is None or lock.lost:
                return
            lock.lost = True
            self._changed.notify_all()
        _log.warning("the lease on the lock %s is lost", lock.name)
        known[1]()
