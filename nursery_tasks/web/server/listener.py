"""The listening socket and its clients.

clients                 one child for each connection; outlives the accepting, and is cancelled when its time is over
└─ accepting            no more at once than the limit; who is too many waits in the system's queue
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from anyio import (
    BrokenResourceError,
    CancelScope,
    CapacityLimiter,
    ClosedResourceError,
    EndOfStream,
    create_tcp_listener,
    fail_after,
    sleep,
)
from anyio.abc import ByteStream, SocketAttribute, SocketListener, SocketStream, TaskGroup
from anyio.streams.tls import TLSStream
from hypercorn.config import Config

from ...errors import InvalidOptions
from ...loop.unwrapped import open_unwrapped_group
from .children import App
from .connection import Connection, Pace
from .context import Context

HANDSHAKE_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.1  # when the system has no more file descriptors
HEAD_BYTES: Final = 16 * 1024

_log = logging.getLogger("nursery_tasks.http")


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens, and what it lets clients do.

    Attributes:
        host, port: Where; port 0: any that is free.
        connections: How many clients at once.
        tls: For HTTPS; None: clear text.
        reuse_port: Other processes listen there, too.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    connections: int = 256
    pace: Pace = field(default_factory=Pace)
    tls: ssl.SSLContext | None = None
    reuse_port: bool = False


class Listener:
    """A server that runs; `open_listener` gives it.

    Attributes:
        url: Where it is reached.
    """

    def __init__(self, app: App, options: ServerOptions) -> None:
        self.url = ""
        self._accepting: list[CancelScope] = []  # one for each socket
        self._app = app
        self._options = options
        self._room = CapacityLimiter(options.connections)
        self._clients: set[Connection] = set()
        self._context = Context()
        self._config = Config()
        self._config.include_server_header = False
        self._config.accesslog = self._config.errorlog = None
        self._config.h11_max_incomplete_size = HEAD_BYTES

    def drain(self) -> None:
        """Close what is idle, and each other connection after its answer; new ones are still answered, once each.

        Where other processes listen at the same place, new ones are for these.
        """
        self._context.terminated.happened = True
        if self._options.reuse_port:
            for scope in self._accepting:
                scope.cancel()
        for client in tuple(self._clients):
            client.close_idle()

    async def accept(self, socket: SocketListener, group: TaskGroup) -> None:
        """Take clients until cancelled; each becomes a child of *group*. Closes the socket."""
        with CancelScope() as scope:
            self._accepting.append(scope)
            async with socket:
                await self._accept(socket, group)

    async def _accept(self, socket: SocketListener, group: TaskGroup) -> None:
        while True:
            token = object()
            await self._room.acquire_on_behalf_of(token)
            try:
                stream = await socket.accept()
            except ClosedResourceError:
                raise
            except (OSError, BrokenResourceError) as error:
                self._room.release_on_behalf_of(token)
                _log.warning("a connection could not be accepted: %s", error)
                await sleep(PAUSE_SECONDS)
            except BaseException:
                self._room.release_on_behalf_of(token)
                raise
            else:
                group.start_soon(self._serve, stream, token, name="client")

    async def _serve(self, accepted: SocketStream, token: object) -> None:
        try:
            async with accepted:
                stream = await self._secured(accepted)
                if stream is not None:
                    client = Connection(stream, self._app, self._config, self._context, self._options.pace)
                    self._clients.add(client)
                    try:
                        await client.serve()
                    finally:
                        self._clients.discard(client)
        except Exception:  # of this client; the others go on
            _log.exception("a connection broke")
        finally:
            self._room.release_on_behalf_of(token)

    async def _secured(self, accepted: SocketStream) -> ByteStream | None:
        if self._options.tls is None:
            return accepted
        try:
            with fail_after(HANDSHAKE_SECONDS):
                return await TLSStream.wrap(
                    accepted, server_side=True, ssl_context=self._options.tls, standard_compatible=False
                )
        except (ssl.SSLError, OSError, TimeoutError, EndOfStream, BrokenResourceError) as error:
            _log.info("no TLS with a client: %s", error)
            return None


@asynccontextmanager
async def open_listener(app: App, options: ServerOptions) -> AsyncGenerator[Listener, None]:
    """Serve *app* while the context is open; leaving it closes all connections at once. See `Listener.drain`.

    Raises:
        InvalidOptions: The address cannot be had.
    """
    listener = Listener(app, options)
    async with AsyncExitStack() as sockets:
        bound = await _bind(options)
        for socket in bound:
            await sockets.enter_async_context(socket)
        port = bound[0].extra(SocketAttribute.local_port)
        scheme, host = "http" if options.tls is None else "https", options.host
        listener.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        async with open_unwrapped_group() as clients, open_unwrapped_group() as accepting:
            for socket in bound:
                accepting.start_soon(listener.accept, socket, clients, name=f"accept at {listener.url}")
            try:
                yield listener
            finally:
                accepting.cancel_scope.cancel()
                clients.cancel_scope.cancel()


async def _bind(options: ServerOptions) -> list[SocketListener]:
    try:
        bound: Any = await create_tcp_listener(local_host=options.host, local_port=options.port, reuse_port=options.reuse_port)
    except OSError as error:
        expected = f"an address of this machine that is free: {error.strerror or error}"
        raise InvalidOptions("http", f"{options.host}:{options.port}", expected) from None
    return list(bound.listeners)
