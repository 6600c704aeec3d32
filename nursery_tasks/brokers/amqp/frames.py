"""What the server sends, made readable where somebody has put something into a message that the driver cannot read.

A name, an id or a header with bytes that are no UTF-8, or a header of a kind that the driver does not know: it would give up
the whole connection for one such message. The server delivers that again at once, so nobody would get any message any more.
So each frame is looked at before the driver reads it. Properties that cannot be read are replaced by a note that says so,
which makes a dead letter of the message; names of places only have to look like a text, because nobody goes by them.

And where the server refuses a connection it says why, which the driver does not pass on; here it is kept.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import pamqp.frame
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp import commands
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

UNREADABLE: Final = "nursery-tasks.unreadable"  # the type of such a message
REASON: Final = "reason"  # the header that says why
REASON_MOST: Final = 200  # characters of it

_HEAD: Final = 7  # bytes: the frame's type, its channel, and the size of what follows
_METHOD, _HEADER = 1, 2  # types of frames
_FIXED: Final = 14  # bytes of a content header before its properties: class, weight, body size, and which of them there are
_HAS_TABLE: Final = 0x20  # in the first byte of the latter
_CONNECTION, _CLOSE = 10, 50  # a class and a method
_BASIC: Final = 60  # the class of the methods below
_RETURN, _DELIVER, _GET_OK = 50, 60, 71


def to_readable(frame: bytes) -> bytes:
    """Return a whole frame as the driver can read it; mostly that is as it is."""
    if frame[0] == _HEADER:
        body = frame[_HEAD:-1]
        if body[_FIXED:].isascii() and not body[_FIXED - 2] & _HAS_TABLE:
            return frame  # nothing in it can be wrong, and this look costs less than reading it twice
        return _with_note(frame)
    if frame[0] == _METHOD and int.from_bytes(frame[_HEAD : _HEAD + 2]) == _BASIC:
        method = int.from_bytes(frame[_HEAD + 2 : _HEAD + 4])
        if method in (_RETURN, _DELIVER, _GET_OK) and not frame[_HEAD:-1].isascii():
            return _with_texts(frame, method)
    return frame


class ReadableStream:
    """A stream of frames, of which the driver reads as from the connection itself."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._left = b""  # of the frame that is being read
        self.close: commands.Connection.Close | None = None  # what the server has said at the end

    def at_eof(self) -> bool:
        return not self._left and self._reader.at_eof()

    async def read(self) -> bytes:
        left, self._left = self._left, b""
        return left + await self._reader.read()

    async def readexactly(self, count: int) -> bytes:
        """Return the next bytes of a frame; no call asks for more than what is left of it."""
        if not self._left:
            self._left = await self._read_frame()
        part, self._left = self._left[:count], self._left[count:]
        return part

    async def _read_frame(self) -> bytes:
        head = await self._reader.readexactly(_HEAD)
        if head.startswith(b"AMQP"):  # the server's way to refuse a version of the protocol
            return head
        size = int.from_bytes(head[3:_HEAD])
        frame = head + await self._reader.readexactly(size + 1)
        if frame[0] == _METHOD and frame[_HEAD : _HEAD + 4] == bytes((0, _CONNECTION, 0, _CLOSE)):
            found = pamqp.frame.unmarshal(frame)[2]
            self.close = found if isinstance(found, commands.Connection.Close) else None
        return to_readable(frame)


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

    def abort(self) -> None:
        """Let the socket go, if it is still there: with TLS the driver's own way waits for a word of the server."""
        if self._writer is not None:
            self._writer.transport.abort()

    @property
    def close(self) -> commands.Connection.Close | None:
        """What the server has said when it closed the connection; None: nothing."""
        return None if self.stream is None else self.stream.close


def _with_note(frame: bytes) -> bytes:
    """Return a content header; where its properties cannot be read, with a note in their place."""
    try:
        pamqp.frame.unmarshal(frame)
    except (PAMQPException, ValueError, LookupError, TypeError, OverflowError) as error:
        reason = f"its properties cannot be read ({error})"[:REASON_MOST]
        note = commands.Basic.Properties(message_type=UNREADABLE, headers={REASON: reason})
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
