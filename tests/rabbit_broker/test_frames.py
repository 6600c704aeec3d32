"""What the driver cannot read is made readable, and the rest is left as it is; no server is needed."""

from __future__ import annotations

from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.header import ContentHeader

from nursery_tasks.brokers.amqp.foreign import unreadable
from nursery_tasks.brokers.amqp.frames import to_readable


def header(**properties: Any) -> bytes:
    return pamqp.frame.marshal(ContentHeader(properties=commands.Basic.Properties(**properties), body_size=70_000), 300)


def delivery(key: str = "a-key") -> bytes:
    return pamqp.frame.marshal(commands.Basic.Deliver("a-tag", 1 << 40, True, "an-exchange", key), 300)


def read(frame: bytes) -> Any:
    size, channel, found = pamqp.frame.unmarshal(to_readable(frame))
    assert (size, channel) == (len(to_readable(frame)), 300)
    return found


@pytest.mark.parametrize(
    "frame",
    [
        header(),
        header(message_id="an-id", priority=200),
        header(message_id="\u00e9", headers={"x": 200, "t": "\u00e9"}),
        delivery(),
        delivery("\u00e9"),
        pamqp.frame.marshal(commands.Queue.DeclareOk("q", 200, 200), 1),
    ],
)
def test_what_can_be_read_stays_as_it_is(frame: bytes) -> None:
    assert to_readable(frame) == frame


def test_properties_that_cannot_be_read_become_a_note() -> None:
    found = read(header(message_id="an-id", priority=5).replace(b"an-id", b"an\xff\xfed"))
    assert found.body_size == 70_000  # or else the driver would take the next frame for another message's
    assert "utf-8" in (unreadable(found.properties) or "")
    assert unreadable(read(header(message_type="\u00e9")).properties) is None


@given(st.binary(max_size=60), st.booleans())
def test_whatever_is_in_a_header_can_be_read(junk: bytes, has_table: bool) -> None:
    frame = header(headers={"x": 1}) if has_table else header(message_id="an-id")
    body = frame[7:21] + len(junk).to_bytes(4 if has_table else 1) + junk  # the server sees to it that sizes are right
    found = read(frame[:3] + len(body).to_bytes(4) + body + frame[-1:])
    assert found.body_size == 70_000


@given(st.binary(min_size=1, max_size=255))
def test_places_only_have_to_look_like_a_text(key: bytes) -> None:
    frame = delivery("KEY")
    body = frame[7:-4].removesuffix(b"\x03") + bytes([len(key)]) + key
    found = read(frame[:3] + len(body).to_bytes(4) + body + frame[-1:])
    assert (found.consumer_tag, found.delivery_tag, found.redelivered) == ("a-tag", 1 << 40, True)
    assert found.exchange == "an-exchange"
