"""How the server that takes the writes is found, and found again when it is another one.

A route makes connections and reads refusals. It knows nothing of jobs, and never repeats a call itself: that is the link's
part, and only after refusals, which say that nothing was done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import redis

Place = tuple[str, int]  # host, port


class Connection(Protocol):
    """What this broker uses of the driver's connections, which have no types of their own for it."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_command(self, *words: Any) -> None: ...
    def read_response(self, disable_decoding: bool) -> Any: ...
    def can_read(self, timeout: float) -> bool: ...


Open = Callable[[Place], Connection]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a refusal means for the connection on which it came.

    Attributes:
        keep: The connection is as good as before. If not, the others that lead there are not, either.
        repeat: The server has done nothing, and the call may succeed elsewhere or in a moment.
    """

    keep: bool
    repeat: bool


NO: Final = Verdict(keep=True, repeat=False)  # an answer like any other
LEAVE: Final = Verdict(keep=False, repeat=False)
ELSEWHERE: Final = Verdict(keep=False, repeat=True)
LATER: Final = Verdict(keep=True, repeat=True)


class NoRoute(redis.ConnectionError):
    """The server that takes the writes cannot be found at the moment."""

    def __init__(self, problem: str, step: str) -> None:
        super().__init__(problem)  # pyright: ignore[reportUnknownMemberType]  # the driver has no types for it
        self.step = step


class Route(Protocol):
    """The way to the server; used by many threads."""

    epoch: int  # grows when it leads to another server than before

    def connect(self) -> Connection:
        """Make a connection; it may be opened by its first command only.

        Raises:
            redis.RedisError: There is no server to connect to.
        """
        ...

    def lost(self) -> None:
        """Hear that a connection broke."""
        ...

    def judge(self, error: redis.ResponseError) -> Verdict:
        """Say what an error that the server has answered means; it may say where to go."""
        ...

    def describe(self) -> dict[str, str]:
        """Return facts for a person."""
        ...


class Direct:
    """One server, named by the URL."""

    epoch = 0

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self.connect = connect

    def lost(self) -> None:
        return

    def judge(self, error: redis.ResponseError) -> Verdict:
        return LEAVE if is_no_primary(error) or is_alone(error) else NO

    def describe(self) -> dict[str, str]:
        return {}


def is_no_primary(error: redis.ResponseError) -> bool:
    """Say whether the server has become a replica: nothing was written, whatever the script had in mind."""
    return isinstance(error, redis.ReadOnlyError) or "-READONLY " in str(error)  # a script's error, before version 7


def is_alone(error: redis.ResponseError) -> bool:
    """Say whether the server misses its replicas (`min-replicas-to-write`); another one may be the primary by now."""
    return "NOREPLICAS" in str(error)


def ask(connection: Connection, *command: Any) -> Any:
    """Ask something on a connection that is used for nothing else at the moment."""
    connection.send_command(*command)
    return connection.read_response(disable_decoding=True)


def shown(place: Place) -> str:
    """Write a place as URLs do."""
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
