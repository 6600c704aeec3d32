"""What the server sends, made readable where somebody has put something into a message that the driver cannot read.

A name, an id or a header with bytes that are no UTF-8, or a header of a kind that the driver does not know: it would give up
the whole connection for one such message. The server delivers that again at once, so nobody would get any message any more.
So each frame is looked at before the driver reads it. Properties that cannot be read are replaced by a note that says so,
which makes a dead letter of the message; names of places only have to look like a text, because nobody goes by them.

And where the server refuses a connection it says why, which the driver does not pass on; here it is kept.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, cast

import pamqp.frame
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp import commands
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

from .taps import END, FIXED, FRAME_HEAD, HEADER, METHOD, Tap, read_header

UNREADABLE: Final = "nursery-tasks.unreadable"  # the type of such a message
REASON: Final = "reason"  # the header that says why
REASON_MOST: Final = 200  # characters of it

HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00" + END
HEARTBEAT_SECONDS: Final = 1.0
READ_BYTES: Final = 131_072

_HEAD: Final = FRAME_HEAD.size
_HAS_TABLE: Final = 0x20  # in the first byte of the latter
_CONNECTION: Final = b"\x00\x0a"  # a class
_CLOSE, _BLOCKED, _UNBLOCKED = 50, 60, 61  # methods of it
_BASIC: Final = 60  # the class of the methods below
_RETURN, _DELIVER, _GET_OK = 50, 60, 71
_UNREADABLE: Final = (PAMQPException, ValueError, LookupError, TypeError, OverflowError)


def to_readable(frame: bytes) -> bytes:
    """Return a whole frame as the driver can read it; mostly that is as it is."""
    if frame[0] == HEADER:
        body = frame[_HEAD:-1]
        if body[FIXED:].isascii() and not body[FIXED - 2] & _HAS_TABLE:
            return frame  # nothing in it can be wrong, and this look costs less than reading it twice
        return _with_note(frame)
    if frame[0] == METHOD and int.from_bytes(frame[_HEAD : _HEAD + 2]) == _BASIC:
        method = int.from_bytes(frame[_HEAD + 2 : _HEAD + 4])
        if method in (_RETURN, _DELIVER, _GET_OK) and not frame[_HEAD:-1].isascii():
            return _with_texts(frame, method)
    return frame


class ReadableStream:
    """A stream of frames, of which the driver reads as from the connection itself.

    What comes is read as it comes, many frames at once; those for which there is a tap on their channel the driver never sees.

    Attributes:
        taps: By the number of their channels.
        close: What the server has said at the end.
        is_blocked: Whether the server takes no messages for now.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = b""
        self._at = 0  # where in it the next frame begins
        self._left = b""  # of the frame that the driver is reading
        self._was_tapped = False  # since it had the last one
        self._heard_at = time.monotonic()
        self.taps: dict[int, Tap] = {}
        self.close: commands.Connection.Close | None = None
        self.is_blocked = False

    def at_eof(self) -> bool:
        return not self._left and self._at == len(self._buffer) and self._reader.at_eof()

    async def read(self) -> bytes:
        left, self._left = self._left + self._buffer[self._at :], b""
        self._buffer, self._at = b"", 0
        return left + await self._reader.read()

    async def readexactly(self, count: int) -> bytes:
        """Return the next bytes of a frame; no call asks for more than what is left of it."""
        if not self._left:
            self._left = await self._next_frame()
        part, self._left = self._left[:count], self._left[count:]
        return part

    async def _next_frame(self) -> bytes:
        """Return the next frame for the driver."""
        while (frame := self._frame_in_buffer()) is None:
            if self._was_tapped and time.monotonic() > self._heard_at + HEARTBEAT_SECONDS:
                frame = HEARTBEAT  # the server sends none while it sends messages, and the driver would miss them
                break
            more = await self._reader.read(READ_BYTES)
            left = self._buffer[self._at :]
            if not more:
                raise asyncio.IncompleteReadError(left, _HEAD)
            self._buffer, self._at = left + more if left else more, 0
        self._was_tapped, self._heard_at = False, time.monotonic()
        return frame

    def _frame_in_buffer(self) -> bytes | None:
        """Return the next frame for the driver that is here as a whole, if there is one; hand over those before it."""
        buffer, at = self._buffer, self._at
        while len(buffer) >= at + _HEAD:
            if buffer.startswith(b"AMQP", at):  # the server's way to refuse a version of the protocol
                self._at = at + _HEAD
                return buffer[at : self._at]
            kind, channel, size = FRAME_HEAD.unpack_from(buffer, at)
            begin, end = at + _HEAD, at + _HEAD + size
            if len(buffer) <= end:
                break
            self._at = end + 1
            tap = self.taps.get(channel)
            if tap is None or not tap.take(kind, buffer[begin:end], _read_properties):
                return to_readable(self._looked_at(buffer[at : end + 1]))
            at, self._was_tapped = end + 1, True
        return None

    def _looked_at(self, frame: bytes) -> bytes:
        """Take note of what the server says of the connection."""
        if frame[0] == METHOD and frame[_HEAD : _HEAD + 2] == _CONNECTION:
            method = int.from_bytes(frame[_HEAD + 2 : _HEAD + 4])
            if method == _CLOSE:
                found = pamqp.frame.unmarshal(frame)[2]
                self.close = found if isinstance(found, commands.Connection.Close) else None
            elif method in (_BLOCKED, _UNBLOCKED):
                self.is_blocked = method == _BLOCKED
        return frame


