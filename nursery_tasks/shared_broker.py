"""An app's one broker object, whoever of its connection and its sync client needs it."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from anyio import CancelScope, CapacityLimiter, move_on_after, to_thread

from .brokers.protocol import Broker, Listener
from .brokers.url import open_broker, redacted
from .errors import BrokerClosed, NotSupported
from .forks import renew_in_children
from .model.ended import OnEnded
from .program import check_is_guarded

CLOSE_SECONDS: Final = 5.0

R = TypeVar("R")


class SharedBroker:
    """The app's one broker object, shared by the connection and the sync client, closed by the last that needs it.

    The sync client has no scope that could end, so what it opened stays open until `app.sync.close()` or the process's end.

    Args:
        on_ended: Called with the jobs that calls to the broker end.
    """

    def __init__(self, url: str, on_ended: OnEnded, broker: Broker | None = None) -> None:
        self._url = url
        self._on_ended = on_ended
        self._hearing: Listener | None = None  # while it is open here
        self._lock = threading.Lock()
        self._users = 0
        self._foreign = broker is not None  # whoever made it closes it
        self._kept = False
        self._broker: Broker | None = broker
        self._parents: Broker | None = None  # what a forked child has inherited: never used, and never let go
        renew_in_children(self, SharedBroker._forked)

    @property
    def blocking(self) -> bool:
        """Whether the broker is called in threads."""
        return self._broker.blocking if self._broker is not None else not self._url.startswith("memory:")

    def _forked(self) -> None:
        """Have nothing open: called in a forked child. What is open is its parent's, and is not even closed here."""
        self._lock = threading.Lock()
        self._users, self._kept = 0, False
        if self._broker is not None:
            self._parents = self._broker
        if not self._foreign:  # else whoever made it opens another one
            self._broker = self._hearing = None

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Broker, None]:
        """Open the broker, if nobody has, while the context is open; for a connection."""
        check_is_guarded("the app was opened")
        broker = await self._acquire()
        try:
            yield broker
        finally:
            with move_on_after(CLOSE_SECONDS, shield=True):
                await self._in_thread(self.release)

    async def _acquire(self) -> Broker:
        opening = _Opening(self)
        try:
            with CancelScope(shield=True):  # bounded by the broker's own timeouts
                return await self._in_thread(opening.make)
        except BaseException:
            opening.leave()
            raise
        raise AssertionError("a shielded scope swallows nothing")

    def acquire(self) -> Broker:
        """Open the broker, if nobody has, until `release()`."""
        with self._lock:
            broker = self._open()
            self._users += 1
            return broker

    def keep(self) -> Broker:
        """Open the broker, if nobody has, until `let_go()`; for the sync client."""
        with self._lock:
            broker = self._open()
            self._kept = True
            return broker

    def current(self) -> Broker:
        """Return the broker that is open.

        Raises:
            BrokerClosed: None is.
        """
        broker = self._broker
        if broker is None:
            raise BrokerClosed(redacted(self._url))
        return broker

    def release(self) -> None:
        """Close the broker, unless somebody else needs it."""
        with self._lock:
            self._users -= 1
            self._close_if_unused()

    def let_go(self) -> None:
        """Close what was kept, unless a connection needs it."""
        with self._lock:
            self._kept = False
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._users or self._kept:
            return
        if self._hearing is not None:
            self._hearing.close()
            self._hearing = None
        if not self._foreign and self._broker is not None:
            self._broker.close()
            self._broker = None

    def _open(self) -> Broker:
        if self._parents is not None and not self._parents.blocking:
            reason = "way from a forked process into the memory of its parent, where the jobs are; use sqlite:///jobs.db"
            raise NotSupported(self._parents.name, reason)
        if self._broker is None:
            self._broker = open_broker(self._url)
        if self._hearing is None and self._broker.ends is not None:
            self._hearing = self._broker.ends.hear(self._on_ended)
        return self._broker

    async def _in_thread(self, call: Callable[[], R]) -> R:
        # Opening and closing a file may wait for the disk or a lock; memory: stays on the loop, for the virtual clock.
        # A limiter of its own: the program's threads may all be busy with what waits for this.
        if not self.blocking:
            return call()
        return await to_thread.run_sync(call, abandon_on_cancel=True, limiter=CapacityLimiter(1))


class _Opening:
    """One opening, in a thread, whose caller may be gone before it is done: asyncio's own cancel knows no shield."""

    def __init__(self, brokers: SharedBroker) -> None:
        self._brokers = brokers
        self._first = threading.Lock()  # whoever comes second finds it taken, and gives back what was opened

    def make(self) -> Broker:
        broker = self._brokers.acquire()
        if not self._first.acquire(blocking=False):
            self._brokers.release()
        return broker

    def leave(self) -> None:
        """Say that the caller is gone."""
        if not self._first.acquire(blocking=False):
            threading.Thread(target=self._brokers.release, name="nursery-tasks broker close", daemon=True).start()
