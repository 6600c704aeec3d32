"""The words that the checks of channels are written in.

They raise `AssertionError` themselves, so that `python -O` changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyio import sleep

from ...channels import Channel, ChannelMessage, Received, Source
from ...errors import ChannelUnavailable


def texts(*bodies: str) -> list[ChannelMessage]:
    """Return messages with these bodies, and nothing else."""
    return [ChannelMessage(body=body.encode()) for body in bodies]


def numbered(count: int, begin: int = 0) -> list[str]:
    return [f"{number:04}" for number in range(begin, begin + count)]


def bodies(received: Sequence[Received]) -> list[str]:
    return [each.message.body.decode() for each in received]


async def receive(source: Source, count: int) -> list[Received]:
    """Receive so many messages, over as many calls as it takes."""
    received: list[Received] = []
    while len(received) < count:
        some = await source.receive(count - len(received))
        expect(0 < len(some) <= count - len(received), f"receive({count - len(received)}) returned {len(some)} messages")
        received += some
    return received


async def take(source: Source, count: int) -> list[str]:
    """Receive so many messages and accept them; returns their bodies."""
    received = await receive(source, count)
    await source.accept(received)
    return bodies(received)


async def expect_left(source: Source, channel: Channel, place: str, *left: str) -> None:
    """Check that only these are still there, in any order: a mark that is sent now comes behind them."""
    await channel.send(place, texts("the mark"))
    found = await take(source, len(left) + 1)
    expect_equal(sorted(found), sorted([*left, "the mark"]), "what is left, and the mark behind it")


async def send_when_back(channel: Channel, place: str, body: str) -> None:
    """Send a message over a channel that has come back; it may find out only now that an old connection is dead."""
    while True:
        try:
            return await channel.send(place, texts(body))
        except ChannelUnavailable:
            await sleep(0.01)


async def receive_when_back(source: Source, count: int) -> list[Received]:
    """Receive so many messages from a source whose channel may be away at first."""
    received: list[Received] = []
    while len(received) < count:
        try:
            received += await source.receive(count - len(received))
        except ChannelUnavailable:
            continue  # the next call waits for its return
    return received


async def accept_when_back(source: Source, count: int) -> list[Received]:
    """Receive and accept so many messages from a source whose channel may be away at first, and soon again."""
    while True:
        received = await receive_when_back(source, count)
        try:
            await source.accept(received)
        except ChannelUnavailable:
            continue  # then they come again
        return received


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def expect_equal(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {found!r}")
