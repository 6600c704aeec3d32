"""From a URL to a broker. The one place that knows which brokers exist; each is imported only when it is asked for.

Other packages bring brokers of their own, see `installed`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ..errors import BrokerUnreachable, InvalidBrokerUrl, NotSupported
from ..forks import imports_late
from ..shown import redacted as redacted
from .installed import installed_schemes, open_installed
from .protocol import Broker
from .server import Users

ENVIRONMENT: Final = "NURSERY_TASKS_BROKER"
DEFAULT_URL: Final = "sqlite:///nursery-tasks.db"

_REDIS: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_AMQP: Final = ("amqp", "amqps")

_OTHER_SCHEMES: Final = {
    **dict.fromkeys(("valkey", "keydb"), "redis"),
    **dict.fromkeys(("valkeys", "redis-tls"), "rediss"),
    **dict.fromkeys(("rabbitmq", "rabbit", "pyamqp"), "amqp"),
    "sqlite3": "sqlite",
    "sqlite": "sqlite",  # with a driver behind a +
}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+-]*:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OF_SQLITE: Final = re.compile(r"/*(:memory:|file:)")


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
    which the how-to page lists. Any other scheme is that of a broker that an installed package brings.

    Raises:
        InvalidBrokerUrl: The URL makes no sense.
        BrokerUnreachable: It does, and the broker cannot be opened.
    """
    _check_characters(url)
    scheme, _, rest = url.partition(":")
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if scheme == "memory":
        if place.strip("/") or options:
            raise InvalidBrokerUrl(url, "memory: takes no path and no options")
        with imports_late():
            from .memory import MemoryBroker

        return MemoryBroker()
    if url and not _SCHEME.match(url):
        raise InvalidBrokerUrl(url, f"it has no scheme{_meant(url)}")
    _check_splits(url)
    if scheme in (*_REDIS, *_AMQP) and place and not place.startswith("/"):  # drivers go to localhost then, without a word
        raise InvalidBrokerUrl(url, f"the two slashes are missing behind {scheme}:")
    if scheme in ("sqlite", "unix"):
        _check_path(url, scheme, place)
    if scheme == "sqlite":
        if not place.startswith("///") or place == "///":
            meant = "" if "@" in place else place.lstrip("/")
            raise InvalidBrokerUrl(url, f"it names no file; did you mean sqlite:///{meant}?" if meant else "it names no file")
        with imports_late():
            from .sqlite import SqliteBroker

        return SqliteBroker.from_options(unquote(place[3:]), options, url)
    if scheme in _REDIS:
        return _open_redis(url, options)
    if scheme in _AMQP:
        return _open_amqp(url, options)
    broker = open_installed(scheme, url) if scheme else None
    if broker is not None:
        return broker
    what, more = f"{scheme}:" if scheme else "an empty URL", ", ".join(f"{each}:" for each in installed_schemes())
    meant = _meant_scheme(scheme) or (f"; installed packages bring {more}" if more else "")
    raise InvalidBrokerUrl(url, f"{what} names no broker{meant}")


def _meant_scheme(scheme: str) -> str:
    """Say what a scheme is called here: a server by another of its names, a driver's own word, capital letters."""
    plain = scheme.lower()
    meant = _OTHER_SCHEMES.get(plain.partition("+")[0], plain)
    if meant == scheme or meant not in (*_REDIS, *_AMQP, "sqlite"):
        return ""
    return f"; did you mean {meant}:{'///' if meant == 'sqlite' else '//'}...?"


def _meant(url: str) -> str:
    """Say what a URL without a scheme may have meant: it looks like a path, or is one of a server with a slip in it."""
    if url[0] in "\"'" or url[-1] in "\"'":
        return ", and a quotation mark is a part of it; take it away"
    words = re.match(r"[\s\"']*([a-z+]+)", url)
    if words and words[1] in (*_REDIS, *_AMQP):
        return f"; did you mean {words[1]}://...?"
    return "" if "@" in url else f"; did you mean sqlite:///{url}?"


