"""The connections to the server.

- **One thread, one connection.** A call takes an idle one or opens one, and gives it back after the answer was read. So the
  lease keeper's calls never wait for anybody else's.
- **An error ends the connection.** Only an answer of the server that says "no" leaves it as it was. The next call opens a new
  one: whatever happened, nothing old is left to go wrong.
- **A connection belongs to the process that opened it.** In a child of a fork the broker refuses all calls.
- **An idle connection may be dead**: the server was restarted, or has a `timeout`. One that was not used for a moment is
  looked at before it is used.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError

from ...errors import BrokerClosed, BrokerUnavailable
from .address import Address, Connection
from .failures import DriverError, to_broker_error
from .scripts import Script

LOOK_SECONDS: Final = 1.0  # idle for longer: it is looked at
KEPT: Final = 8  # idle connections; more callers at the same time open more


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
        try:
            return self._call(("EVALSHA", script.sha, 1, self.key, *values))
        except NoScriptError:
            return self.call("EVAL", script.text, 1, self.key, *values)
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
            raise BrokerUnavailable(
                self.name, "it was opened before this process was forked", "open the broker in each process, after the fork"
            )
        if self.closed:
            raise BrokerClosed(self.name)

    def close(self) -> None:
        """Close the idle connections; those in use are closed after their call."""
        self.closed = True
        _OPEN.discard(self)
        if not self.forked:
            self._drop_idle()

    def _call(self, command: tuple[Any, ...]) -> Any:
        connection = self._take()
        try:
            connection.send_command(*command)
            answer = connection.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            if isinstance(error, redis.ReadOnlyError):  # what was the primary is one no more: ask for the address again
                self._end(connection)
            else:
                self._give_back(connection)
            raise
        except BaseException:
            self._end(connection)
            self._drop_idle()  # the others lead to the same place
            raise
        self._give_back(connection)
        return answer

    def _take(self) -> Connection:
        self.check_usable()
        while True:
            try:
                since, connection = self.idle.pop()
            except IndexError:
                return self.address.connect()
            if time.monotonic() - since < LOOK_SECONDS or _is_quiet(connection):
                return connection
            self._end(connection)

    def _give_back(self, connection: Connection) -> None:
        if self.closed or len(self.idle) >= KEPT:
            self._end(connection)
        else:
            self.idle.append((time.monotonic(), connection))

    def _drop_idle(self) -> None:
        while True:
            try:
                _, connection = self.idle.pop()
            except IndexError:
                return
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        with suppress(*DriverError):
            connection.disconnect()


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
