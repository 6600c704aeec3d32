"""A service that Sentinels watch: they say which server is the primary now.

They are asked before each new connection, and connections are few. A Sentinel may be behind, so a server that it names is asked
for its role before it is used: a worker on a replica would see queues in which nothing ever happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import redis

from .route import ELSEWHERE, LEAVE, NO, Connection, NoRoute, Open, Place, Verdict, ask, is_alone, is_no_primary, shown

SENTINEL_SECONDS: Final = 1.0  # for connecting to one, and for its answer; there are others


class SentinelRoute:
    """The way to the primary of a service.

    Args:
        places: The Sentinels that the URL names; one that answers is enough.
        open_sentinel: Makes a connection to a Sentinel.
        open_server: Makes a connection to a server.
    """

    def __init__(self, places: Sequence[Place], service: str, open_sentinel: Open, open_server: Open) -> None:
        self.epoch = 0
        self._places = tuple(places)  # replaced, never changed; the one that has answered last is the first
        self._service = service
        self._open_sentinel, self._open_server = open_sentinel, open_server
        self._found: Place | None = None

    def connect(self) -> Connection:
        place = self._find()
        connection = self._open_server(place)
        try:
            if b"role:master" not in bytes(ask(connection, "INFO", "replication")):
                raise NoRoute(
                    f"the Sentinels name {shown(place)} as the primary, and it is a replica",
                    "a failover is under way; repeat it",
                )
        except BaseException:
            with suppress(redis.RedisError, OSError):
                connection.disconnect()
            raise
        if place != self._found:
            self._found = place
            self.epoch += 1
        return connection

    def lost(self) -> None:
        return  # the Sentinels are asked again anyway

    def judge(self, error: redis.ResponseError) -> Verdict:
        if is_no_primary(error):
            return ELSEWHERE
        return LEAVE if is_alone(error) else NO

    def describe(self) -> dict[str, str]:
        primary = shown(self._found) if self._found else "?"
        return {"Sentinel": f"{len(self._places)} named, service {self._service}, primary {primary}"}

    def _find(self) -> Place:
        """Ask one Sentinel after the other.

        Raises:
            NoRoute: None answers, or none knows the service.
        """
        silent: list[str] = []
        step = "are these their addresses? one that runs is enough"
        for place in self._places:
            try:
                found = self._ask(place)
            except (redis.RedisError, OSError) as error:
                silent.append(f"{shown(place)}: {error}")
                if isinstance(error, redis.AuthenticationError):
                    step = "they have a password of their own: see ?sentinel_password="
                continue
            if found is not None:
                self._places = (place, *(each for each in self._places if each != place))
                return found
        if len(silent) < len(self._places):
            raise NoRoute(
                f"no Sentinel knows the service {self._service!r}", "name one of theirs in the URL; SENTINEL MASTERS lists them"
            )
        raise NoRoute(f"no Sentinel answers: {'; '.join(silent)}", step)

    def _ask(self, place: Place) -> Place | None:
        sentinel = self._open_sentinel(place)
        try:
            answer = ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        finally:
            with suppress(redis.RedisError, OSError):
                sentinel.disconnect()
        return (answer[0].decode(), int(answer[1])) if answer else None
