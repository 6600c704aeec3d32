"""A TCP proxy between a client and a server that breaks links at chosen bytes.

A *rule* says what happens to a link once so many bytes have passed in one direction: it is cut (both sides see an end), stalled
(nothing passes any more, and nobody sees why), or half opened (the server's side is closed and the client is not told).
"""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Literal

LATE = 0.02  # of the pieces that a `Shredder` makes
LATE_SECONDS = 0.001

What = Literal["cut", "stall", "half open"]
Direction = Literal["to server", "to client"]


@dataclass
class Rule:
    """What happens to the next link that sends so much.

    Attributes:
        after: Bytes that still pass in this direction, counted from when the rule was made.
        marked: Only data that contains this counts: a word of the command, for example. Empty: any.
        done: Set when it has happened.
    """

    what: What
    direction: Direction
    after: int = 0
    marked: bytes = b""
    done: Event = field(default_factory=Event)


class Proxy:
    """Listens on a port of its own and passes bytes on to *port*."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = Lock()
        self._rules: list[Rule] = []
        self._links: list[_Link] = []
        self._refusing = False
        self._closed = False
        self._thread = Thread(target=self._accept, name="test proxy", daemon=True)
        self._thread.start()

    def on(self, what: What, direction: Direction, *, after: int = 0, marked: bytes = b"") -> Rule:
        """Make a rule for the next link that fits; it is used up by it."""
        rule = Rule(what, direction, after, marked)
        with self._lock:
            self._rules.append(rule)
        return rule

    def cut_all(self) -> None:
        """Cut every link there is."""
        for link in self._alive():
            link.cut()

    def stall_all(self) -> None:
        """Pass nothing more on the links there are; new ones work."""
        for link in self._alive():
            link.stalled = True

    def refuse(self, refusing: bool = True) -> None:
        """Close new links at once, as if nobody listened."""
        self._refusing = refusing

    def close(self) -> None:
        self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._listener.close()
        self.cut_all()
        self._thread.join(5)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def take_rule(self, fits: Callable[[Rule], bool]) -> Rule | None:
        with self._lock:
            for rule in self._rules:
                if fits(rule):
                    self._rules.remove(rule)
                    return rule
        return None

    def pass_on(self, target: socket.socket, data: bytes) -> None:
        """Pass on what a link has brought."""
        target.sendall(data)

    @property
    def links(self) -> int:
        """How many links there are."""
        return len(self._alive())

    def _alive(self) -> list[_Link]:
        with self._lock:
            self._links = [link for link in self._links if not link.ended]
            return list(self._links)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target)) if not self._refusing else None
            except OSError:
                server = None
            if server is None:
                _reset(client)
                continue
            link = _Link(self, client, server)
            with self._lock:
                self._links.append(link)
            link.start()


class Shredder(Proxy):
    """A proxy that passes bytes on in pieces of any size, and now and then late."""

    def pass_on(self, target: socket.socket, data: bytes) -> None:
        while data:
            size = random.choice((1, 30, len(data), len(data)))
            target.sendall(data[:size])
            data = data[size:]
            if random.random() < LATE:
                time.sleep(random.random() * LATE_SECONDS)


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self.stalled = False
        self.ended = False

    def start(self) -> None:
        Thread(target=self._pump, name="test proxy link", daemon=True).start()

    def cut(self) -> None:
        self.ended = True
        _reset(self._client)
        _reset(self._server)

    def _pump(self) -> None:
        try:
            while not self.ended:
                if self.stalled:  # what comes is left where it is; the end of the test ends it
                    select.select([], [], [], 0.02)
                    continue
                for source in select.select([self._client, self._server], [], [], 0.05)[0]:
                    if not self._pass_on(source):
                        return
        except (OSError, ValueError):  # cut from another thread
            pass
        finally:
            if not self.stalled:
                self.cut()

    def _pass_on(self, source: socket.socket) -> bool:
        direction: Direction = "to server" if source is self._client else "to client"
        data = source.recv(65536)
        if not data:
            return False
        rule = self._proxy.take_rule(lambda rule: rule.direction == direction and rule.marked in data)
        target = self._server if source is self._client else self._client
        if rule is None:
            self._proxy.pass_on(target, data)
            return True
        target.sendall(data[: rule.after])
        rule.done.set()  # first: who is cut looks at it
        if rule.what == "cut":
            self.cut()
        elif rule.what == "half open":
            self._server.close()
            self.stalled = True
        else:
            self.stalled = True
        return True


def _reset(link: socket.socket) -> None:
    """Close with a reset, which the other side sees at once, whatever it does."""
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    link.close()
