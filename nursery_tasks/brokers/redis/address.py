"""What a URL says: where the server is, and how this broker uses it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.utils import HIREDIS_AVAILABLE as HIREDIS_AVAILABLE

from ...errors import InvalidBrokerUrl
from .cluster import NODE_SECONDS, ClusterRoute, hashed_part, slot_of
from .layout import DEFAULT_PREFIX, PREFIX
from .route import Direct, Open, Place, Route
from .sentinel import SENTINEL_SECONDS, SentinelRoute

CONNECT_SECONDS: Final = 3.0
CALL_SECONDS: Final = 5.0  # what connects and calls stays below the gateway's 10 s
_OPTIONS: Final = ("prefix", "durable", "replicas", "timeout")
_MORE_OPTIONS: Final = {"direct": ("db",), "sentinel": ("db", "sentinel_user", "sentinel_password"), "cluster": ()}
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_PLACE: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_FORMS: Final = {
    "direct": "redis://host:6379/0",
    "sentinel": "redis+sentinel://host:26379,host:26379/SERVICE/0",
    "cluster": "redis+cluster://host:6379,host:6379",
}


@dataclass(frozen=True)
class Address:
    """Where the server is.

    Attributes:
        route: The way to it.
        prefix: The beginning of all keys, without the braces.
        durable: Whether to refuse a server that does not log what it accepts.
        timeout_seconds: How long one call may wait for its answer.
        replicas: How many must have what was accepted before that is said.
        cluster: Whether a part of a Cluster is expected.
    """

    route: Route
    prefix: str
    durable: bool
    timeout_seconds: float
    replicas: int = 0
    cluster: bool = False


def read_address(url: str, options: Mapping[str, str], name: str, *, slot_of_key: str | None = None) -> Address:
    """Read a URL; *options* are its query, *name* is the URL without the password.

    In a Cluster it leads to the slot of the prefix, or to that of *slot_of_key*.

    The scheme is `redis`, `rediss` (TLS) or `unix`; or one of the first two with `+sentinel` or `+cluster`, and then several
    hosts may be named.

    Raises:
        InvalidBrokerUrl: It makes no sense.
    """
    return _Reader(url, options, name, slot_of_key).read()


class _Reader:
    """One URL while it is read."""

    def __init__(self, url: str, options: Mapping[str, str], name: str, slot_of_key: str | None = None) -> None:
        self.slot_of_key = slot_of_key
        self.parts: SplitResult = urlsplit(url)
        self.options = options
        self.name = name
        self.scheme, _, kind = self.parts.scheme.partition("+")
        self.kind = kind or "direct"

    def read(self) -> Address:
        self._check_secrets()
        self._check_options()
        prefix = self.options.get("prefix", DEFAULT_PREFIX)
        if not PREFIX.fullmatch(prefix):
            raise self._wrong(f"prefix={prefix!r} is not 1 to 64 letters, digits and _.:-")
        durable = self.options.get("durable", "no")
        if durable not in ("yes", "no"):
            raise self._wrong(f"durable={durable!r} is neither yes nor no")
        seconds = _number(self.options.get("timeout", str(CALL_SECONDS)))
        if not 0 < seconds < 3600:
            raise self._wrong(f"timeout={self.options['timeout']!r} is no number of seconds from 0 to 3600")
        replicas = self.options.get("replicas", "0")
        if not (replicas.isdecimal() and len(replicas) < 3):
            raise self._wrong(f"replicas={replicas!r} is no number from 0 to 99")
        route = self._route(prefix, self._how(seconds))
        return Address(route, prefix, durable == "yes", seconds, int(replicas), self.kind == "cluster")

    def _check_secrets(self) -> None:
        """Refuse a password that would be read as something else, and shown as that."""
        parts = self.parts
        if parts.username and parts.password is None:
            self.name = self.name.replace(f"{parts.username}@", "***@", 1)
            raise self._wrong("it has a user and no password; write :PASSWORD@ for a password alone, USER:@ for a user alone")
        elsewhere = [parts.fragment, *self.options] if self.scheme == "unix" else [parts.path, parts.fragment, *self.options]
        if any("@" in text for text in elsewhere):
            raise self._wrong("an @ stands behind the host; is a / ? or # in the password? write %2F, %3F, %23")

    def _check_options(self) -> None:
        known = _OPTIONS + _MORE_OPTIONS[self.kind] + (_TLS_OPTIONS if self.scheme == "rediss" else ())
        for option in self.options:
            if option not in known:
                raise self._wrong(f"{self.parts.scheme}: has no option {option!r}, only {', '.join(known)}")

    def _how(self, seconds: float) -> dict[str, Any]:
        """Return what all connections have in common."""
        parts = self.parts
        return {
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "socket_timeout": seconds,
            "socket_connect_timeout": min(seconds, CONNECT_SECONDS),
            "retry": Retry(NoBackoff(), 0),  # who calls decides whether to repeat
            "protocol": 2,
            **{option: value for option, value in self.options.items() if option in _TLS_OPTIONS},
        }

    def _route(self, prefix: str, how: dict[str, Any]) -> Route:
        if self.scheme == "unix":
            return self._socket(how)
        path = self.parts.path.strip("/")
        if self.kind == "sentinel":
            return self._sentinel(path, how)
        if self.kind == "cluster":
            if path not in ("", "0"):
                raise self._wrong(f"a Cluster has no database {path!r}, only 0")
            node = self._opener(_quickly(how, NODE_SECONDS))
            return ClusterRoute(
                self._places(6379),
                slot_of(prefix if self.slot_of_key is None else hashed_part(self.slot_of_key)),
                node,
                self._opener(how),
            )
        places = self._places(6379)
        if len(places) > 1:
            raise self._wrong("it names several hosts; a Cluster is redis+cluster://, Sentinels are redis+sentinel://")
        open_server = self._opener(how | {"db": self._database(self.options.get("db") or path or "0")})
        return Direct(lambda: open_server(places[0]))

    def _socket(self, how: dict[str, Any]) -> Route:
        path = unquote(self.parts.path)
        if path in ("", "/"):
            raise self._wrong("it names no socket; the form is unix:///run/redis/redis.sock?db=0")
        database = self._database(self.options.get("db", "0"))
        kind: Any = redis.UnixDomainSocketConnection
        return Direct(lambda: kind(**how, path=path, db=database))

    def _sentinel(self, path: str, how: dict[str, Any]) -> Route:
        service, _, database = path.partition("/")
        if not service:
            raise self._wrong(f"it names no service; the form is {_FORMS['sentinel']}")
        user, password = self.options.get("sentinel_user"), self.options.get("sentinel_password")
        quickly = _quickly(how, SENTINEL_SECONDS) | {"username": user, "password": password}
        server = self._opener(how | {"db": self._database(self.options.get("db") or database or "0")})
        return SentinelRoute(self._places(26379), unquote(service), self._opener(quickly), server)

    def _opener(self, how: dict[str, Any]) -> Open:
        kind: Any = redis.SSLConnection if self.scheme == "rediss" else redis.Connection
        return lambda place: kind(**how, host=place[0], port=place[1], socket_keepalive=True)

    def _places(self, port: int) -> list[Place]:
        places: list[Place] = []
        for text in self.parts.netloc.rpartition("@")[2].split(","):
            found = _PLACE.fullmatch(text)
            if found is None or not 0 < int(found[2] or port) < 65536:
                raise self._wrong("its port is no number from 1 to 65535")
            places.append((unquote(found[1]).strip("[]") or "localhost", int(found[2] or port)))
        return places

    def _database(self, text: str) -> int:
        if not text.isdecimal():
            raise self._wrong(f"{text!r} is no number of a database; the form is {_FORMS[self.kind]}")
        return int(text)

    def _wrong(self, problem: str) -> InvalidBrokerUrl:
        return InvalidBrokerUrl(self.name, problem)


def _quickly(how: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the same for one of several who can be asked."""
    return how | {name: min(how[name], seconds) for name in ("socket_timeout", "socket_connect_timeout")}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
