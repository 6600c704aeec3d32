"""A raw body together with where its answer goes, for brokers whose messages say that beside the body.

    \\0nursery-tasks-raw {"reply_to": "amq.gen-x", "id": "7"}\\n<the body>

A body that begins otherwise is all body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .channel_message import ChannelMessage
from .codec import sniff

_MARK: Final = b"\0nursery-tasks-raw "


class ForeignHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message said beside its raw body.

    Attributes:
        reply_to: Where the answer goes.
        id: What the answer repeats.
        job: The job's id.
        message: What two copies of the message have in common.
        content_type: What the body is, as far as it was said.
        headers: What else was said.
    """

    reply_to: str | None = None
    id: str | None = None
    job: str | None = None
    message: str | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = {}


_decode: Final = msgspec.json.Decoder(ForeignHead).decode
_NOTHING: Final = ForeignHead()


def wrap_raw(body: bytes, head: ForeignHead) -> bytes:
    """Return a payload that says both."""
    return b"%s%s\n%s" % (_MARK, msgspec.json.encode(head), body)


def unwrap_raw(payload: bytes) -> tuple[ForeignHead, bytes]:
    """Return what was said beside the body, and the body."""
    if not payload.startswith(_MARK):
        return _NOTHING, payload
    head, _, body = payload[len(_MARK) :].partition(b"\n")
    try:
        return _decode(head), body
    except msgspec.MsgspecError:  # somebody's body looks like ours
        return _NOTHING, payload


def wrap_message(message: ChannelMessage) -> bytes:
    """Return the payload that says all that a message of a channel does.

    Raises:
        TypeError: A header is no text, or the body no bytes: a channel of another package may say anything.
    """
    if type(message.body) is not bytes:
        raise TypeError(f"the body is {type(message.body).__name__}, no bytes")
    for name, value in message.headers.items():
        if type(name) is not str or type(value) is not str:
            raise TypeError(f"the header {name!a} is {type(value).__name__}, no text")
    head = ForeignHead(
        reply_to=message.reply_to,
        id=message.correlation_id,
        message=message.id,
        content_type=message.content_type,
        headers=message.headers,
    )
    return wrap_raw(message.body, head)


def to_message(body: bytes, head: ForeignHead) -> ChannelMessage:
    """Return the message that `wrap_message` was given."""
    return ChannelMessage(
        body=body,
        content_type=head.content_type,
        id=head.message,
        reply_to=head.reply_to,
        correlation_id=head.id,
        headers=head.headers,
    )


def put_head(message: bytes, head: ForeignHead) -> bytes | None:
    """Return a foreign message with what its head says, as far as it does not say so itself; None: it is no message."""
    module = msgspec.json if sniff(message) == "json" else msgspec.msgpack
    try:
        fields = module.decode(message, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(fields.get("task"), str):
        return None
    for name in ("reply_to", "id"):
        value = getattr(head, name)
        if value is not None and fields.get(name) in (None, ""):
            fields[name] = value
    made: bytes = module.encode(fields)
    return made
