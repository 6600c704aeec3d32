"""A door with a server of its own: alone, or as a child of a worker."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from anyio import move_on_after

from .. import App
from ..errors import InvalidOptions
from . import make_door
from .door import Door
from .server import Listener, ServerOptions, open_listener
from .settings import DoorOptions

LAST_SECONDS: Final = 1.0  # for requests to end, once what they wait for has; and again, once they are cut short


class ServedDoor:
    """A door that is open; `open_door` gives it.

    Attributes:
        url: Where it is reached.
    """

    def __init__(self, door: Door, listener: Listener) -> None:
        self.url = listener.url
        self._door = door
        self._listener = listener

    def drain(self) -> None:
        """Take no more requests: answer 503, and finish what is under way. Returns at once."""
        self._door.drain()
        self._listener.drain()

    async def finish(self, seconds: float = LAST_SECONDS) -> None:
        """Wait until nothing is under way, for some seconds; then cut short what is.

        Cancellation:
            Ends the wait. What is under way is cancelled when the door is left.
        """
        self.drain()
        with move_on_after(seconds):
            await self._door.wait_empty()
            return
        self._door.cut_short()
        with move_on_after(LAST_SECONDS):
            await self._door.wait_empty()


@asynccontextmanager
async def open_door(app: App, server: ServerOptions, options: DoorOptions) -> AsyncGenerator[ServedDoor, None]:
    """Serve *app*, which is open, while the context is open; leaving it closes all connections.

    Raises:
        InvalidOptions: The address cannot be had, or other machines could call without a token.
        MissingPackage: The extra `web` is not installed.
    """
    check_exposure(server, options)
    door = make_door(app, **options)
    async with open_listener(door, server) as listener:
        yield ServedDoor(door, listener)


def check_exposure(server: ServerOptions, options: DoorOptions) -> None:
    """Check that other machines cannot call without a token or a certificate.

    Raises:
        InvalidOptions: They could.
    """
    asks = bool(options.get("tokens")) or (server.tls is not None and server.tls.verify_mode is ssl.CERT_REQUIRED)
    if not asks and not _is_loopback(server.host):
        expected = (
            "127.0.0.1, where there are no tokens; with --http-token-file (`nursery-tasks web token` makes one) or "
            "--http-client-ca it may be any"
        )
        raise InvalidOptions("http", f"{server.host}:{server.port}", expected)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_address(option: str, text: str) -> ServerOptions:
    """Read `127.0.0.1:8000`, `[::1]:8000` or `:8000`, which is the first.

    Raises:
        InvalidOptions: It is none of these.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535 or (":" in host and "[" not in text):
        raise InvalidOptions(option, text, "an address and a port, such as 127.0.0.1:8000")
    return ServerOptions(host=host or "127.0.0.1", port=int(port))


def with_tls(server: ServerOptions, certificate: str, key: str, client_ca: str | None) -> ServerOptions:
    """Serve HTTPS, and let in only clients with a certificate where *client_ca* says who signs these.

    Raises:
        InvalidOptions: A file cannot be read, or is something else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise InvalidOptions("http-cert", certificate, f"files in PEM with a certificate and its key: {error}") from None
    return replace(server, tls=context)
