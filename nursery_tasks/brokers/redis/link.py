"""The connections to the server.

- **One thread, one connection.** A call takes an idle one or opens one, and gives it back after the answer was read. So the
  lease keeper's calls never wait for anybody else's.
- **An error ends the connection.** Only an answer of the server that says "no" leaves it as it was. The next call opens a new
  one: whatever happened, nothing old is left to go wrong.
- **A connection belongs to the process that opened it.** In a child of a fork the broker refuses all calls.
- **An idle connection may be dead**: the server was restarted, or has a `timeout`. One that was not used for a moment is
  looked at before it is used.
- **The server may be another one.** When it refuses a call because it is no primary, or not of this slot, it has done nothing,
  and the call is repeated where the route leads. All else is unknown, and up to whoever called.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from contextlib import suppress
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError

from ...errors import BrokerClosed
from ...forks import at_fork
from ..common.forks import opened_before_fork
from .address import Address
from .failures import DriverError, TooFewReplicas, to_broker_error
from .route import Connection, ask
from .scripts import Script

LOOK_SECONDS: Final = 1.0  # idle for longer: it is looked at
KEPT: Final = 8  # idle connections; more callers at the same time open more
FOLLOW_SECONDS: Final = 1.5  # how long a call is repeated that a server refuses because another one should have it
PAUSE_SECONDS: Final = 0.05
REPLICAS_SHARE: Final = 0.8  # of the time for an answer: how long the server waits for its replicas


class Link:
    """All that calls the server.

    Args:
        name: How the broker is called in errors.
    """

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self.address = address
        self.key = f"{{{address.prefix}}}:"
        self.closed = False
        self.forked = False  # set in a child of the process that opened it
        self.idle: deque[tuple[float, Connection]] = deque()  # since when, and which; the last used is the next
        _OPEN.add(self)

    def run(self, script: Script, *values: Any) -> Any:
        """Run a script. A server that does not know it (any more) gets its text.

        Raises:
            BrokerUnavailable: No answer; whether it took effect is unknown. Or the server refuses.
            BrokerFull: The server has no room, and nothing was stored.
        """
        replicas = self.address.replicas if script.promises else 0
        try:
            try:
                return self._call(("EVALSHA", script.sha, 1, self.key, *values), replicas)
            except NoScriptError:
                return self._call(("EVAL", script.text, 1, self.key, *values), replicas)
        except DriverError as error:
            raise to_broker_error(self.name, error) from error

    def call(self, *command: Any) -> Any:
        """Make one call; errors as in `run`."""
        try:
            return self._call(command)
        except DriverError as error:
            raise to_broker_error(self.name, error) from error

    def check_usable(self) -> None:
        """Refuse a call that comes too late, or in the wrong process."""
        if self.forked:
            raise opened_before_fork(self.name)
        if self.closed:
            raise BrokerClosed(self.name)

    def close(self) -> None:
        """Close the idle connections; those in use are closed after their call."""
        self.closed = True
        _OPEN.discard(self)
        if not self.forked:
            self.drop_idle()

    def _call(self, command: tuple[Any, ...], replicas: int = 0) -> Any:
        """Make a call, and repeat it elsewhere when a server says that it is not the one, until `FOLLOW_SECONDS` are over."""
        until: float | None = None
        while True:
            connection = self._take()
            try:
                connection.send_command(*command)
                answer = connection.read_response(disable_decoding=True)
                if replicas:
                    self._wait_for_replicas(connection, replicas)
            except redis.ResponseError as error:
                if not self._may_repeat(connection, error):
                    raise
                if until is None:
                    until = time.monotonic() + FOLLOW_SECONDS
                elif time.monotonic() > until:
                    raise
                else:
                    time.sleep(PAUSE_SECONDS)
            except BaseException:
                self._leave(connection)  # the others lead to the same place
                self.address.route.lost()
                raise
            else:
                self._give_back(connection)
                return answer

    def _may_repeat(self, connection: Connection, error: redis.ResponseError) -> bool:
        verdict = self.address.route.judge(error)
        if verdict.keep:
            self._give_back(connection)
        else:
            self._leave(connection)
        return verdict.repeat

    def _wait_for_replicas(self, connection: Connection, replicas: int) -> None:
        """Wait until so many replicas have what was written on this connection.

        Raises:
            TooFewReplicas: They had not in time. It is written, and they may get it later.
        """
        reached = ask(connection, *wait_words(self.address, replicas))
        if reached < replicas:
            raise TooFewReplicas(f"{reached} of {replicas}")

    def _take(self) -> Connection:
        self.check_usable()
        while True:
            try:
                since, connection = self.idle.pop()
            except IndexError:
                return self.address.route.connect()
            if time.monotonic() - since < LOOK_SECONDS or _is_quiet(connection):
                return connection
            self._end(connection)

    def _give_back(self, connection: Connection) -> None:
        if self.closed or len(self.idle) >= KEPT:
            self._end(connection)
        else:
            self.idle.append((time.monotonic(), connection))

    def _leave(self, connection: Connection) -> None:
        self._end(connection)
        self.drop_idle()

    def drop_idle(self) -> None:
        """Close the idle connections: one that leads to the same place broke, or leads to the wrong one."""
        while True:
            try:
                _, connection = self.idle.pop()
            except IndexError:
                return
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        with suppress(*DriverError):
            connection.disconnect()


def wait_words(address: Address, replicas: int) -> tuple[Any, ...]:
    """Return the command that waits until so many replicas have what was written on the connection before it."""
    return "WAIT", replicas, int(1000 * REPLICAS_SHARE * address.timeout_seconds)


def _is_quiet(connection: Connection) -> bool:
    """Say whether nothing came on a connection that waits for nothing; at its end, the end is what came."""
    try:
        return not connection.can_read(0)
    except DriverError:
        return False


_OPEN: weakref.WeakSet[Link] = weakref.WeakSet()
_LEFT_BEHIND: Final[list[Any]] = []  # by a fork; in this list nothing closes them


def _after_fork_in_child() -> None:
    for link in list(_OPEN):
        link.forked = True
        _LEFT_BEHIND.extend(link.idle)


at_fork(in_child=_after_fork_in_child)
