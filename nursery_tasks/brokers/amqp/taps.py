"""The frames that come for each message, read from whole buffers before the driver sees them; and the answers, as bytes.

The driver reads a frame in three steps, decodes it by tables, and hands each message to a task of its own: that is most of what
a job costs. So whoever expects many messages on a channel puts a tap on it, which takes these frames and no others:

    basic.deliver, basic.return   with the content header and the bodies that follow on the same channel
    basic.ack, basic.nack         the server's confirms

All the rest (calls and their answers, what ends channels and connections) stays with the driver.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

import pamqp.frame
from pamqp import commands
from pamqp.header import ContentHeader

METHOD, HEADER, BODY = 1, 2, 3  # types of frames
END: Final = b"\xce"
FRAME_HEAD: Final = struct.Struct(">BHI")  # the frame's type, its channel, and the size of what follows before the end
_BASIC: Final = b"\x00\x3c"  # the class of the methods below
_DELIVER, _RETURN, _ACK, _NACK = 60, 50, 80, 120
_NUMBER: Final = struct.Struct(">Q")
_SIZE: Final = struct.Struct(">Q")  # of the bodies, in a content header, after its class and its weight
_ANSWER: Final = struct.Struct(">BHIHHQBB")
_ANSWER_SIZE: Final = 13
_MULTIPLE, _REQUEUE = 1, 2  # bits
_TEXT_MOST: Final = 255  # bytes
FIXED: Final = 14  # bytes of a content header before its properties: class, weight, body size, and which of them there are
_FLAGS: Final = struct.Struct(">H")
_HEADER_HEAD: Final = struct.Struct(">HHQH")
_BASIC_CLASS: Final = 60
# (its flag, its name, whether it is a text and no number), in the order in which they stand in a header
_FIELDS: Final = tuple(
    (commands.Basic.Properties.flags[name], name, name not in ("delivery_mode", "priority"))
    for name in commands.Basic.Properties.__slots__
    if name not in ("headers", "timestamp", "cluster_id")
)
_PLAIN: Final = sum(flag for flag, _, _ in _FIELDS)
_NAMES: Final = frozenset(name for _, name, _ in _FIELDS)

# (the consumer's tag, the delivery's number, whether somebody had it before, properties, body)
OnDelivery = Callable[[str, int, bool, commands.Basic.Properties, bytes], None]
OnConfirm = Callable[[int, bool, bool], None]  # (number, whether all before it are meant as well, whether it is an ack)
OnReturn = Callable[[bytes, commands.Basic.Properties], None]  # (the method's payload, properties)


class Tap:
    """Takes the frames of one channel that come for each message.

    Args:
        on_delivery, on_confirm, on_return: Called with what was taken; None: the driver gets it. They must not raise.
    """

    def __init__(
        self,
        on_delivery: OnDelivery | None = None,
        on_confirm: OnConfirm | None = None,
        on_return: OnReturn | None = None,
    ) -> None:
        self._on_delivery, self._on_confirm, self._on_return = on_delivery, on_confirm, on_return
        self._method: bytes | None = None  # of the message that is coming
        self._properties = commands.Basic.Properties()
        self._left = 0  # bytes of its body
        self._parts: list[bytes] = []

    def take(self, kind: int, payload: bytes, readable: Callable[[bytes], commands.Basic.Properties]) -> bool:
        """Take a frame, or leave it to the driver.

        Args:
            readable: Decodes properties, whatever is in them.
        """
        if kind == METHOD:
            return payload[:2] == _BASIC and self._take_method(payload[3], payload)
        if self._method is None:
            return False
        if kind == HEADER:
            (self._left,) = _SIZE.unpack_from(payload, 4)
            self._properties = read_plain(payload) or readable(payload)
        else:
            self._parts.append(payload)
            self._left -= len(payload)
        if self._left <= 0:
            self._finish()
        return True

    def _take_method(self, method: int, payload: bytes) -> bool:
        if (method == _DELIVER and self._on_delivery is not None) or (method == _RETURN and self._on_return is not None):
            self._method = payload
            return True
        if method in (_ACK, _NACK) and self._on_confirm is not None:
            (number,) = _NUMBER.unpack_from(payload, 4)
            self._on_confirm(number, bool(payload[12] & _MULTIPLE), method == _ACK)
            return True
        return False

    def _finish(self) -> None:
        method, self._method = self._method or b"", None
        parts, self._parts = self._parts, []
        if method[3] == _RETURN:
            if self._on_return is not None:
                self._on_return(method, self._properties)
        elif self._on_delivery is not None:
            end = (
                5 + method[4]
            )  # of the consumer's tag; the exchange and the key stand behind the rest, and nobody asks for them
            (number,) = _NUMBER.unpack_from(method, end)
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            self._on_delivery(method[5:end].decode("utf-8", "replace"), number, bool(method[end + 8]), self._properties, body)


def read_plain(payload: bytes) -> commands.Basic.Properties | None:
    """Decode properties that are texts and small numbers; None: there are others, or something is wrong with these."""
    (flags,) = _FLAGS.unpack_from(payload, FIXED - 2)
    if flags & ~_PLAIN:
        return None
    properties = commands.Basic.Properties()
    at = FIXED
    try:
        for flag, name, is_text in _FIELDS:
            if not flags & flag:
                continue
            end = at + 1
            if is_text:
                end += payload[at]
                setattr(properties, name, payload[at + 1 : end].decode())
            else:
                setattr(properties, name, payload[at])
            at = end
    except (UnicodeDecodeError, IndexError):
        return None
    return properties if at == len(payload) else None


def write_plain(properties: Mapping[str, object], size: int) -> bytes | None:
    """Return the payload of a content header with such properties; None: there are others, or something is wrong with these.

    Args:
        size: Of the body, in bytes.
    """
    flags, values = 0, b""
    if not properties.keys() <= _NAMES:
        return None
    for flag, name, is_text in _FIELDS:
        value = properties.get(name)
        if value is None or value == "":
            continue
        if is_text and type(value) is str:
            text = value.encode()
            if len(text) > _TEXT_MOST:
                return None
            values += bytes((len(text),)) + text
        elif not is_text and type(value) is int and 0 <= value < 0x80:
            values += bytes((value,))
        else:
            return None
        flags |= flag
    return _HEADER_HEAD.pack(_BASIC_CLASS, 0, size, flags) + values


def read_header(payload: bytes, channel: int) -> ContentHeader:
    """Decode a content header by the library; its errors come through."""
    found = pamqp.frame.unmarshal(to_frame(HEADER, channel, payload))[2]
    assert isinstance(found, ContentHeader)
    return found


def to_frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Return a payload as a frame."""
    return FRAME_HEAD.pack(kind, channel, len(payload)) + payload + END


def ack(channel: int, number: int, *, multiple: bool = False) -> bytes:
    """Return the frame that acknowledges a delivery, or all up to it."""
    return _ANSWER.pack(METHOD, channel, _ANSWER_SIZE, 60, _ACK, number, multiple, END[0])


def nack(channel: int, number: int) -> bytes:
    """Return the frame that gives a delivery back."""
    return _ANSWER.pack(METHOD, channel, _ANSWER_SIZE, 60, _NACK, number, _REQUEUE, END[0])
