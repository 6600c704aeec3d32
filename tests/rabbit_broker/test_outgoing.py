"""Confirms are matched with what was published, whatever order they come in; no server is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pamqp.frame
import pytest
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelInvalidStateError, PublishError
from pamqp import commands
from pamqp.header import ContentHeader

from nursery_tasks.brokers.amqp.connection import Connection
from nursery_tasks.brokers.amqp.errors import Unsendable
from nursery_tasks.brokers.amqp.outgoing import Batch, OutgoingChannel, OutgoingMessage, to_frames
from nursery_tasks.brokers.amqp.portal import LinkLost
from nursery_tasks.brokers.amqp.taps import Tap, ack, nack


class Line:
    """Both ends of a channel: the connection and the driver's channel for whoever publishes, and the server."""

    number, max_content_size = 300, 1000

    def __init__(self) -> None:
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.written = b""
        self._tap: Tap | None = None
        self.channel = OutgoingChannel(cast(Connection, self), cast(AbstractChannel, self))

    @property
    def is_closed(self) -> bool:
        return self.closing.done()

    def put_tap(self, _channel: object, tap: Tap) -> None:
        self._tap = tap

    def write(self, frames: bytes) -> None:
        self.written += frames

    def say(self, *frames: bytes) -> None:
        """Let the server say something."""
        assert self._tap is not None
        for frame in frames:
            assert self._tap.take(frame[0], frame[7:-1], lambda _: commands.Basic.Properties())


def message(name: str, **more: Any) -> OutgoingMessage:
    return OutgoingMessage("an-exchange", "a-key", more.pop("body", b""), name, {"message_type": "t", **more})


def on_a_line(test: Callable[[Line], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def run() -> None:
        await test(Line())

    def run_test() -> None:
        asyncio.run(run())

    return run_test


def states(*batches: Batch) -> list[object]:
    """Return None for what is not known yet, and else the ids of what was refused."""
    return [[each.message_id for each in batch.refused] if batch.is_done else None for batch in batches]


@on_a_line
async def test_each_batch_hears_of_its_own(line: Line) -> None:
    first, second = line.channel.write([message("a"), message("b")]), line.channel.write([message("c"), message("d")])
    line.say(ack(300, 4), nack(300, 1))
    assert states(first, second) == [None, None]
    line.say(ack(300, 3, multiple=True))  # all that is open up to there
    assert states(first, second) == [["a"], []]
    third = line.channel.write([message("e")])
    line.say(ack(300, 2), ack(300, 5))  # one of them is known already
    assert states(third) == [[]]


@on_a_line
async def test_a_message_that_no_queue_takes_fails_its_batch(line: Line) -> None:
    good, bad = line.channel.write([message("a")]), line.channel.write([message("b")])
    back = commands.Basic.Return(312, "NO_ROUTE", "an-exchange", "a-key")
    header = ContentHeader(properties=commands.Basic.Properties(message_id="b", delivery_mode=2, message_type="t"))
    line.say(pamqp.frame.marshal(back, 300), pamqp.frame.marshal(header, 300), ack(300, 2, multiple=True))
    assert good.error is None
    assert isinstance(bad.error, PublishError)
    assert bad.error.frame.routing_key == "a-key"  # type: ignore[union-attr]


@on_a_line
async def test_a_channel_that_is_closed_answers_all_and_takes_nothing(line: Line) -> None:
    done, lost = line.channel.write([message("a")]), line.channel.write([message("b"), message("c")])
    line.say(ack(300, 1), ack(300, 2))
    line.closing.set_result(None)
    await lost.wait(10)
    assert done.error is None
    assert isinstance(lost.error, LinkLost)
    with pytest.raises(ChannelInvalidStateError):
        line.channel.write([message("d")])


@on_a_line
async def test_what_cannot_be_sent_shifts_no_number(line: Line) -> None:
    with pytest.raises(Unsendable):
        line.channel.write([message("a"), message("b", message_type=7)])
    assert line.written == b""
    batch = line.channel.write([message("c")])
    line.say(ack(300, 1))
    assert states(batch) == [[]]


def test_a_message_is_as_the_library_writes_it() -> None:
    found = to_frames(message("a", body=b"x" * 2500, headers={"h": 1}), 300, 1000)
    kinds: list[tuple[str, int]] = []
    body = b""
    while found:
        size, channel, frame = pamqp.frame.unmarshal(found)
        kinds.append((frame.name, channel))
        body += getattr(frame, "value", b"")
        found = found[size:]
    assert kinds == [("Basic.Publish", 300), ("ContentHeader", 300), *[("ContentBody", 300)] * 3]
    assert body == b"x" * 2500
