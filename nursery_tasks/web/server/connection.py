"""One client: what it sends goes to hypercorn's protocol, what comes out of that goes back, and each has its time.

    connection              ends when both sides have closed, or when it is cancelled
    ├─ reader               this function itself: the head in time, then the body, then whether the client goes away
    └─ answer               one child at a time, see `children.py`

Hypercorn's own servers shield what they send without a deadline on Trio, so a client that does not read holds its shutdown
for ever. Here each piece of an answer has its time, and a cancelled connection closes its socket without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from anyio import (
    BrokenResourceError,
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Lock,
    aclose_forcefully,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
)
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated

from .children import App, Children
from .protocol import OnlyHttp11, Pipelined, Refused

PIECE_BYTES: Final = 64 * 1024  # what is read at once, and what is sent within one deadline
LINGER_SECONDS: Final = 2.0  # for a client to take the end of its last answer, and to close; closing first would lose it
_GONE: Final = (BrokenResourceError, ClosedResourceError, EndOfStream, BusyResourceError, OSError)


@dataclass(frozen=True)
class Pace:
    """How long a client may take.

    Attributes:
        head_seconds: For the whole head of a request, from the moment that the connection is ready for one.
        write_seconds: To take 64 KiB of an answer.
    """

    head_seconds: float = 10.0
    write_seconds: float = 10.0


class Connection:
    """One client.

    Args:
        context: Hypercorn's, of the whole server.
    """

    def __init__(self, stream: ByteStream, app: App, config: Config, context: Any, pace: Pace) -> None:
        self._stream = stream
        self._app = app
        self._config = config
        self._context = context
        self._pace = pace
        self._sending = Lock()
        self._reading = CancelScope()
        self._handling = Lock()  # the protocol is fed by one at a time
        self._is_idle = True
        self._early: bytes | None = None  # what came before the answer to what came first; None: nothing did
        self._resume: Callable[[], object] = lambda: None  # goes on with that
        self._is_gone = False  # the client has closed, or takes nothing

    def close_idle(self) -> None:
        """Close it unless a request is being answered; that one is the last."""
        if self._is_idle:
            self._reading.cancel()

    async def serve(self) -> None:
        """Answer requests until one of the two sides closes.

        Cancellation:
            Cancels what answers, and closes the socket without waiting for the client.
        """
        try:
            async with create_task_group() as group:
                protocol = self._protocol(Children(group, self._app))
                self._resume = lambda: group.start_soon(self._feed_early, protocol, name="what came early")
                self._reading.deadline = current_time() + self._pace.head_seconds
                with self._reading:
                    await self._read(protocol)
                if self._is_idle and self._reading.cancelled_caught and current_time() >= self._reading.deadline:
                    self._is_gone = True  # it has nothing to say, and nothing was said to it
                await protocol.handle(Closed())
            await self._linger()
        finally:
            await aclose_forcefully(self._stream)

    def _protocol(self, children: Children) -> OnlyHttp11:
        stream, is_tls = self._stream, self._stream.extra(TLSAttribute.standard_compatible, None) is not None
        client, server = (
            stream.extra(which, None) for which in (SocketAttribute.remote_address, SocketAttribute.local_address)
        )
        return OnlyHttp11(
            self._app,
            self._config,
            self._context,
            children,
            {},
            is_tls,
            _host_and_port(client),
            _host_and_port(server),
            self._send,
        )

    async def _read(self, protocol: OnlyHttp11) -> None:
        while True:
            try:
                data = await self._stream.receive(PIECE_BYTES)
            except _GONE:
                self._is_gone = True
                return
            if self._early is not None:  # read on all the same, to see when the client goes away
                self._early += data
                if len(self._early) > PIECE_BYTES:
                    return
                continue
            await self._feed(protocol, data)

    async def _feed(self, protocol: OnlyHttp11, data: bytes) -> None:
        async with self._handling:
            try:
                await (protocol.handle(RawData(data)) if data else protocol.go_on())
            except Pipelined:
                self._early = b""
            except Refused:
                self._reading.cancel()

    async def _feed_early(self, protocol: OnlyHttp11) -> None:
        """Go on with what came too early: first what the protocol has, then what was read since."""
        early, self._early = self._early or b"", None
        await self._feed(protocol, b"")
        if early and self._early is not None:
            self._early += early
        elif early:
            await self._feed(protocol, early)

    async def _send(self, event: Any) -> None:
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            self._reading.cancel()
        elif isinstance(event, Updated):
            self._is_idle = event.idle
            if event.idle and self._early is not None:
                self._resume()
            self._reading.deadline = current_time() + self._pace.head_seconds if event.idle else math.inf

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            for begin in range(0, len(data), PIECE_BYTES):
                try:
                    with fail_after(self._pace.write_seconds):
                        await self._stream.send(data[begin : begin + PIECE_BYTES])
                except (*_GONE, TimeoutError):
                    self._is_gone = True
                    self._reading.cancel()
                    await aclose_forcefully(self._stream)
                    return

    async def _linger(self) -> None:
        """Let the client read the end of what was sent, also one that was answered while it still sends."""
        if self._is_gone:
            return
        with suppress(*_GONE, NotImplementedError), move_on_after(LINGER_SECONDS):
            await self._stream.send_eof()
            while True:
                await self._stream.receive(PIECE_BYTES)


def _host_and_port(address: tuple[str, int] | str | None) -> tuple[str, int] | None:
    return (address[0], address[1]) if isinstance(address, tuple) else None
