"""One list at the server, and what of it is with a source: blocking calls, from any thread.

Keys, all in the slot of the list:
    <list>                                  LIST   bodies, by other programs; read at one end, and sent to at the other
    {<list>}:nursery-tasks:taken:<source>   LIST   what a source has received and not settled, the oldest first
    {<list>}:nursery-tasks:sources          ZSET   source -> the end of its lease, in milliseconds of the server's clock

A message is moved from the list to that of its source in one step, and so is never nowhere. A source renews its lease from a
thread of its own, and on the way gives back what a source that is gone has left. The reliable queue of the Redis documentation
(https://redis.io/docs/latest/commands/lmove/), with a lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import redis
from redis import exceptions

from ...brokers.redis.failures import DriverError, to_broker_error
from ...brokers.redis.link import Link
from ...brokers.redis.route import ask
from ...errors import BrokerError, ChannelError, ChannelRefused, ChannelUnavailable

LEASE_SECONDS: Final = 20.0
BEAT_SECONDS: Final = 5.0  # so what a killed program had is back within 25 s
FORGET_SECONDS: Final = 60.0  # an empty list of a source that is gone
AT_ONCE: Final = 200  # messages that one script moves
SOURCES_AT_ONCE: Final = 20  # that one beat looks at

End = Literal["LEFT", "RIGHT"]


# KEYS: list, taken; ARGV: end, most. As many as there are, the oldest first.
_TAKE: Final = """
local found = {}
for i = 1, tonumber(ARGV[2]) do
    local body = redis.call('LMOVE', KEYS[1], KEYS[2], ARGV[1], 'RIGHT')
    if not body then break end
    found[i] = body
end
return found
"""
# KEYS: taken; ARGV: bodies. How many there were.
_ACCEPT: Final = """
local count = 0
for i = 1, #ARGV do count = count + redis.call('LREM', KEYS[1], 1, ARGV[i]) end
return count
"""
# KEYS: list, taken; ARGV: push, bodies, the last one first. How many there were.
_RELEASE: Final = """
local count = 0
for i = 2, #ARGV do
    if redis.call('LREM', KEYS[2], 1, ARGV[i]) == 1 then
        redis.call(ARGV[1], KEYS[1], ARGV[i])
        count = count + 1
    end
end
return count
"""
# KEYS: list, sources; ARGV: taken (without the source), source, end, most, lease, forget, sources. Renews one lease ('' none),
# and gives back what those have whose lease is over.
_BEAT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[2], now + ARGV[5], ARGV[2]) end
local left = tonumber(ARGV[4])
for _, source in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'LIMIT', 0, ARGV[7])) do
    while left > 0 and redis.call('LMOVE', ARGV[1] .. source, KEYS[1], 'RIGHT', ARGV[3]) do left = left - 1 end
    if redis.call('EXISTS', ARGV[1] .. source) == 0
            and tonumber(redis.call('ZSCORE', KEYS[2], source)) < now - ARGV[6] then
        redis.call('ZREM', KEYS[2], source)
    end
end
return left
"""
# KEYS: list, sources; ARGV: taken (without the source). How many bodies there are, here and with sources.
_COUNT: Final = """
local count = redis.call('LLEN', KEYS[1])
for _, source in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do count = count + redis.call('LLEN', ARGV[1] .. source) end
return count
"""
# KEYS: list, taken, sources; ARGV: source, end, most. Whether there is more.
_LEAVE: Final = """
for i = 1, tonumber(ARGV[3]) do
    if not redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', ARGV[2]) then
        redis.call('ZREM', KEYS[3], ARGV[1])
        return 0
    end
end
return 1
"""
_BY_WHOM: Final[tuple[tuple[str, str], ...]] = (  # what the server's refusal begins with -> what it means
    ("WRONGTYPE", "what is there is no list"),
    ("NOPERM", "this user may not do that there"),
    ("hash to the same slot", "in a Cluster a list's name has no braces, or a tag in them"),
    ("unknown command", "it takes Redis 6.2 or newer, or Valkey"),
)


