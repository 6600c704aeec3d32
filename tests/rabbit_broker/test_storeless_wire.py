"""What is on the wire between processes of different versions, byte for byte: a server keeps messages over an upgrade."""

from __future__ import annotations

import pytest
from pamqp import commands

from nursery_tasks.brokers.amqp.deliveries import DeliveredMessage, DeliveryTags
from nursery_tasks.brokers.amqp.storeless.control_messages import (
    Bye,
    CancelJobs,
    ControlMessage,
    Ended,
    Hello,
    Holds,
    read_control_message,
    to_all,
    to_one,
)
from nursery_tasks.brokers.amqp.storeless.envelopes import open_envelope, reply_queue_of, to_envelope, to_message
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.states import JobState

JOB = Submission(
    "a", "work", "add", b'{"task":"add"}', priority=3, expires_seconds=60.0, tags=("x",), owner=b"o", max_crashes=2
)
ENVELOPE = (
    b'\xde\x00\x0b\xa2id\xa1a\xa5queue\xa4work\xa4task\xa3add\xa7payload\xc4\x0e{"task":"add"}\xaacreated_at\xcb@\x8f@\x00\x00'
    b"\x00\x00\x00\xa6due_at\xcb@\x8f@\x00\x00\x00\x00\x00\xa8priority\x03\xaaexpires_at\xcb@\x90\x90\x00\x00\x00\x00\x00"
    b"\xabmax_crashes\x02\xa5owned\xc3\xa4tags\x91\xa1x"
)
CONTROL_MESSAGES: list[tuple[ControlMessage, bytes]] = [
    (Hello("b", True), b"\x83\xa4type\xa5hello\xa3box\xa1b\xa5works\xc3"),
    (Bye("b"), b"\x82\xa4type\xa3bye\xa3box\xa1b"),
    (
        CancelJobs("b", 7, [("a", None, 1000.0)]),
        b"\x84\xa4type\xa7cancels\xa3box\xa1b\xa6number\x07\xa4jobs\x91\x93\xa1a\xc0\xcb@\x8f@\x00\x00\x00\x00\x00",
    ),
    (Holds("b", 7, ["a"]), b"\x84\xa4type\xa5holds\xa3box\xa1b\xa6number\x07\xa3ids\x91\xa1a"),
    (
        Ended("a", JobState.SUCCEEDED, b"{}"),
        b"\x84\xa4type\xa5ended\xa2id\xa1a\xa5state\xa9succeeded\xa7outcome\xc4\x02{}",
    ),
]


def test_an_envelope() -> None:
    envelope = to_envelope(JOB, 1000.0)
    message = to_message(envelope, "nursery-tasks.box.1f", "exchange", "key")
    assert message.body == ENVELOPE
    assert message.properties == {"message_type": "nursery-tasks.parcel", "priority": 3, "reply_to": "nursery-tasks.box.1f"}
    delivered = DeliveredMessage("work", 1, DeliveryTags(), 0.0, ENVELOPE, commands.Basic.Properties(**message.properties))
    assert open_envelope(delivered, 2000.0) == envelope
    assert reply_queue_of(delivered) == "nursery-tasks.box.1f"


@pytest.mark.parametrize(("message", "body"), CONTROL_MESSAGES, ids=lambda value: type(value).__name__)
def test_a_control_message(message: ControlMessage, body: bytes) -> None:
    assert to_one(message, "nursery-tasks.box.1f").body == to_all(message, "nursery-tasks.control").body == body
    assert to_one(message, "nursery-tasks.box.1f").properties == {"message_type": "nursery-tasks.word"}
    assert read_control_message(body) == message
