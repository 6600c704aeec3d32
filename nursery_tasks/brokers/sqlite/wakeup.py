"""Who listens in this process, and how they hear of what others do.

A listener in the process that makes a change is told by the thread that made it. For changes by other processes each has a
thread of its own that waits at a socket (`sockets.py`). A datagram can be lost, and other programs that write to the file send
none, so the thread looks four times a second whether the file was changed without a word, and then says "look at everything".
The look costs about 30 microseconds.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import apsw

from ...errors import BrokerClosed
from ...model.delivery import Hint, Topic
from ..common.ends import EndListeners
from ..common.hints import Hints
from ..protocol import Emit
from .connection import open_reader
from .database import Database
from .failures import to_broker_error
from .sockets import TOPICS, Mailbox, Post, decode_hint, open_mailbox, socket_directory
from .statements import fetch_value

LOOK_SECONDS: Final = 0.25
_CLOSE_SECONDS: Final = 1.0  # how long `close` waits for an `emit` that does not return
_QUEUE_LENGTH: Final = Path("/proc/sys/net/unix/max_dgram_qlen")

_log = logging.getLogger(__name__)


class Subscription:
    """One `listen`.

    `_telling` is held while `emit` runs, so that `close` can promise that no call follows it. It is re-entrant: `emit` may
    close its own subscription.
    """

    def __init__(self, audience: Audience, topics: Sequence[Topic], emit: Emit, eyes: _Eyes) -> None:
        self._audience, self._topics, self._emit = audience, tuple(dict.fromkeys(topics)), emit
        self._telling = threading.RLock()
        self._closed = False
        self._heard = False  # since the last look; written by the thread that tells, read and reset by our own
        self._eyes = eyes
        self._wake, self._woken = socket.socketpair()
        self.mailbox = open_mailbox(audience.directory, self._topics)
        self._thread = threading.Thread(target=self._listen, name="nursery-tasks sqlite listener", daemon=True)

    def start(self) -> None:
        try:
            self._thread.start()
        except BaseException:  # no more threads are to be had
            self._audience.leave(self)
            self._wake.close()
            self._give_back()
            raise

    def tell(self, hints: Iterable[Hint]) -> None:
        """Pass on what this listener wants of *hints*."""
        for hint in hints:
            if hint.topic in self._topics:
                with self._telling:
                    if self._closed:
                        return
                    self._heard = True
                    try:
                        self._emit(hint)
                    except Exception:  # a listener's fault must not fail the call whose news it gets
                        _log.exception("a listener raised on a hint of topic %r", hint.topic)

    def close(self) -> None:
        """End it. An `emit` that is stuck is waited for only so long: whoever closes may be what it waits for."""
        self._audience.leave(self)
        self._closed = True
        if self._telling.acquire(timeout=_CLOSE_SECONDS):
            self._telling.release()
        self._wake.close()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_SECONDS)

    def _listen(self) -> None:
        try:
            poll = select.poll()
            poll.register(self._woken, select.POLLIN)
            if self.mailbox is not None:
                poll.register(self.mailbox.socket, select.POLLIN)
            look_at = time.monotonic() + LOOK_SECONDS
            while not self._closed:
                poll.poll(max(0.0, look_at - time.monotonic()) * 1000)
                if self._closed:
                    return
                if self.mailbox is not None:
                    self.tell(_receive(self.mailbox))
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + LOOK_SECONDS
                    self._look()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        if self.mailbox is not None:
            self.mailbox.close()
        self._audience.forget(self)
        self._woken.close()
        self._eyes.close()

    def _look(self) -> None:
        """Say "anything" if the file was changed and nobody has said a word."""
        heard, self._heard = self._heard, False
        if self._eyes.saw_change() and not heard:
            self.tell([Hint(topic) for topic in self._topics])
            self._heard = False


class Audience:
    """All who listen through one broker.

    Attributes:
        ends: Those who hear of jobs that a call has ended.
    """

    def __init__(self, database: Database) -> None:
        self.ends = EndListeners()
        self._database = database
        self.directory = socket_directory(database.path)
        self._post = Post(self.directory)
        self._lock = threading.Lock()
        self._members: tuple[Subscription, ...] = ()  # replaced, never changed: `tell` reads it without the lock
        self._closed = False

    def join(self, topics: Sequence[Topic], emit: Emit) -> Subscription:
        """Start a listener."""
        database = self._database
        looking = threading.Lock()
        try:
            with looking:
                connection = open_reader(database.path, database.busy_seconds, looking)
        except apsw.Error as error:
            raise to_broker_error(database.name, error) from error
        eyes = _Eyes(connection, looking)
        try:
            member = Subscription(self, topics, emit, eyes)
        except BaseException:  # no more files may be open
            eyes.close()
            raise
        with self._lock:
            late = self._closed
            if not late:
                if member.mailbox is not None:
                    self._post.add_own(member.mailbox)
                self._members = (*self._members, member)
        member.start()
        if late:
            member.close()
            raise BrokerClosed(database.name)
        return member

    def leave(self, gone: Subscription) -> None:
        with self._lock:
            self._members = tuple(member for member in self._members if member is not gone)

    def forget(self, gone: Subscription) -> None:
        """Hear from one that has left, and whose mailbox is closed by now."""
        if gone.mailbox is not None:
            self._post.remove_own(gone.mailbox)

    def tell(self, hints: Hints) -> None:
        """Tell everybody, here and in other processes; of what has ended, this program. The caller holds no lock."""
        self.ends.tell(hints.ended)
        told = tuple(hints)
        if not told:
            return
        for member in self._members:
            member.tell(told)
        self._post.send(told)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        for member in self._members:
            member.close()
        self._post.close()


class _Eyes:
    """Sees whether any connection but this one, which writes nothing, has changed the file.

    Args:
        lock: Of the connection; see `inherited.py`.
    """

    def __init__(self, connection: apsw.Connection, lock: threading.Lock) -> None:
        self._connection = connection
        self._lock = lock
        self._cursor = connection.cursor()
        self._version = self._read()

    def saw_change(self) -> bool:
        before, self._version = self._version, self._read()
        return before != self._version or self._version is None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _read(self) -> int | None:
        try:
            with self._lock:
                version: int = fetch_value(self._cursor, "PRAGMA data_version")
        except apsw.Error:  # whoever looks at the file next is told what is wrong
            return None
        return version


def _receive(mailbox: Mailbox) -> list[Hint]:
    """Take what has come, and say each thing once."""
    found: dict[Topic, dict[str, None] | None] = {}  # None: anything
    count = 0
    while (datagram := mailbox.receive()) is not None:
        count += 1
        hint = decode_hint(datagram)
        if hint is None:
            continue
        known = found.setdefault(hint.topic, {})
        if known is None:
            continue
        if hint.names:
            known.update(dict.fromkeys(hint.names))
        else:
            found[hint.topic] = None
    if count >= _queue_length():  # it was full, so something may have been lost
        return [Hint(topic) for topic in TOPICS.values()]
    return [Hint(topic, tuple(names or ())) for topic, names in found.items()]


def _queue_length() -> int:
    """Return how many datagrams the system keeps for a socket."""
    global _queue_length_found
    if _queue_length_found is None:
        try:
            _queue_length_found = int(_QUEUE_LENGTH.read_text())
        except (OSError, ValueError):
            _queue_length_found = 10
    return _queue_length_found


_queue_length_found: int | None = None
