"""What a tap takes from a stream of frames, in whatever pieces it comes, and what is left to the driver."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from nursery_tasks.brokers.amqp import frames
from nursery_tasks.brokers.amqp.foreign import unreadable
from nursery_tasks.brokers.amqp.frames import ReadableStream
from nursery_tasks.brokers.amqp.taps import Tap, ack, nack, read_header, read_plain, write_plain

OURS = {"message_id": "an-id", "delivery_mode": 2, "message_type": "nursery-tasks.job"}


class Pieces:
    """A stream that gives what it has in pieces of a size."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)]

    async def read(self, _count: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def message(channel: int, method: Any, body: list[bytes], **properties: Any) -> bytes:
    """Return the frames of a message, with its body in so many."""
    header = ContentHeader(properties=commands.Basic.Properties(**properties), body_size=sum(map(len, body)))
    return b"".join(pamqp.frame.marshal(part, channel) for part in (method, header, *map(ContentBody, body)))


def delivery(number: int = 200, tag: str = "nt-1", *, again: bool = False) -> commands.Basic.Deliver:
    return commands.Basic.Deliver(tag, number, again, "an-exchange", "a-key")


def read(data: bytes, size: int, taps: dict[int, Tap]) -> list[bytes]:
    """Read all; returns the frames that the driver gets."""

    async def read_all() -> list[bytes]:
        stream = ReadableStream(cast(asyncio.StreamReader, Pieces(data, size)))
        stream.taps = taps
        found: list[bytes] = []
        while True:
            try:
                head = await stream.readexactly(1) + await stream.readexactly(6)
                found.append(head + await stream.readexactly(int.from_bytes(head[3:7]) + 1))
            except asyncio.IncompleteReadError:
                return found

    return asyncio.run(read_all())


@given(st.integers(min_value=1, max_value=400))
def test_messages_are_taken_and_the_rest_is_left_in_its_order(size: int) -> None:
    taken: list[Any] = []
    confirms: list[Any] = []
    mine = Tap(lambda tag, number, again, properties, body: taken.append((tag, number, again, properties.message_id, body)))
    publisher = Tap(on_confirm=lambda number, multiple, is_ack: confirms.append((number, multiple, is_ack)))
    answer = pamqp.frame.marshal(commands.Queue.DeclareOk("q", 200, 200), 1)
    others = message(3, delivery(), [b"not for a tap"], **OURS)
    fetched = message(1, commands.Basic.GetOk(7, False, "", "key", 0), [b"fetched"], **OURS)
    data = (
        message(1, delivery(), [b""][:0], **OURS)
        + answer
        + message(1, delivery(2**40, again=True), [b"one", b"two"], **OURS, headers={"x-delivery-count": 1})
        + others
        + ack(2, 5, multiple=True)
        + fetched
        + nack(2, 6)
    )
    assert b"".join(read(data, size, {1: mine, 2: publisher})) == answer + others + fetched
    assert taken == [("nt-1", 200, False, "an-id", b""), ("nt-1", 2**40, True, "an-id", b"onetwo")]
    assert confirms == [(5, True, True), (6, False, False)]


def test_properties_that_cannot_be_read_say_so() -> None:
    found: list[commands.Basic.Properties] = []
    tap = Tap(lambda _tag, _number, _again, properties, _body: found.append(properties))
    with_table = message(1, delivery(), [], headers={"a": "an-id"})
    for data in (message(1, delivery(), [], **OURS), with_table):
        read(data.replace(b"an-id", b"an\xff\xfed"), 100, {1: tap})
    assert "utf-8" in (unreadable(found[0]) or "")
    assert len(found) == 2


def test_a_driver_that_sees_no_message_hears_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server sends none while it sends messages, and the driver would take the link for dead."""
    monkeypatch.setattr(frames, "HEARTBEAT_SECONDS", 0.0)
    data = message(1, delivery(), [], **OURS)
    found = read(data + data, len(data), {1: Tap(lambda _tag, _number, _again, _properties, _body: None)})
    assert set(found) == {frames.HEARTBEAT}
    assert pamqp.frame.unmarshal(found[0])[2].name == "Heartbeat"


def test_answers_are_as_the_library_writes_them() -> None:
    assert ack(300, 2**40) == pamqp.frame.marshal(commands.Basic.Ack(2**40), 300)
    assert ack(1, 200, multiple=True) == pamqp.frame.marshal(commands.Basic.Ack(200, multiple=True), 1)
    assert nack(300, 200) == pamqp.frame.marshal(commands.Basic.Nack(200, requeue=True), 300)


TEXTS = ["content_type", "content_encoding", "correlation_id", "reply_to", "expiration", "message_id", "message_type", "app_id"]
NUMBERS = {"delivery_mode": st.sampled_from([1, 2]), "priority": st.integers(0, 255)}


@given(
    st.fixed_dictionaries({}, optional={**{name: st.text(min_size=1, max_size=90) for name in TEXTS}, **NUMBERS}),
    st.integers(0, 2**40),
)
def test_properties_are_read_and_written_as_by_the_library(given: dict[str, Any], size: int) -> None:
    theirs = ContentHeader(properties=commands.Basic.Properties(**given), body_size=size)
    payload = theirs.marshal()
    assert read_plain(payload) == theirs.properties
    assert write_plain(given, size) in (payload, None)
    assert write_plain({**given, "priority": 5}, size) is not None


@pytest.mark.parametrize(
    "given", [{"headers": {"a": 1}}, {"message_type": 7}, {"message_id": "x" * 256}, {"colour": "red"}, {"priority": True}]
)
def test_what_is_not_plain_is_left_to_the_library(given: dict[str, Any]) -> None:
    assert write_plain(given, 0) is None


@given(st.binary(max_size=40), st.integers(0, 0xFFFF))
def test_a_header_with_anything_in_it_is_read_as_the_library_does_or_left_to_it(junk: bytes, flags: int) -> None:
    payload = b"\x00\x3c" + bytes(10) + flags.to_bytes(2) + junk
    found = read_plain(payload)
    if found is not None:
        assert read_header(payload, 1).properties == found