def _check_characters(url: str) -> None:
    """Refuse what comes along when a URL is copied, or read from a file: it would become a part of a name."""
    for place, rest in (("begins", url[: len(url) - len(url.lstrip())]), ("ends", url[len(url.rstrip()) :])):
        if rest:
            raise InvalidBrokerUrl(
                url, f"it {place} with {_described(rest)}: take it away, or strip() what was read", expected=""
            )
    found = _CONTROL.search(url)
    if found:
        raise InvalidBrokerUrl(url, f"there is {_described(found[0])} in it", expected="")


def _described(rest: str) -> str:
    if "\n" in rest or "\r" in rest:
        return f"a line break ({rest!r})"
    return "a space" if not rest.strip(" ") else f"a character that cannot be seen ({rest!r})"


def _check_path(url: str, scheme: str, place: str) -> None:
    """Refuse paths that nobody means: what SQLite itself would understand, and names that cannot be typed."""
    path = unquote(place)
    if scheme == "sqlite" and (found := _OF_SQLITE.match(path)):
        problem = f"{found[1]} is SQLite's own; here sqlite: is a file, and memory: is the broker in this process's memory"
        raise InvalidBrokerUrl(url, problem, expected="memory: or sqlite:///path/to/jobs.db")
    if _CONTROL.search(path) or place != place.strip():
        raise InvalidBrokerUrl(url, "its path has a line break, a space at its end, or another character that cannot be seen")


def _check_splits(url: str) -> None:
    """Refuse what no driver can take apart: their own errors would show all of it."""
    try:
        urlsplit(url)
    except ValueError:
        problem = "it cannot be taken apart; are there special characters in its user or password? percent-encode them"
        raise InvalidBrokerUrl(url, problem, expected="") from None


def _open_amqp(url: str, options: dict[str, str]) -> Broker:
    name = redacted(url).partition("?")[0]
    with _driver(name):
        from .amqp.address import read_address
        from .amqp.stored import StoredBroker
    address = read_address(url, options, name)
    store = options.get("store", "")
    if not store:
        with imports_late():
            from .amqp.storeless import StorelessBroker

        return StorelessBroker(address)
    if store.startswith(("amqp:", "amqps:")):
        raise InvalidBrokerUrl(name, "its store is an AMQP server, too; name a sqlite: or redis: broker")
    return StoredBroker(address, open_broker(store))


def open_users(url: str) -> Users:
    """Return the users of the server that *url* names; nothing is opened.

    Raises:
        InvalidBrokerUrl: The URL makes no sense.
        NotSupported: There are none, or none that we know how to manage.
    """
    _check_characters(url)
    if not url.startswith(("amqp:", "amqps:")):
        raise NotSupported(redacted(url), "users that can be managed here: only RabbitMQ has")
    name = redacted(url).partition("?")[0]
    with _driver(name):
        from .amqp.address import read_address
        from .amqp.users import AmqpUsers

    return AmqpUsers(read_address(url, dict(parse_qsl(url.partition("?")[2], keep_blank_values=True)), name))


@contextmanager
def _driver(name: str) -> Generator[None, None, None]:
    """Import RabbitMQ's driver in here, and say what to install when it is missing."""
    try:
        with imports_late():
            yield
    except ModuleNotFoundError as error:
        if error.name not in ("aiormq", "pamqp"):
            raise
        raise BrokerUnreachable(name, "the package aiormq is not installed", "pip install aiormq") from None


def _open_redis(url: str, options: dict[str, str]) -> Broker:
    try:
        with imports_late():
            from .redis import RedisBroker
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        name = redacted(url)
        raise BrokerUnreachable(name, "the package redis is not installed", "pip install 'redis[hiredis]'") from None
    return RedisBroker.from_options(url, options, redacted(url))
