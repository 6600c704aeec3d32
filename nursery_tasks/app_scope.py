"""`async with app`: what is open inside it, who has opened it, and what a forked child must not touch."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from anyio import get_current_task

from .brokers.protocol import Broker
from .channels.facade import Channels
from .client import Connection
from .client.end_teller import EndTeller
from .client.hooks import Hooks
from .errors import AppAlreadyOpen, AppNotOpen
from .events import Events
from .forks import renew_in_children
from .shared_broker import SharedBroker


class AppScope:
    """The broker of an app, and the connection and the channels that are open while its scope is.

    Args:
        connect: Makes a connection with an open broker.
        events, hooks: Hear of the jobs that calls to the broker end.

    Attributes:
        brokers: The app's one broker object, also for its sync client.
        connection: The open connection, from any thread; None: there is none.
    """

    def __init__(
        self, url: str, connect: Callable[[Broker], Connection], channels: Channels, events: Events, hooks: Hooks
    ) -> None:
        self._ends = EndTeller(events, hooks, lambda: time.time() if self.connection is None else self.connection.now())
        self.brokers = SharedBroker(url, self._ends)
        self.connection: Connection | None = None
        self._connect = connect
        self._channels = channels
        self._open: AbstractAsyncContextManager[None] | None = None
        self._opened_by = 0  # the id of the task that has entered it
        self._parents: list[object] = []  # what a forked child has inherited
        renew_in_children(self, AppScope._forked)

    @property
    def connection_here(self) -> Connection:
        """The open connection of this thread's event loop.

        Raises:
            AppNotOpen: There is none.
        """
        if self.connection is None:
            raise AppNotOpen("this call")
        if threading.get_ident() != self.connection.thread:
            raise AppNotOpen("this call, which comes from another thread than `async with app`,")
        return self.connection

    async def enter(self) -> None:
        """Open everything.

        Raises:
            AppAlreadyOpen: It is.
        """
        if self._open is not None:
            raise AppAlreadyOpen
        self._open, self._opened_by = self._serving(), get_current_task().id
        try:
            await self._open.__aenter__()
        except BaseException:
            self._open = None
            raise

    async def leave(self, exc_info: tuple[Any, ...]) -> bool | None:
        """Close everything; *exc_info* is what `__aexit__` was given, and its answer is the same."""
        assert self._open is not None
        opened, self._open = self._open, None
        if get_current_task().id != self._opened_by:
            # Left by another task (see `loop/unwrapped.py`). An error of that one is not told to the scopes of the first.
            exc_info = (None, None, None)
        return await opened.__aexit__(*exc_info)

    @contextmanager
    def use_broker(self, broker: Broker) -> Generator[None, None, None]:
        """Use *broker* instead of that of the URL while the context is open."""
        if self._open is not None:
            raise AppAlreadyOpen
        before, self.brokers = self.brokers, SharedBroker(broker.name, self._ends, broker)
        try:
            yield
        finally:
            self.brokers = before

    @asynccontextmanager
    async def _serving(self) -> AsyncGenerator[None, None]:
        async with self.brokers.opened() as broker:
            connection = self._connect(broker)
            async with connection.serving(), self._channels.opened():
                self.connection = connection
                try:
                    yield
                finally:
                    await connection.finish()
                    self.connection = None

    def _forked(self) -> None:
        """Be closed: called in a forked child, where the loop and the threads of an open connection are gone.

        What was open is kept: to let it go would run its clean-up, with locks that this process can no longer give back.
        """
        self._parents.append((self.connection, self._open))
        self.connection = self._open = None
        self._channels.leave_to_parent()
