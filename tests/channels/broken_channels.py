"""Channels with one fault each: what the contract suite must not let pass. Each names the check that is made for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from nursery_tasks.channels import ChannelMessage, Received
from nursery_tasks.errors import ChannelRefused, ChannelUnavailable
from nursery_tasks.testing.channels import MemoryChannel
from nursery_tasks.testing.channels.memory import MemorySource

MUTANTS: dict[type[MemoryChannel], str] = {}


def caught_by(check: str):
    """Register a channel with a fault, or a source with one, which the named check has to catch."""

    def add(cls: type[Any]) -> type[Any]:
        channel = cls
        if issubclass(cls, MemorySource):

            class WithSource(MemoryChannel):
                @asynccontextmanager
                async def open_source(self, place: str, *, prefetch: int) -> AsyncGenerator[MemorySource, None]:
                    source = cls(self, place, self._line(place), prefetch)
                    self._sources.append(source)
                    try:
                        yield source
                    finally:
                        source.close()
                        self._sources.remove(source)

            WithSource.__name__ = cls.__name__
            channel = WithSource
        MUTANTS[channel] = check
        return cls

    return add


class Source(MemorySource):
    def close(self) -> None:
        self.give_all_back()


class Changing(MemoryChannel):
    """Changes each message on its way."""

    def change(self, message: ChannelMessage) -> ChannelMessage:
        raise NotImplementedError

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        await super().send(place, [self.change(message) for message in messages])


@caught_by("in_order")
class LastFirst(MemoryChannel):
    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        await super().send(place, messages[::-1])


@caught_by("no_more_than_the_limit")
class IgnoresTheLimit(Source):
    async def receive(self, limit: int) -> list[Received]:
        return await super().receive(100)


@caught_by("waits_for_a_message")
class ReturnsNothing(Source):
    async def receive(self, limit: int) -> list[Received]:
        return await super().receive(limit) if self._line.items else []


@caught_by("sending_nothing")
class SendsSomething(MemoryChannel):
    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        await super().send(place, messages or [ChannelMessage(body=b"")])


@caught_by("bodies_of_all_kinds")
class EndsAtNul(Changing):
    def change(self, message: ChannelMessage) -> ChannelMessage:
        return msgspec.structs.replace(message, body=message.body.partition(b"\0")[0])


@caught_by("bodies_of_all_kinds")
class OnlyText(Changing):
    def change(self, message: ChannelMessage) -> ChannelMessage:
        return msgspec.structs.replace(message, body=message.body.decode(errors="replace").encode())


@caught_by("bodies_of_all_kinds")
class Strips(Changing):
    def change(self, message: ChannelMessage) -> ChannelMessage:
        return msgspec.structs.replace(message, body=message.body.strip(b" "))


@caught_by("fields_are_kept")
class DropsTheType(Changing):
    def change(self, message: ChannelMessage) -> ChannelMessage:
        return msgspec.structs.replace(message, content_type=None)


@caught_by("absent_stays_absent")
class InventsAnId(Changing):
    def change(self, message: ChannelMessage) -> ChannelMessage:
        return msgspec.structs.replace(message, id=message.id or "made up")


@caught_by("odd_headers")
class HeadersInLatin(Changing):
    def change(self, message: ChannelMessage) -> ChannelMessage:
        headers = {name: text.encode("latin-1", "replace").decode("latin-1") for name, text in message.headers.items()}
        return msgspec.structs.replace(message, headers=headers)


@caught_by("places_are_apart")
class OnePlace(MemoryChannel):
    def _line(self, place: str) -> Any:
        return super()._line(place and "all")


@caught_by("a_source_that_ends")
class EndsTooEarly(Source):
    async def receive(self, limit: int) -> list[Received]:
        if (self._line.ended and not self._line.items) or self.place in self._channel.calls:
            raise anyio.EndOfStream
        if self._line.ended:
            self._channel.calls[self.place] += 1
        return await super().receive(limit)


@caught_by("accepted_is_gone")
class AcceptsOnlyTheFirst(Source):
    async def accept(self, received: Sequence[Received]) -> None:
        await super().accept(received[:1])


@caught_by("accepted_is_gone")
class AcceptsAllUpTo(Source):
    async def accept(self, received: Sequence[Received]) -> None:
        last = self.held.index(received[-1].tag)
        await super().accept([Received(item.message, item.came_again, item) for item in self.held[: last + 1]])


@caught_by("unsettled_comes_again")
class GoneWhenReceived(Source):
    def close(self) -> None:
        self.held.clear()


@caught_by("unsettled_comes_again")
class NeverSaysAgain(Source):
    async def receive(self, limit: int) -> list[Received]:
        return [Received(each.message, False, each.tag) for each in await super().receive(limit)]


@caught_by("released_comes_again")
class ReleaseIsLost(Source):
    async def release(self, received: Sequence[Received]) -> None:
        await super().accept(received)


@caught_by("no_more_than_the_prefetch")
class TakesAll(Source):
    async def receive(self, limit: int) -> list[Received]:
        self._prefetch = 100
        received = await super().receive(100)
        if len(received) > limit:
            self._channel.calls["kept"] += 1
            self.kept = received[limit:]
        return received[:limit]


@caught_by("each_message_to_one_source")
class ToEverybody(Source):
    async def receive(self, limit: int) -> list[Received]:
        received = await super().receive(limit)
        for each in received:
            if not each.came_again and len(self._channel._sources) > 1:
                each.tag.came_again = True
                self._line.items.append(each.tag)
        return received

    async def accept(self, received: Sequence[Received]) -> None:
        for each in received:
            if each.tag in self.held:
                self.held.remove(each.tag)
        self._channel.changed()


@caught_by("a_cut_receive")
class LosesWhatIsCut(Source):
    async def receive(self, limit: int) -> list[Received]:
        received = await super().receive(limit)
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException:
            for each in received:
                self.held.remove(each.tag)
            raise
        return received


@caught_by("a_cut_wait")
class WaitsOn(Source):
    """What was cut goes on behind the caller's back, and takes the next message."""

    cut = 0

    async def receive(self, limit: int) -> list[Received]:
        if self.cut:
            self.cut -= 1
            received = await super().receive(1)
            self.held.remove(received[0].tag)
        try:
            return await super().receive(limit)
        except anyio.get_cancelled_exc_class():
            self.cut += 1
            raise


