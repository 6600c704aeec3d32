"""A raw body together with where its answer goes, for brokers whose messages say that beside the body.

    \\0nursery-tasks-raw {"reply_to": "amq.gen-x", "id": "7"}\\n<the body>

A body that begins otherwise is all body.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

_MARK: Final = b"\0nursery-tasks-raw "


class Letterhead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message said beside its raw body.

    Attributes:
        reply_to: Where the answer goes.
        id: What the answer repeats.
    """

    reply_to: str | None = None
    id: str | None = None


_decode: Final = msgspec.json.Decoder(Letterhead).decode
_NOTHING: Final = Letterhead()


def wrap_raw(body: bytes, head: Letterhead) -> bytes:
    """Return a payload that says both."""
    return b"%s%s\n%s" % (_MARK, msgspec.json.encode(head), body)


def unwrap_raw(payload: bytes) -> tuple[Letterhead, bytes]:
    """Return what was said beside the body, and the body."""
    if not payload.startswith(_MARK):
        return _NOTHING, payload
    head, _, body = payload[len(_MARK) :].partition(b"\n")
    try:
        return _decode(head), body
    except msgspec.MsgspecError:  # somebody's body looks like ours
        return _NOTHING, payload


def put_head(letter: bytes, head: Letterhead) -> bytes | None:
    """Return a letter in JSON with what its head says, as far as it does not say so itself; None: this is no such letter."""
    try:
        fields = msgspec.json.decode(letter, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
    if not isinstance(fields.get("task"), str):
        return None
    for name in ("reply_to", "id"):
        value = getattr(head, name)
        if value is not None and fields.get(name) in (None, ""):
            fields[name] = value
    return msgspec.json.encode(fields)


def to_inbox(body: bytes, head: Letterhead) -> tuple[bytes, bool]:
    """Return what to put into an inbox that takes nothing but bodies, and whether it is raw there."""
    letter = put_head(body, head)
    if letter is not None:
        return letter, False
    return (body if head.reply_to is None else wrap_raw(body, head)), True
