"""What a URL says: where the server is, and how this broker uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...errors import InvalidBrokerUrl
from .layout import DEFAULT_PREFIX, PREFIX

CONNECT_SECONDS: Final = 3.0
CALL_SECONDS: Final = 5.0  # what connects and calls stays below the gateway's 10 s
_OPTIONS: Final = ("prefix", "durable", "timeout", "db")
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")


class Connection(Protocol):
    """What this broker uses of the driver's connections, which have no types of their own for it."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_command(self, *words: Any) -> None: ...
    def read_response(self, disable_decoding: bool) -> Any: ...
    def can_read(self, timeout: float) -> bool: ...


@dataclass(frozen=True)
class Address:
    """Where the server is.

    Attributes:
        connect: Makes a connection; it opens with its first command.
        prefix: The beginning of all keys, without the braces.
        durable: Whether to refuse a server that does not log what it accepts.
        timeout_seconds: How long one call may wait for its answer.
    """

    connect: Callable[[], Connection]
    prefix: str
    durable: bool
    timeout_seconds: float


def read_address(url: str, options: Mapping[str, str], name: str) -> Address:
    """Read a `redis://`, `rediss://` or `unix://` URL; *options* are its query, *name* is the URL without the password.

    Raises:
        InvalidBrokerUrl: It makes no sense.
    """
    parts = urlsplit(url)
    known = _OPTIONS + (_TLS_OPTIONS if parts.scheme == "rediss" else ())
    for option in options:
        if option not in known:
            raise InvalidBrokerUrl(name, f"{parts.scheme}: has no option {option!r}, only {', '.join(known)}")
    prefix = options.get("prefix", DEFAULT_PREFIX)
    if not PREFIX.fullmatch(prefix):
        raise InvalidBrokerUrl(name, f"prefix={prefix!r} is not 1 to 64 letters, digits and _.:-")
    durable = options.get("durable", "no")
    if durable not in ("yes", "no"):
        raise InvalidBrokerUrl(name, f"durable={durable!r} is neither yes nor no")
    seconds = _number(options.get("timeout", str(CALL_SECONDS)))
    if not 0 < seconds < 3600:
        raise InvalidBrokerUrl(name, f"timeout={options['timeout']!r} is no number of seconds from 0 to 3600")
    how: dict[str, Any] = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "socket_timeout": seconds,
        "socket_connect_timeout": min(seconds, CONNECT_SECONDS),
        "retry": Retry(NoBackoff(), 0),  # who calls decides whether to repeat
        "protocol": 2,
        **{option: value for option, value in options.items() if option in _TLS_OPTIONS},
    }
    if parts.scheme == "unix":
        if not parts.path or parts.path == "/":
            raise InvalidBrokerUrl(name, "it names no socket; the form is unix:///run/redis/redis.sock?db=0")
        how |= {"path": unquote(parts.path), "db": _database(options.get("db", "0"), name)}
        socket: Any = redis.UnixDomainSocketConnection
        return Address(lambda: socket(**how), prefix, durable == "yes", seconds)
    try:
        port = parts.port or 6379
    except ValueError:
        raise InvalidBrokerUrl(name, "its port is no number from 1 to 65535") from None
    database = _database(options.get("db") or parts.path.strip("/") or "0", name)
    how |= {"host": parts.hostname or "localhost", "port": port, "db": database, "socket_keepalive": True}
    kind: Any = redis.SSLConnection if parts.scheme == "rediss" else redis.Connection
    return Address(lambda: kind(**how), prefix, durable == "yes", seconds)


def _database(text: str, name: str) -> int:
    if not text.isdigit():
        raise InvalidBrokerUrl(name, f"{text!r} is no number of a database; the form is redis://host:6379/0")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
