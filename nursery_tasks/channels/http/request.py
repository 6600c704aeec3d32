"""One POST request on a connection of its own; works on every loop that AnyIO knows.

No redirect is followed, no proxy of the environment is used, and no more of an answer is read than its head: all of that would
lead to an address that was not checked, or as far as the other side likes.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import h11
from anyio import BrokenResourceError, EndOfStream, aclose_forcefully, connect_tcp
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from ...errors import ChannelRefused
from .addresses import find_addresses, is_public
from .target import Target

HEAD_BYTES: Final = 64 * 1024  # of an answer, all that is read of it
WRITE_BYTES: Final = 64 * 1024  # at once

Headers = Sequence[tuple[bytes, bytes]]


class NoAnswer(Exception):
    """The connection could not be made, or broke, or what came was no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]


async def post(target: Target, address: str, headers: Headers, body: bytes) -> Answer:
    """Make one request, and return the head of its answer.

    Raises:
        NoAnswer: None came.
        ChannelRefused: The host has an address that must not be called.
    """
    stream = await open_stream(target)
    try:
        return await _exchange(stream, target, address, headers, body)
    except (OSError, EndOfStream, BrokenResourceError, h11.ProtocolError) as error:
        raise NoAnswer(f"{type(error).__name__}: {error}" if str(error) else "the connection broke") from error
    finally:
        await aclose_forcefully(stream)


async def open_stream(target: Target) -> ByteStream:
    """Connect to a host, at an address that may be called.

    Raises:
        NoAnswer: No server answers there.
        ChannelRefused: One of its addresses must not be called.
    """
    try:
        addresses = await find_addresses(target.host, target.port)
    except OSError as error:
        raise NoAnswer(f"no address of {target.host} is known ({error})") from error
    private = [] if target.allow_private else [address for address in addresses if not is_public(address)]
    if private:
        where = f"{target.host} is {private[0]}, which is no address of the public internet"
        raise ChannelRefused(target.name, f"{where}; ?allow_private=yes allows it")
    problem: OSError | None = None
    for address in addresses:
        try:
            stream = await connect_tcp(address, target.port)
            return stream if target.tls is None else await _with_tls(stream, target, target.tls)
        except (OSError, ssl.SSLError, EndOfStream, BrokenResourceError) as error:
            problem = error if isinstance(error, OSError) else OSError("the connection broke")
    raise NoAnswer(f"no connection ({problem})") from problem


async def _with_tls(stream: ByteStream, target: Target, context: ssl.SSLContext) -> ByteStream:
    try:
        return await TLSStream.wrap(
            stream, server_side=False, hostname=target.host, ssl_context=context, standard_compatible=False
        )
    except BaseException:
        await aclose_forcefully(stream)
        raise


async def _exchange(stream: ByteStream, target: Target, address: str, headers: Headers, body: bytes) -> Answer:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    length = str(len(body)).encode()
    said = [(b"host", target.authority.encode()), (b"content-length", length), (b"connection", b"close"), *headers]
    await _send(stream, connection.send(h11.Request(method="POST", target=address, headers=said)))
    with suppress(BrokenResourceError):  # it takes no more, and may have said why
        for begin in range(0, len(body), WRITE_BYTES):
            await _send(stream, connection.send(h11.Data(data=body[begin : begin + WRITE_BYTES])))
        await _send(stream, connection.send(h11.EndOfMessage()))
    read = 0
    while read <= HEAD_BYTES:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            return Answer(event.status_code, {name.decode(): value.decode("latin-1") for name, value in event.headers})
        if event is h11.NEED_DATA:
            data = await stream.receive(HEAD_BYTES)
            read += len(data)
            connection.receive_data(data)
        elif isinstance(event, h11.ConnectionClosed):
            break
    raise NoAnswer("what came is no answer of HTTP")


async def _send(stream: ByteStream, data: bytes | None) -> None:
    if data:
        await stream.send(data)