class Readable(TransportFactory):
    """What the driver opens one connection with.

    Attributes:
        stream: What it reads from, as soon as it is open.
    """

    def __init__(self, url: str) -> None:
        self._plain: TransportFactory = TLSTransportFactory() if url.startswith("amqps:") else TCPTransportFactory()
        self.stream: ReadableStream | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: Any, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._plain.create(url, **kwargs)
        self.stream = ReadableStream(reader)
        return cast(asyncio.StreamReader, self.stream), self._writer

    def write(self, data: bytes) -> None:
        """Send whole frames at once; the driver does the same, so none of them gets into the middle of another."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    def abort(self) -> None:
        """Let the socket go, if it is still there: with TLS the driver's own way waits for a word of the server."""
        if self._writer is not None:
            self._writer.transport.abort()

    @property
    def close(self) -> commands.Connection.Close | None:
        """What the server has said when it closed the connection; None: nothing."""
        return None if self.stream is None else self.stream.close


def _read_properties(payload: bytes) -> commands.Basic.Properties:
    """Decode the properties in a content header, whatever is in them."""
    try:
        return read_header(payload, 0).properties
    except _UNREADABLE as error:
        return _note(error)


def _note(error: Exception) -> commands.Basic.Properties:
    """Return properties that say why those of the message cannot be read."""
    reason = f"its properties cannot be read ({error})"[:REASON_MOST]
    return commands.Basic.Properties(message_type=UNREADABLE, headers={REASON: reason})


def _with_note(frame: bytes) -> bytes:
    """Return a content header; where its properties cannot be read, with a note in their place."""
    try:
        pamqp.frame.unmarshal(frame)
    except _UNREADABLE as error:
        note = _note(error)
        size = int.from_bytes(frame[_HEAD + 4 : _HEAD + 12])
        return pamqp.frame.marshal(ContentHeader(properties=note, body_size=size), _channel(frame))
    return frame


def _with_texts(frame: bytes, method: int) -> bytes:
    """Return a method with each of its short texts as UTF-8, and its numbers as they are."""
    rest = frame[_HEAD + 4 : -1]
    made = bytearray(frame[_HEAD : _HEAD + 4])
    shape = {_RETURN: (2, "text", "text", "text"), _DELIVER: ("text", 9, "text", "text"), _GET_OK: (9, "text", "text", 4)}
    for part in shape[method]:
        if isinstance(part, int):
            made += rest[:part]
            rest = rest[part:]
        else:
            text, rest = rest[1 : 1 + rest[0]].decode("utf-8", "replace"), rest[1 + rest[0] :]
            short = text.encode()[:255].decode("utf-8", "ignore").encode()
            made += bytes([len(short)]) + short
    return frame[:3] + len(made).to_bytes(4) + bytes(made) + frame[-1:]


def _channel(frame: bytes) -> int:
    return int.from_bytes(frame[1:3])
