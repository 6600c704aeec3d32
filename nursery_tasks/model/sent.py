"""What a function's result is as messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .channel_message import ChannelMessage
from .outgoing import Outgoing
from .stage import Place

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


def to_channel_message(value: Any, to_json: Callable[[Any], bytes]) -> ChannelMessage:
    """Return a value as a message: one that is a message already as it is, bytes and texts as they are, and else JSON."""
    if isinstance(value, ChannelMessage):
        return value
    if isinstance(value, bytes):
        return ChannelMessage(body=value)
    if isinstance(value, str):
        return ChannelMessage(body=value.encode(), content_type=TEXT)
    return ChannelMessage(body=to_json(value), content_type=JSON)


def named(message: ChannelMessage, message_id: str, correlation_id: str | None = None) -> ChannelMessage:
    """Return the message with an id, and with what an answer repeats, where it has none of its own."""
    if message.id is not None and (message.correlation_id is not None or correlation_id is None):
        return message
    return msgspec.structs.replace(
        message,
        id=message_id if message.id is None else message.id,
        correlation_id=correlation_id if message.correlation_id is None else message.correlation_id,
    )


def to_outgoing(place: Place, message: ChannelMessage) -> Outgoing:
    """Return a message as it stands in the outbox."""
    return Outgoing(str(place), msgspec.msgpack.encode(message))