@caught_by("a_cut_release")
class CutReleaseIsLost(Source):
    async def release(self, received: Sequence[Received]) -> None:
        own = self._own(received)
        for item in own:
            self.held.remove(item)
        await anyio.lowlevel.checkpoint()
        self.held += own
        await super().release(received)


@caught_by("a_cut_send")
class CutTakesOthersAlong(MemoryChannel):
    def __init__(self) -> None:
        super().__init__()
        self.batch: list[ChannelMessage] = []

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        self.batch += messages
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException:
            self.batch.clear()
            raise
        batch, self.batch = self.batch, []
        self.put(place, *batch)


@caught_by("calls_say_that_it_is_away")
class FireAndForget(MemoryChannel):
    def check_there(self) -> None:
        pass


@caught_by("calls_say_that_it_is_away")
class RaisesItsDriversError(MemoryChannel):
    def check_there(self) -> None:
        if self.is_away:
            raise ConnectionResetError


@caught_by("a_source_comes_back")
class NeverComesBack(Source):
    gone = False

    async def receive(self, limit: int) -> list[Received]:
        if self.gone:
            await anyio.sleep_forever()
        try:
            return await super().receive(limit)
        except ChannelUnavailable:
            self.gone = True
            raise


@caught_by("nothing_is_lost_on_the_way")
class LostOnTheWay(MemoryChannel):
    def go_away(self) -> None:
        for source in self._sources:
            source.held.clear()
        super().go_away()


@caught_by("nothing_is_lost_on_the_way")
class AcceptsWhileAway(Source):
    async def accept(self, received: Sequence[Received]) -> None:
        if not self._channel.is_away:
            await super().accept(received)


@caught_by("opened_while_away")
class MustBeThereToOpen(Source):
    def __init__(self, channel: MemoryChannel, *args: Any) -> None:
        channel.check_there()
        super().__init__(channel, *args)


@caught_by("impossible_names")
class TakesAnyName(MemoryChannel):
    def _line(self, place: str) -> Any:
        return super()._line(place or "-")


@caught_by("something_else_is_there")
class SendsToAnything(MemoryChannel):
    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        self.put(place, *messages)


@caught_by("something_else_is_there")
class WaitsForAQueue(Source):
    async def receive(self, limit: int) -> list[Received]:
        try:
            return await super().receive(limit)
        except ChannelRefused:
            await anyio.sleep_forever()
            raise
