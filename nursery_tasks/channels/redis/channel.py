"""The channel: where the server is, and the ways to its lists."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from ...brokers.redis.address import read_address
from ...brokers.redis.link import Link
from ...errors import AppNotOpen, BrokerError, InvalidChannelUrl, InvalidOptions
from ...shown import redacted
from ..calls import BlockingCalls
from ..message import ChannelMessage
from .lists import RedisList, Waiter, to_channel_error
from .source import RedisSource

AT_ONCE: Final = 500  # messages in one command
PLACE_MOST: Final = 512  # characters
_OURS: Final = ("namespace", "read")
_NOT_HERE: Final = ("prefix", "durable", "replicas")  # of the broker


class RedisChannel:
    """Lists of a Redis or Valkey server. A place is the name of a list.

    Other programs push with `RPUSH` and pop with `BLPOP`; with `?read=right` they push with `LPUSH` and pop with `BRPOP`. A
    message is its body: what is said beside it is left out on the way out, and the list of a `reply_to` is sent to as any other
    place. Reading takes Redis 6.2.

    Args:
        url: `redis://`, `rediss://`, `unix://`, with `+sentinel` or `+cluster`, as the broker's; with `?namespace=`, which
            stands before the names of lists as it is, and `?read=left` (the default) or `right`.

    Raises:
        InvalidBrokerUrl: It makes no sense.
    """

    def __init__(self, url: str) -> None:
        self.name = redacted(url)
        options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        self._namespace = options.pop("namespace", "")
        read = options.pop("read", "left")
        if read not in ("left", "right"):
            raise InvalidChannelUrl(url, f"read={read!r} is neither left nor right")
        for option in _NOT_HERE:
            if option in options:
                raise InvalidChannelUrl(url, f"a channel has no option {option!r}")
        self._end: Final = "LEFT" if read == "left" else "RIGHT"
        self._url, self._options = url, options
        self._is_cluster = read_address(url, options, self.name).cluster
        self._links: dict[str, Link] = {}
        self._opened = 0
        self._calls: BlockingCalls | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        if not self._opened:
            self._calls = BlockingCalls(self.name)
        self._opened += 1
        try:
            yield
        finally:
            self._opened -= 1
            if not self._opened:
                calls, self._calls = self._calls, None
                links, self._links = self._links, {}
                for link in links.values():
                    link.close()
                if calls is not None:
                    calls.close()

    @asynccontextmanager
    async def open_source(self, place: str, *, prefetch: int) -> AsyncGenerator[RedisSource, None]:
        link = self._link(place)
        source = RedisSource(self.name, self._list(place), self._needed(), Waiter(link), max(1, prefetch))
        keeper = threading.Thread(target=source.keep_lease, name="nursery-tasks channel lease", daemon=True)
        keeper.start()
        try:
            yield source
        finally:
            await source.close()

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        where = self._list(place)
        for begin in range(0, len(messages), AT_ONCE):
            await self._needed().call(where.push, [message.body for message in messages[begin : begin + AT_ONCE]])

    async def peek(self, place: str, limit: int) -> list[ChannelMessage]:
        """Return what would be read next, and leave it there."""
        return [ChannelMessage(body=body) for body in await self._needed().call(self._list(place).look, limit)]

    async def count(self, place: str) -> int:
        """Return how many messages there are, with those that were received and are not settled."""
        return await self._needed().call(self._list(place).count)

    async def check(self) -> str:
        return await self._needed().call(self._look)

    def _look(self) -> str:
        link = self._link("nursery-tasks")
        try:
            link.call("PING")
            facts = _facts(bytes(link.call("INFO", "server")))
        except BrokerError as error:
            raise to_channel_error(self.name, error, error.__cause__) from error
        valkey = facts.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {facts.get('redis_version', '?')}"

    def _needed(self) -> BlockingCalls:
        if self._calls is None:
            raise AppNotOpen("this call to a channel")
        return self._calls

    def _list(self, place: str) -> RedisList:
        return RedisList(self._link(place), self._key(place), "LEFT" if self._end == "LEFT" else "RIGHT")

    def _key(self, place: str) -> str:
        if not 0 < len(place) <= PLACE_MOST or "\0" in place:
            raise InvalidOptions("place", place, f"the name of a list: 1 to {PLACE_MOST} characters")
        return self._namespace + place

    def _link(self, place: str) -> Link:
        """Return the way to a list's server; only in a Cluster there is more than one."""
        key = self._key(place)
        tag = key if self._is_cluster else ""
        if tag not in self._links:
            address = read_address(self._url, self._options, self.name, slot_of_key=key)
            self._links[tag] = Link(self.name, address)
        return self._links[tag]


def _facts(text: bytes) -> Mapping[str, str]:
    lines = [line.partition(":") for line in text.decode(errors="replace").splitlines()]
    return {name: value for name, _, value in lines}
