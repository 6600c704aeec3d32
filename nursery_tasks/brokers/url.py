"""From a URL to a broker. The one place that knows which brokers exist; each is imported only when it is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from ..errors import BrokerUnreachable, InvalidBrokerUrl, NotSupported
from .protocol import Broker, ManagesUsers

ENVIRONMENT: Final = "NURSERY_TASKS_BROKER"
DEFAULT_URL: Final = "sqlite:///nursery-tasks.db"

_REDIS: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_STORE: Final = re.compile(r"([?&]store=)([^&]*)")
_SECRETS: Final = re.compile(r"([?&][^=&]*(?:pas|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)  # misspelled, too

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+-]*:")


def default_url() -> str:
    """Return the URL from the environment, else the embedded default."""
    return os.environ.get(ENVIRONMENT) or DEFAULT_URL


def with_store(url: str, store: str) -> str:
    """Return a broker's URL that says where its jobs are kept, in place of what it says of that."""
    place, _, query = url.partition("?")
    options = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "store"]
    return f"{place}?{urlencode([*options, ('store', store)])}"


def open_broker(url: str) -> Broker:
    """Open the broker that *url* names.

    `memory:` is in this process and gone with it. `sqlite:///relative.db` and `sqlite:////absolute.db` are a file, with
    `?synchronous=normal` for speed at the price of the last moments before a power loss. `redis://user:password@host:6379/0`,
    `rediss://` (TLS) and `unix:///path/of/the.sock` are a Redis or Valkey server, with `?prefix=`, `?durable=yes`, `?timeout=`;
    `redis+sentinel://host:26379,host:26379/SERVICE/0` is one that Sentinels watch, and `redis+cluster://host:port,host:port` a
    Cluster, both with `rediss+` for TLS and with `?replicas=`.
    `amqp://user:password@host:5672/vhost` and `amqps://` are a RabbitMQ server, with `?store=`: the URL, percent-encoded, of
    the broker that keeps the jobs, without which they are in its messages only; and with options for the exchanges and queues,
    which the how-to page lists.

    Raises:
        InvalidBrokerUrl: The URL makes no sense.
        BrokerUnreachable: It does, and the broker cannot be opened.
    """
    scheme, _, rest = url.partition(":")
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if scheme == "memory":
        if place.strip("/") or options:
            raise InvalidBrokerUrl(url, "memory: takes no path and no options")
        from .memory import MemoryBroker

        return MemoryBroker()
    if url and not _SCHEME.match(url):  # it looks like a path
        raise InvalidBrokerUrl(url, f"it has no scheme; did you mean sqlite:///{url}?")
    if scheme == "sqlite":
        if not place.startswith("///") or place == "///":
            meant = place.lstrip("/")
            raise InvalidBrokerUrl(url, f"it names no file; did you mean sqlite:///{meant}?" if meant else "it names no file")
        from .sqlite import SqliteBroker

        return SqliteBroker.from_options(unquote(place[3:]), options, url)
    if scheme in _REDIS:
        return _open_redis(url, options)
    if scheme in ("amqp", "amqps"):
        return _open_amqp(url, options)
    raise InvalidBrokerUrl(redacted(url), f"{scheme + ':' if scheme else 'an empty URL'} names no broker")


def _open_amqp(url: str, options: dict[str, str]) -> Broker:
    name = redacted(url.partition("?")[0])
    with _driver(name):
        from .amqp import AmqpBroker
        from .amqp.address import read_address
    address = read_address(url, options, name)
    store = options.get("store", "")
    if not store:
        from .amqp.bare import BareBroker

        return BareBroker(address)
    if store.startswith(("amqp:", "amqps:")):
        raise InvalidBrokerUrl(name, "its store is an AMQP server, too; name a sqlite: or redis: broker")
    return AmqpBroker(address, open_broker(store))


def open_users(url: str) -> ManagesUsers:
    """Return the users of the server that *url* names; nothing is opened.

    Raises:
        InvalidBrokerUrl: The URL makes no sense.
        NotSupported: There are none, or none that we know how to manage.
    """
    if not url.startswith(("amqp:", "amqps:")):
        raise NotSupported(redacted(url), "users that can be managed here: only RabbitMQ has")
    name = redacted(url.partition("?")[0])
    with _driver(name):
        from .amqp.address import read_address
        from .amqp.users import AmqpUsers

    return AmqpUsers(read_address(url, dict(parse_qsl(url.partition("?")[2], keep_blank_values=True)), name))


@contextmanager
def _driver(name: str) -> Generator[None, None, None]:
    """Say what to install when RabbitMQ's driver is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("aiormq", "pamqp"):
            raise
        raise BrokerUnreachable(name, "the package aiormq is not installed", "pip install 'nursery-tasks[rabbitmq]'") from None


def _open_redis(url: str, options: dict[str, str]) -> Broker:
    try:
        from .redis import RedisBroker
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        name = redacted(url)
        raise BrokerUnreachable(name, "the package redis is not installed", "pip install 'nursery-tasks[redis]'") from None
    return RedisBroker.from_options(url, options, redacted(url))


def redacted(url: str) -> str:
    """Return *url* without its passwords."""
    url = _STORE.sub(lambda found: found[1] + quote(redacted(unquote(found[2])), safe="/:*"), url)
    url = _SECRETS.sub(r"\1***", url)
    scheme, separator, rest = url.partition("://")
    authority, at, place = rest.rpartition("@")
    if not at:
        return url
    user, colon, _ = authority.partition(":")
    return f"{scheme}{separator}{user}{colon and ':***'}@{place}"
