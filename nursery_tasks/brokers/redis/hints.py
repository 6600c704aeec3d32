"""Hints over pub/sub: one thread and one connection for all who listen in this process.

The thread starts with the first listener. When its connection breaks it opens another, with growing pauses, and then tells
everybody to look at everything: nobody knows what was said meanwhile. A connection on which nothing comes is asked whether it
is still there (`PING`), because one that is half open looks just like one on which nothing happens.

In a Cluster every node hears what is published on any. The connection is to the slot's owner all the same: its address is
known.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from threading import Condition, Lock, Thread, current_thread
from typing import Any, Final

import msgspec
import redis

from ...model.delivery import Hint, Stored, Topic
from ..common.states import to_state
from ..common.subscription import Subscription
from ..protocol import Emit
from .failures import DriverError
from .link import Link
from .route import Connection

QUIET_SECONDS: Final = 5.0  # nothing came: ask
ANSWER_SECONDS: Final = 5.0  # nothing again: the link is dead
JOIN_SECONDS: Final = 3.0  # how long `join` waits until the server has noted the topics; hints before that are lost
CLOSE_SECONDS: Final = 1.0  # it may be opening a connection that nobody answers; it says nothing more, and goes by itself
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0

# A name; or an id, the number of its state, and its packed outcome. That is JSON, and the scripts know one kind of text.
_decode_items = msgspec.msgpack.Decoder(list[str | tuple[str, int, str]]).decode


class Audience:
    """All who listen, and the thread that hears for them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = Lock()  # around writing to the connection, too
        self._news = Condition(self._lock)
        self._members: tuple[Subscription, ...] = ()  # replaced, never changed: `tell` reads it without the lock
        self._wanted: set[Topic] = set()
        self._heard: set[Topic] = set()  # topics that the server has confirmed on this connection
        self._connection: Connection | None = None
        self._thread: Thread | None = None
        self._closed = False

    def join(self, topics: Sequence[Topic], emit: Emit) -> Subscription:
        """Add a listener; on return the server tells what happens, unless it cannot be reached at the moment."""
        member = Subscription(self.leave, topics, emit)
        with self._lock:
            self._members = (*self._members, member)
            new = set(topics) - self._wanted
            self._wanted |= new
            if self._wanted and self._thread is None and not self._closed:
                self._thread = Thread(target=self._serve, name="nursery-tasks redis hints", daemon=True)
                self._thread.start()
            elif new and self._connection is not None:
                with suppress(*DriverError):  # the thread notices, too
                    self._connection.send_command("SUBSCRIBE", *(self._channel(topic) for topic in new))
            self._news.wait_for(lambda: self._closed or self._heard >= set(topics), JOIN_SECONDS)
        return member

    def leave(self, gone: Subscription) -> None:
        with self._lock:
            self._members = tuple(member for member in self._members if member is not gone)

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            self._members = ()
            connection, thread = self._connection, self._thread
            self._news.notify_all()
        if self._link.forked:
            return
        if connection is not None:
            _wake(connection)
        if thread is not None and thread is not current_thread():
            thread.join(CLOSE_SECONDS)

    # --- in the thread ----------------------------------------------------------------------------

    def _serve(self) -> None:
        pause, again = FIRST_PAUSE_SECONDS, False
        while not self._closed:
            try:
                for _ in self._hear(again):
                    pause = FIRST_PAUSE_SECONDS
            except Exception:  # the link broke; whoever calls the broker sees why, and the hints are only late
                again = True
            with self._lock:
                self._connection = None
                self._heard = set()
                self._news.wait_for(lambda: self._closed, pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _hear(self, again: bool) -> Iterator[None]:
        """Open a connection and hear on it until it breaks; yields after each thing that was heard."""
        route = self._link.address.route
        connection, epoch = route.connect(), route.epoch
        try:
            connection.connect()
            with self._lock:
                if self._closed:
                    return
                self._connection = connection
                connection.send_command("SUBSCRIBE", *(self._channel(topic) for topic in self._wanted))
            is_asked = False
            while not self._closed:
                if connection.can_read(ANSWER_SECONDS if is_asked else QUIET_SECONDS):
                    self._take(connection.read_response(disable_decoding=True), again)
                    is_asked = False
                    yield
                elif is_asked:
                    raise redis.TimeoutError("no answer to a PING")
                elif route.epoch != epoch:
                    raise redis.ConnectionError("the calls go to another server now")
                else:
                    is_asked = True
                    with self._lock:
                        connection.send_command("PING")
        finally:
            with suppress(*DriverError):
                connection.disconnect()

    def _take(self, answer: Any, again: bool) -> None:
        kind = answer[0]  # a PING is answered by two items
        if kind not in (b"message", b"subscribe"):
            return
        topic: Topic = answer[1].decode().rpartition(":")[2]
        if kind == b"message":
            self._tell(read_hint(topic, answer[2]))
        else:
            with self._lock:
                self._heard.add(topic)
                self._news.notify_all()
            if again:
                self._tell(Hint(topic))

    def _tell(self, hint: Hint) -> None:
        for member in self._members:
            member.tell(hint)

    def _channel(self, topic: Topic) -> str:
        return f"{self._link.key}hint:{topic}"


def read_hint(topic: Topic, said: bytes) -> Hint:
    """Read what a hint is about; other programs may publish as well, and say a name as it is."""
    try:
        items = _decode_items(said)
        told = [item for item in items if not isinstance(item, str)]
        stored = {job_id: Stored(to_state(state), outcome.encode()) for job_id, state, outcome in told}
    except (msgspec.MsgspecError, LookupError):
        return Hint(topic, (said.decode("utf-8", "replace"),))
    return Hint(topic, tuple([item if isinstance(item, str) else item[0] for item in items]), stored)


def _wake(connection: Connection) -> None:
    """End a wait on a connection, from another thread; it must not be used after this."""
    with suppress(Exception):  # it may be closed at this very moment by the thread that uses it
        connection.disconnect()
