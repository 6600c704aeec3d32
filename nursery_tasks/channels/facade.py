"""`app.channels`: the channels of an app by name, and what a program does with them itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol
from uuid import uuid4

import msgspec
from anyio import create_task_group, move_on_after

from ..errors import AppNotOpen, ChannelError, InvalidOptions, NotSupported
from ..model.options import check_queue
from ..shown import redacted
from .message import ChannelMessage
from .protocol import Channel, Peeks
from .url import check_channel_url, open_channel

CHECK_SECONDS: Final = 10.0
PEEKED: Final = 10


class OwnQueues(Protocol):
    """The queues of the app's own broker, which are what a place without a channel's name means."""

    async def send(
        self,
        name: str,
        body: bytes | str,
        *,
        id: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str: ...


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at one channel has shown.

    Attributes:
        name: Its name in the app.
        url: Its URL without a password.
        up: Whether it answers.
        text: What is there, or what is wrong.
    """

    name: str
    url: str
    up: bool
    text: str


class Channels(Mapping[str, Channel]):
    """The channels of an app by name: `app.channels`. As a mapping it has those that are open, in `async with app`.

    Args:
        given: A URL, or a channel, for each name.
        queues: The queues of the app's own broker.

    Raises:
        InvalidOptions: A name or a URL makes no sense.
    """

    def __init__(self, given: Mapping[str, str | Channel] | None, queues: OwnQueues) -> None:
        if not isinstance(given or {}, Mapping):
            raise InvalidOptions("channels", given, "URLs by name, such as {'rabbit': 'amqp://host'}")
        self._given = {check_channel_name(name): _check_channel(channel) for name, channel in (given or {}).items()}
        self._queues = queues
        self._open: dict[str, Channel] | None = None
        self._parents: list[object] = []  # what a forked child has inherited: never used, and never let go

    def __getitem__(self, name: str) -> Channel:
        if name not in self._given:
            raise KeyError(name)
        if self._open is None:
            raise AppNotOpen("this call")
        return self._open[name]

    def __contains__(self, name: object) -> bool:
        return name in self._given

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    @property
    def shown(self) -> dict[str, str]:
        """The URLs without passwords, by name, for people."""
        return {name: redacted(each) if isinstance(each, str) else each.name for name, each in self._given.items()}

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """Keep the channels open; each connects when it is first used.

        Raises:
            InvalidChannelUrl: A URL makes no sense, or what it needs is not installed.
        """
        async with AsyncExitStack() as stack:
            channels = {name: open_channel(each) if isinstance(each, str) else each for name, each in self._given.items()}
            for channel in channels.values():
                await stack.enter_async_context(channel.open())
            self._open = channels
            try:
                yield
            finally:
                self._open = None

    def leave_to_parent(self) -> None:
        """Be closed: called in a forked child, where the threads of open channels are gone."""
        self._parents.append(self._open)
        self._open = None

    async def send(
        self,
        to: str,
        body: Any,
        *,
        id: str | None = None,
        content_type: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Send one message, and return its id when the other side has it.

            await app.channels.send("rabbit:orders", {"item": 7}, headers={"x-shop": "eu"})

        Args:
            to: `channel:place`; without a channel, a queue of the app's own broker (see `app.queues.send`).
            body: Bytes, or a text; anything else is sent as JSON.
            id: Its id, so that who receives it twice can drop the second; None: a new one.
            content_type: What the body is; default: `application/json` where it was made JSON here.

        Raises:
            InvalidOptions: There is no such channel, or can be no such place.
            ChannelUnavailable: The channel is away, or an answer did not come: unknown whether it was sent. Send it again, with
                the same id.
            ChannelRefused: The other side does not take it.

        Cancellation:
            Leaves unknown whether it was sent.
        """
        if not isinstance(body, bytes | str):
            body, content_type = msgspec.json.encode(body), content_type or "application/json"
        name, place = self.split(to)
        said: dict[str, Any] = {"content_type": content_type, "reply_to": reply_to, "correlation_id": correlation_id}
        if name is None:
            return await self._queues.send(place, body, id=id, headers=headers, **said)
        message_id = uuid4().hex if id is None else id
        data = body.encode() if isinstance(body, str) else body
        await self[name].send(place, [ChannelMessage(body=data, id=message_id, headers=dict(headers or {}), **said)])
        return message_id

    async def peek(self, place: str, limit: int = PEEKED) -> list[ChannelMessage]:
        """Look at messages that wait, the next one first, and leave them there.

        Raises:
            NotSupported: The channel cannot.
            ChannelError: As `send` does.
        """
        name, place = self.split(place)
        if name is None:
            raise InvalidOptions("place", place, "channel:place; `app.queues.peek(...)` looks into a queue of the app's broker")
        channel = self[name]
        if not isinstance(channel, Peeks):
            raise NotSupported(channel.name, "way to look at messages without receiving them")
        return list(await channel.peek(place, limit))

    async def check(self, *names: str) -> list[ChannelState]:
        """Look whether channels answer, all at once; default: each of them."""
        states: dict[str, ChannelState] = {}
        wanted = list(names or self._given)

        async def look(name: str) -> None:
            states[name] = await _look_at(name, self[name])

        async with create_task_group() as looks:
            for name in wanted:
                looks.start_soon(look, name)
        return [states[name] for name in wanted]

    def split(self, text: str) -> tuple[str | None, str]:
        """Return the channel's name and the place that `channel:place` means; without a channel, None and a queue's name.

        Raises:
            InvalidOptions: There is no such channel, or no such queue can be.
        """
        name, colon, place = text.partition(":")
        if not colon:
            return None, check_queue("queue", text)
        if name not in self._given:
            known = ", ".join(f"{each}:" for each in self._given) or "none: App(..., channels={...}) names them"
            raise InvalidOptions("channel", text, f"a place of one of the app's channels ({known})")
        if not place:
            raise InvalidOptions("channel", text, f"the name of a place behind {name}:")
        return name, place


def check_channel_name(name: object) -> str:
    """Return a channel's name.

    Raises:
        InvalidOptions: It is none.
    """
    if not isinstance(name, str) or not name.isascii() or not name.replace("_", "a").replace("-", "a").isalnum():
        raise InvalidOptions("channels", name, "names of letters, digits, _ and -")
    return name


def _check_channel(given: object) -> str | Channel:
    if isinstance(given, str):
        return check_channel_url(given)
    if isinstance(given, Channel) and not isinstance(given, type):
        return given
    raise InvalidOptions("channels", given, "URLs such as amqp://host, or objects that are channels")


async def _look_at(name: str, channel: Channel) -> ChannelState:
    text, up = f"no answer within {CHECK_SECONDS:g} s", False
    with move_on_after(CHECK_SECONDS):
        try:
            text, up = await channel.check(), True
        except (ChannelError, NotSupported) as error:
            text = error.problem if isinstance(error, ChannelError) else str(error)
    return ChannelState(name=name, url=channel.name, up=up, text=text)
