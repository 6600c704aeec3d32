"""From the driver's errors to ours. No exception of `redis` leaves this package."""

from __future__ import annotations

from typing import Final

import redis
from redis import exceptions

from ...errors import BrokerError, BrokerFull, BrokerUnavailable
from .route import NoRoute, is_alone

DriverError: Final = (redis.RedisError, OSError)


class TooFewReplicas(redis.RedisError):
    """`?replicas=`: so many did not have it in time."""


# What the server's answer begins with, or has inside (a script's error, before version 7) -> the problem, the next step.
_NO_ROOM: Final = (
    ("command not allowed when used memory", "the server has no memory left", "raise its maxmemory, or purge ended jobs"),
    ("MISCONF", "the server cannot save to its disk and takes no writes", "look into its log; is its disk full?"),
)
# What the driver raises -> the problem, the next step. The first row that fits counts.
_TABLE: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (exceptions.AuthenticationWrongNumberOfArgsError, "the server takes no user name", "leave it out of the URL"),
    (redis.AuthenticationError, "the server refuses the user or the password", "check those in the URL"),
    (exceptions.NoPermissionError, "this user may not do that", "see ACL GETUSER; the how-to page has the rights"),
    (redis.ReadOnlyError, "the server is a replica and takes no writes", "name the primary in the URL"),
    (exceptions.MovedError, "the keys are on another node of a Cluster", "write the URL as redis+cluster://host:port"),
    (exceptions.AskError, "the slot of this prefix is on the way to another node", "calls go through when that is done"),
    (exceptions.TryAgainError, "the slot of this prefix is on the way to another node", "calls go through when that is done"),
    (exceptions.ClusterError, "the Cluster takes no calls at the moment", "see redis-cli --cluster check"),
    (TooFewReplicas, "it is stored, but too few replicas have it", "do they run? see ?replicas="),
    (redis.BusyLoadingError, "the server is still loading its data", "it will answer when that is done"),
    (redis.TimeoutError, "no answer in time", "is the server busy, or the network broken? see ?timeout="),
    (redis.ConnectionError, "no connection", "is the server running, and is this its address?"),
    (exceptions.InvalidResponse, "what answers is no Redis server", "check the address and the port"),
    (TimeoutError, "no answer in time", "is the server busy, or the network broken? see ?timeout="),
    (OSError, "no connection", "is the server running, and is this its address?"),
)
_NO_CHANNELS: Final = (
    "this user may not use the channels that workers are woken by",
    "ACL SETUSER ... '&{PREFIX}:*'; the how-to page has the rights",
)
# What the server's answer says -> the problem, the next step, where the driver has no class of its own for it.
_SAID: Final = (
    ("max number of clients reached", "the server takes no more connections", "raise its maxclients, or close some"),
    (
        "DB index is out of range",
        "the server has no database of that number",
        "name another one in the URL, or raise databases",
    ),
    (
        "what is stored has layout",
        "what is stored belongs to another version of nursery-tasks",
        "use one version for all workers and clients of a prefix",
    ),
    ("one of the channels", *_NO_CHANNELS),  # up to 7.0
    ("access a channel", *_NO_CHANNELS),
)
_ALONE: Final = ("the server misses its replicas (min-replicas-to-write) and takes no writes", "do they run?")


def to_broker_error(name: str, error: Exception) -> BrokerError:
    """Return the error that says *error* in our words; *name* is the broker's, without its password."""
    text = str(error)
    for mark, problem, step in _NO_ROOM:
        if mark in text:
            return BrokerFull(name, problem, step)
    if isinstance(error, NoRoute):
        return BrokerUnavailable(name, text, error.step)
    if isinstance(error, redis.ResponseError) and is_alone(error):
        return BrokerUnavailable(name, f"{_ALONE[0]} ({text})", _ALONE[1])
    for mark, problem, step in _SAID:
        if mark in text:
            return BrokerUnavailable(name, problem, step)
    for driver_error, problem, step in _TABLE:
        if isinstance(error, driver_error):
            return BrokerUnavailable(name, f"{problem} ({text})" if text else problem, step)
    return BrokerUnavailable(name, f"{type(error).__name__}: {text}")
