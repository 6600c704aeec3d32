"""Following the log of events: pushed by hints, and polled in case that one is lost."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from anyio import Event, move_on_after, sleep

from ..brokers.gateway import Gateway
from ..brokers.needed import event_log_of
from ..current import slot_released
from ..errors import BrokerClosed, BrokerError, BrokerReplaced
from ..events import EventFilter, JobEvent
from ..log_throttle import LogThrottle
from ..model.delivery import Topic
from ..model.event_log import LogPage
from .log_reader import PAGE, LogReader, Since

POLL_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 0.2  # between two tries while the broker is away

_log = logging.getLogger("nursery_tasks.client")


class EventStream:
    """What `app.follow()` gives: `async for event in events`. It never ends by itself."""

    def __init__(self, gateway: Gateway, wanted: EventFilter | None, since: Since) -> None:
        self._gateway = gateway
        self._reader = LogReader(wanted, since)
        self._ready: deque[JobEvent] = deque()
        self._last = ""  # the cursor of the event that was given last
        self._changed = Event()
        self._away = LogThrottle(_log)
        self.poll_seconds = POLL_SECONDS

    @property
    def cursor(self) -> str:
        """The place behind the event that was given last: `since` of a stream that goes on from here."""
        return self._last if self._ready else self._reader.cursor

    @property
    def dropped(self) -> int:
        """How many events the log had dropped before they were read here, because this reader is too slow."""
        return self._reader.dropped

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> JobEvent:
        """Wait for the next event, also while the broker is away.

        Raises:
            BrokerReplaced: The broker's jobs are gone, or are others.
            AppNotOpen, BrokerClosed: The app was left.
        """
        if not self._ready:
            async with slot_released():
                await self._fill()
        event = self._ready.popleft()
        self._last = event.cursor
        return event

    async def read(self) -> list[JobEvent] | None:
        """Return some of what is there now; None: that was all. Raises as a call to the broker does."""
        if not self._ready:
            page = await self._read(self._reader.after, PAGE)
            if self._reader.after >= page.last and page.log == self._reader.log:
                return None
            self._ready.extend(self._reader.take(page))
        ready, self._ready = list(self._ready), deque()
        return ready

    async def begin(self) -> None:
        """Find the place. Raises `CursorLost` when it is gone."""
        asking = self._reader.begin()
        wanted = next(asking, None)
        while wanted is not None:
            try:
                wanted = asking.send(await self._read(*wanted))
            except StopIteration:
                break
        self._last = self._reader.cursor

    def on_hint(self, topic: Topic, names: set[str] | None) -> None:
        """Hear that something was appended."""
        self._changed.set()

    async def _fill(self) -> None:
        while not self._ready:
            self._changed = Event()  # before the look, so that no hint is missed
            try:
                page = await self._read(self._reader.after, PAGE)
            except (BrokerClosed, BrokerReplaced):
                raise
            except BrokerError as error:
                self._away.log("the log of events cannot be read: %s", error)
                await sleep(PAUSE_SECONDS)
                continue
            self._ready.extend(self._reader.take(page))
            if not self._ready and self._reader.after >= page.last:
                with move_on_after(self.poll_seconds):
                    await self._changed.wait()

    async def _read(self, after: int, limit: int) -> LogPage:
        return await self._gateway.call(event_log_of(self._gateway.broker).read, after, limit)


@asynccontextmanager
async def follow(gateway: Gateway, wanted: EventFilter | None, since: Since) -> AsyncGenerator[EventStream, None]:
    """Open a stream; see `App.follow`."""
    stream = EventStream(gateway, wanted, since)
    async with gateway.listen(["log"], stream.on_hint):
        await stream.begin()
        yield stream
