"""From a URL to a channel. Each kind is imported only when it is asked for.

Other packages bring channels of their own in the entry point group `nursery_tasks.channels`:

    [project.entry-points."nursery_tasks.channels"]
    toy = "toy_channel:open_toy"

The name is the scheme of its URLs, and what it points to is called with a URL and returns a channel.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..errors import InvalidBrokerUrl, InvalidChannelUrl, NurseryTasksError
from ..forks import imports_late
from .protocol import Channel

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

GROUP: Final = "nursery_tasks.channels"


_AMQP: Final = ("amqp", "amqps")
_HTTP: Final = ("http", "https")
_REDIS: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def check_channel_url(url: str) -> str:
    """Return a URL whose scheme is that of a channel; its driver is not looked for.

    Raises:
        InvalidChannelUrl: There is no such channel.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise InvalidChannelUrl(
            url, "it cannot be taken apart; are there special characters in its user or password?"
        ) from None
    if scheme not in (*_REDIS, *_AMQP, *_HTTP) and scheme not in _entry_points().names:
        raise InvalidChannelUrl(url, f"{scheme}: names no channel" if scheme else "it has no scheme")
    return url


def open_channel(url: str) -> Channel:
    """Make the channel that *url* names; it connects when it is first used.

    `redis://` and its relatives are lists; `amqp://` and `amqps://` are queues and exchanges, and
    `http://` and `https://` are webhooks. Any other scheme is that of a channel that an installed package brings.

    Raises:
        InvalidChannelUrl: The URL makes no sense, or what it needs is not installed.
    """
    scheme = urlsplit(check_channel_url(url)).scheme
    with _in_our_words(url), imports_late():
        if scheme in _REDIS:
            from .redis import RedisChannel

            return RedisChannel(url)
        if scheme in _AMQP:
            from .amqp import AmqpChannel

            return AmqpChannel(url)
        if scheme in _HTTP:
            from .http import HttpChannel

            return HttpChannel(url)
        return _installed(scheme, url)


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # late: 3 MiB that a worker without such channels has no use for

    return entry_points(group=GROUP)


def _installed(scheme: str, url: str) -> Channel:
    point, *others = {point.value: point for point in _entry_points().select(name=scheme)}.values()
    if others:
        raise InvalidChannelUrl(url, f"{scheme}: is brought by {len(others) + 1} packages; uninstall all but one")
    try:
        channel = point.load()(url)
    except NurseryTasksError:
        raise
    except Exception as error:
        raise InvalidChannelUrl(url, f"{point.value} has failed: {type(error).__name__}: {error}") from error
    if not isinstance(channel, Channel):
        raise InvalidChannelUrl(url, f"{point.value} returned no channel but {channel!r}")
    return channel


@contextmanager
def _in_our_words(url: str) -> Generator[None, None, None]:
    """Say of a channel what the code that it shares with a broker says of that one, and what to install."""
    try:
        yield
    except InvalidChannelUrl:
        raise
    except InvalidBrokerUrl as error:
        raise InvalidChannelUrl(url, error.problem) from None
    except ModuleNotFoundError as error:
        wanted = {"redis": "redis[hiredis]", "aiormq": "aiormq", "pamqp": "aiormq", "h11": "h11"}.get(error.name or "")
        if wanted is None:
            raise
        raise InvalidChannelUrl(url, f"the package {error.name} is not installed; pip install '{wanted}'") from None
