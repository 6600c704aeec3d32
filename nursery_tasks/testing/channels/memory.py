"""A channel in memory: a fake for tests of what is built on channels.

    channel = MemoryChannel()
    channel.put("orders", ChannelMessage(body=b"1"))
    channel.end("orders")  # no more will come: who receives gets `anyio.EndOfStream`
    channel.fail("send", error=ChannelUnavailable("memory:", "out of order"), times=1)
    stall = channel.stall("accept")
    channel.go_away()  # as if its server had died; `come_back()` starts it again, with all messages

It keeps every field of a message, and never loses one: what is received and not settled comes again when its source is closed,
or when the channel goes away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from anyio import EndOfStream, Event
from anyio.lowlevel import checkpoint

from ...channels import ChannelMessage, Received
from ...errors import ChannelRefused, ChannelUnavailable, InvalidOptions
from .hooks import CallHooks


class _Item:
    """A message that waits, or was received and is not settled."""

    __slots__ = ("came_again", "message")

    def __init__(self, message: ChannelMessage) -> None:
        self.message, self.came_again = message, False


class _Line:
    """A place: what waits there, and whether more can come."""

    def __init__(self) -> None:
        self.items: deque[_Item] = deque()
        self.ended = False


class MemoryChannel(CallHooks):
    """A channel in memory, for one event loop at a time; server and client in one.

    Args:
        name: How it is called in errors.

    Attributes:
        calls: How often `receive`, `accept`, `release`, `send` and `check` were called.
    """

    def __init__(self, name: str = "memory:") -> None:
        super().__init__()
        self.name = name
        self._lines: dict[str, _Line] = {}
        self._sources: list[MemorySource] = []
        self._away = False
        self._refused: dict[str, str] = {}  # place -> why
        self._waiting: set[Event] = set()  # of those who wait for any change

    # --- what a test says ----------------------------------------------------------------------------------------------------

    def put(self, place: str, *messages: ChannelMessage) -> None:
        """Let messages arrive."""
        self._line(place).items.extend(_Item(message) for message in messages)
        self.changed()

    def end(self, place: str) -> None:
        """Let no more come: when all that was there is settled, who receives gets `anyio.EndOfStream`."""
        self._line(place).ended = True
        self.changed()

    def refuse(self, place: str, problem: str = "it is no queue") -> None:
        """Do as if something stood there that can neither be read from nor sent to."""
        self._refused[place] = problem
        self.changed()

    def waiting(self, place: str) -> list[ChannelMessage]:
        """Return the messages that are there and were not received."""
        return [item.message for item in self._line(place).items]

    def unsettled(self, place: str) -> list[ChannelMessage]:
        """Return the messages that were received and are not settled."""
        return [item.message for source in self._sources if source.place == place for item in source.held]

    def go_away(self) -> None:
        """Do as if the server had died: calls raise `ChannelUnavailable`, what is unsettled comes again after `come_back`."""
        self._away = True
        for source in self._sources:
            source.give_all_back()
            source.told = False
        self.changed()

    def come_back(self) -> None:
        """End `go_away`."""
        self._away = False
        self.changed()

    # --- Channel -------------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        yield

    @asynccontextmanager
    async def open_source(self, place: str, *, prefetch: int) -> AsyncGenerator[MemorySource, None]:
        source = MemorySource(self, place, self._line(place), prefetch)
        self._sources.append(source)
        try:
            yield source
        finally:
            source.give_all_back()
            self._sources.remove(source)

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        await self.run_before("send")
        await checkpoint()
        self.check_there()
        self.check_taken(place)
        self.put(place, *messages)
        await self.run_after("send")

    async def count(self, place: str) -> int:
        await checkpoint()
        self.check_there()
        return len(self.waiting(place)) + len(self.unsettled(place))

    async def check(self) -> str:
        await self.run_before("check")
        await checkpoint()
        self.check_there()
        return f"{sum(len(line.items) for line in self._lines.values())} messages wait in {len(self._lines)} places"

    # --- for its sources -----------------------------------------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        return self._away

    def check_there(self) -> None:
        """Raise `ChannelUnavailable` when it is away."""
        if self._away:
            raise ChannelUnavailable(self.name, "it is away")

    def check_taken(self, place: str) -> None:
        """Raise `ChannelRefused` where a test says so."""
        if place in self._refused:
            raise ChannelRefused(self.name, f"{place}: {self._refused[place]}")

    def changed(self) -> None:
        """Wake all who wait for a change."""
        for event in self._waiting:
            event.set()

    async def wait_for_change(self) -> None:
        """Wait until something arrives, ends, is settled, goes away or comes back."""
        event = Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)

    def _line(self, place: str) -> _Line:
        if not place:
            raise InvalidOptions("place", place, "the name of a place")
        return self._lines.setdefault(place, _Line())


class MemorySource:
    """One reader of a place.

    Attributes:
        held: What was received and is not settled, in its order.
        told: Whether the caller knows that the channel is away.
    """

    def __init__(self, channel: MemoryChannel, place: str, line: _Line, prefetch: int) -> None:
        self.place = place
        self.held: list[_Item] = []
        self.told = False
        self._channel, self._line, self._prefetch = channel, line, prefetch

    async def receive(self, limit: int) -> list[Received]:
        await self._channel.run_before("receive")
        await checkpoint()
        items = await self._take(limit)
        try:
            await self._channel.run_after("receive")
        except BaseException:  # the caller will not know of them
            self._give_back([item for item in items if item in self.held])
            raise
        return [Received(item.message, item.came_again, item) for item in items]

    async def accept(self, received: Sequence[Received]) -> None:
        await self._channel.run_before("accept")
        await checkpoint()
        for item in self._own(received):
            self.held.remove(item)
        self._channel.changed()
        await self._channel.run_after("accept")

    async def release(self, received: Sequence[Received]) -> None:
        await self._channel.run_before("release")
        await checkpoint()
        self._give_back(self._own(received))
        await self._channel.run_after("release")

    def give_all_back(self) -> None:
        """Let all that is not settled come again."""
        self._give_back(self.held.copy())

    async def _take(self, limit: int) -> list[_Item]:
        """Wait for items, and take them without another wait: a cancel is before it or after it."""
        while True:
            if self._channel.is_away and not self.told:
                self.told = True
                self._channel.check_there()
            self._channel.check_taken(self.place)
            room = min(limit, self._prefetch - len(self.held))
            if not self._channel.is_away and room > 0:
                if self._line.items:
                    items = [self._line.items.popleft() for _ in range(min(room, len(self._line.items)))]
                    self.held += items
                    return items
                if self._line.ended and not self._channel.unsettled(self.place):  # those may come again
                    raise EndOfStream
            await self._channel.wait_for_change()

    def _own(self, received: Sequence[Received]) -> list[_Item]:
        self._channel.check_there()
        items = [each.tag for each in received]
        if any(item not in self.held for item in items):
            raise ChannelUnavailable(self._channel.name, "it was away since these were received; they come again")
        return items

    def _give_back(self, items: Sequence[_Item]) -> None:
        for item in items:
            item.came_again = True
            self.held.remove(item)
        self._line.items.extendleft(reversed(items))
        self._channel.changed()
