"""What a channel is: messages come in and are settled, messages go out and are confirmed.

A channel is opened once per event loop and kept. It connects by itself, also again; a caller that uses it meanwhile waits, or
is told by an error that it is away. Nothing here knows of jobs: the stages that are built on channels do.

Both directions are at least once. A message that was received and not settled when its source is closed, or its program dies,
comes again, here or elsewhere. A message whose `send` raised may have gone out all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from .message import ChannelMessage


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """One message that came in. It is settled once, by one of the methods of its source.

    Attributes:
        message: The message.
        came_again: Whether it may have been delivered before; a channel that cannot tell says True.
        tag: How the source finds it again.
    """

    message: ChannelMessage
    came_again: bool
    tag: Any


class Source(Protocol):
    """One place of a channel (a queue, a list) that is read from.

    One call of `receive` at a time; `accept` and `release` may be called meanwhile, from any task of the loop.
    """

    async def receive(self, limit: int) -> list[Received]:
        """Wait for messages; return at least one and at most *limit*, in the order in which they came.

        Raises:
            anyio.EndOfStream: No more will come, none that was released either. Only a source that is made for it ever ends.
            ChannelUnavailable: The channel is away. The source stays open: calling again waits for its return, and raises again
                when that takes long. So a caller that only calls again does not spin.
            ChannelRefused: What is there cannot be read from: it is no queue, or not for this user. A later call looks again.

        Cancellation:
            No message is lost: what the cut call would have returned comes again.
        """
        ...

    async def accept(self, received: Sequence[Received]) -> None:
        """Say that these are stored elsewhere: they are gone from here.

        Raises:
            ChannelUnavailable: The channel is away, or was in between; the messages may come again.

        Cancellation:
            Any of them may have been accepted; the others come again.
        """
        ...

    async def release(self, received: Sequence[Received]) -> None:
        """Give these back: they come again, here or elsewhere, as soon as may be. Raises as `accept` does."""
        ...


@runtime_checkable
class Peeks(Protocol):
    """A channel that can look at messages without taking them."""

    async def peek(self, place: str, limit: int) -> Sequence[ChannelMessage]:
        """Return messages that wait, the next one first, and leave them there. Raises as `Channel.send` does."""
        ...


@runtime_checkable
class Counts(Protocol):
    """A channel that knows how many messages are at a place: for the end of a pipeline."""

    async def count(self, place: str) -> int:
        """Return how many messages are there, as far as the server says; 0: none is there that could still come.

        What a reader has received and not settled counts where it would come again only after a while. Raises as `send`.
        """
        ...


@runtime_checkable
class Channel(Protocol):
    """A system outside that has nothing but messages.

    Attributes:
        name: Its URL without a password, for people.
    """

    name: str

    def open(self) -> AbstractAsyncContextManager[None]:
        """Keep the channel open while the block runs. It connects when it is first used, and is not awaited here."""
        ...

    def open_source(self, place: str, *, prefetch: int) -> AbstractAsyncContextManager[Source]:
        """Read from a place while the block runs; at most *prefetch* messages are here and not settled.

        Raises:
            InvalidOptions: There can be no such place.
            NotSupported: This channel is only for sending.
        """
        ...

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        """Send messages in this order, and return when the other side has said that it has them all.

        Raises:
            ChannelUnavailable: The channel is away, or an answer did not come. Any of them may have gone out: send them again.
            ChannelRefused: The other side does not take them, and will not take them the next time either.
            InvalidOptions: There can be no such place.

        Cancellation:
            Any of them may have gone out.
        """
        ...

    async def check(self) -> str:
        """Connect if need be, and say what is there in one line, for people. Raises as `send` does."""
        ...