class RedisList:
    """One list.

    Args:
        end: Where it is read.
    """

    def __init__(self, link: Link, key: str, end: End) -> None:
        self.key = key
        self._link, self._end = link, end
        beside = f"{{{key}}}" if "{" not in key and "}" not in key else key
        self._sources = f"{beside}:nursery-tasks:sources"
        self._taken = f"{beside}:nursery-tasks:taken:"

    def push(self, bodies: Sequence[bytes]) -> None:
        """Add bodies at the other end, all in one step."""
        self._call("RPUSH" if self._end == "LEFT" else "LPUSH", self.key, *bodies)

    def look(self, limit: int) -> list[bytes]:
        """Return what would be read next, and leave it there."""
        if self._end == "LEFT":
            return list(self._call("LRANGE", self.key, 0, limit - 1))
        return list(reversed(self._call("LRANGE", self.key, -limit, -1)))

    def count(self) -> int:
        """Return how many there are, with those that sources have, also sources that are gone."""
        return int(self._run(_COUNT, (self.key, self._sources), self._taken))

    def take(self, source: str, most: int) -> list[bytes]:
        """Move up to *most* bodies to a source; do not wait for any."""
        return list(self._run(_TAKE, (self.key, self._taken + source), self._end, min(most, AT_ONCE)))

    def wait(self, source: str, waiter: Waiter) -> list[bytes]:
        """Move one body to a source; wait for it, for a moment."""
        try:
            body = waiter.ask("BLMOVE", self.key, self._taken + source, self._end, "RIGHT", waiter.seconds)
        except DriverError as error:
            raise self._said(to_broker_error(self._link.name, error), error) from error
        return [] if body is None else [body]

    def accept(self, source: str, bodies: Sequence[bytes]) -> int:
        """Forget bodies that a source has; returns how many it had."""
        return sum(int(self._run(_ACCEPT, (self._taken + source,), *some)) for some in _in_parts(bodies))

    def release(self, source: str, bodies: Sequence[bytes]) -> int:
        """Put bodies that a source has back to where they came from; returns how many it had."""
        push = "LPUSH" if self._end == "LEFT" else "RPUSH"
        keys = (self.key, self._taken + source)
        return sum(int(self._run(_RELEASE, keys, push, *some)) for some in _in_parts(bodies[::-1]))

    def beat(self, source: str) -> None:
        """Renew a source's lease, and give back what those have whose lease is over."""
        numbers = (AT_ONCE, int(LEASE_SECONDS * 1000), int(FORGET_SECONDS * 1000), SOURCES_AT_ONCE)
        self._run(_BEAT, (self.key, self._sources), self._taken, source, self._end, *numbers)

    def leave(self, source: str) -> None:
        """Give back all that a source has, and forget it."""
        while self._run(_LEAVE, (self.key, self._taken + source, self._sources), source, self._end, AT_ONCE):
            pass

    def _run(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        return self._call("EVAL", script, len(keys), *keys, *arguments)  # the server knows a text that it has seen before

    def _call(self, *command: Any) -> Any:
        try:
            return self._link.call(*command)
        except BrokerError as error:
            raise self._said(error, error.__cause__) from error

    def _said(self, error: BrokerError, cause: BaseException | None) -> ChannelError:
        """Return in the words of channels what the broker's code says of the server."""
        return to_channel_error(self._link.name, error, cause, self.key)


class Waiter:
    """The connection on which a source waits, which another thread may break off.

    Attributes:
        seconds: How long the server may keep it waiting at once.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.seconds = min(2.0, link.address.timeout_seconds / 2)
        self._connection: Any = None
        self._is_over = False

    def ask(self, *command: Any) -> Any:
        """Make a call that may wait; raises what the driver raises."""
        connection = self._connection
        try:
            if connection is None:
                connection = self._connection = self._link.address.route.connect()
            if self._is_over:  # it was broken off before there was anything to break off
                raise redis.ConnectionError
            return ask(connection, *command)
        except redis.ResponseError as error:
            if not self._link.address.route.judge(error).keep:
                self._lose()
            raise
        except (AttributeError, ValueError, *DriverError) as error:  # the first two: it was broken off in the middle
            self._lose()
            raise error if isinstance(error, DriverError) else redis.ConnectionError(str(error)) from error

    def break_off(self) -> None:
        """Let the call that waits get an error; from any thread. What the server was about to move stays where it is."""
        self._is_over = True
        self._lose()

    def _lose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._link.address.route.lost()
            try:
                connection.disconnect()
            except Exception:  # it is gone, one way or the other
                return


def _in_parts(bodies: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (bodies[begin : begin + AT_ONCE] for begin in range(0, len(bodies), AT_ONCE))


def to_channel_error(name: str, error: BrokerError, cause: BaseException | None, place: str = "") -> ChannelError:
    """Return in the words of channels what the broker's code says of the server."""
    if isinstance(cause, redis.ResponseError) and not isinstance(cause, exceptions.BusyLoadingError | redis.ReadOnlyError):
        text = str(cause)
        text = f"NOPERM {text}" if isinstance(cause, exceptions.NoPermissionError) else text
        for mark, meaning in _BY_WHOM:
            if mark in text:
                return ChannelRefused(name, f"{place}: {meaning} ({text})" if place else f"{meaning} ({text})")
    problem, step = getattr(error, "problem", str(error)), getattr(error, "step", "")
    return ChannelUnavailable(name, f"{problem}; {step}" if step else problem)
