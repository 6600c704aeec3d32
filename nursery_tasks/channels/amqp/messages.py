"""From a message of AMQP to one of ours, and back. Nothing that has a place on both sides is left out.

A header of AMQP may be a number, a time, a table; here it is a text, and so what is no text comes as JSON. The names of headers
are in lower case here. What cannot be read at all (see `brokers/amqp/frames.py`) has a header that says so, beside its body.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import msgspec

from ...brokers.amqp.deliveries import DeliveredMessage
from ...brokers.amqp.frames import REASON, UNREADABLE
from ...brokers.amqp.publishing import OutgoingMessage
from ..message import ChannelMessage
from .places import Target, to_place, to_reply_to

UNREADABLE_HEADER: Final = "nursery-tasks-unreadable"  # why the rest of a message is missing
_COUNTS: Final = ("x-delivery-count", "x-acquired-count")  # of a quorum queue; up to and from RabbitMQ 4.3


def to_message(body: bytes, properties: Any) -> ChannelMessage:
    """Return what was sent."""
    headers: Mapping[str, Any] = properties.headers or {}
    if properties.message_type == UNREADABLE:
        return ChannelMessage(body=body, headers={UNREADABLE_HEADER: str(headers.get(REASON))})
    return ChannelMessage(
        body=body,
        content_type=properties.content_type,
        id=properties.message_id,
        reply_to=None if properties.reply_to is None else to_place(properties.reply_to),
        correlation_id=properties.correlation_id,
        headers={name.lower(): _text(value) for name, value in headers.items()},
    )


def came_again(delivered: DeliveredMessage) -> bool:
    """Say whether a message may have been delivered before."""
    headers: Mapping[str, Any] = delivered.properties.headers or {}
    return delivered.redelivered or any(headers.get(name) for name in _COUNTS)


def to_outgoing(message: ChannelMessage, target: Target) -> OutgoingMessage:
    """Return what is to be published; one without an id gets one, by which the server's refusal is known."""
    said = {"content_type": message.content_type, "correlation_id": message.correlation_id}
    properties: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if message.reply_to is not None:
        properties["reply_to"] = to_reply_to(message.reply_to)
    if message.headers:
        properties["headers"] = dict(message.headers)
    # The server takes its own queues for answers (https://www.rabbitmq.com/docs/direct-reply-to) for none when it is asked.
    mandatory = not target.key.startswith("amq.rabbitmq.reply-to.")
    return OutgoingMessage(target.exchange, target.key, message.body, message.id or uuid4().hex, properties, mandatory)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, datetime):
        return value.isoformat()
    return msgspec.json.encode(value, enc_hook=str).decode()
