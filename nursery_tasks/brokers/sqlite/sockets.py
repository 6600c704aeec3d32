"""Unix datagram sockets beside the database: how a process wakes the others.

Each listener binds a socket in the directory `<database>-hints`. Its name begins with one letter per topic, so that a sender
sends only what somebody wants:

    wo.4711.5b1f0c2e       listens to work and outcome, process 4711

A datagram is the topic's letter and the names, separated by NUL; none means "anything". It is sent without waiting, and lost
when the receiver's queue is full or the receiver is gone. A socket without a process refuses; whoever notices deletes it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ...model.delivery import Hint, Topic

LETTERS: Final[dict[Topic, str]] = {
    "work": "w",
    "due": "d",
    "cancel": "c",
    "change": "g",
    "outcome": "o",
    "lock": "l",
    "schedule": "s",
    "outgoing": "u",
    "log": "e",
    "pause": "p",
}
TOPICS: Final[dict[str, Topic]] = {letter: topic for topic, letter in LETTERS.items()}

MAX_DATAGRAM_BYTES: Final = 32 * 1024  # a hint with more names says "anything" instead
_MAX_PATH_BYTES: Final = 103  # of a socket: macOS has room for 104 with the final NUL, Linux for 108
_NAME_BYTES: Final = 24  # at most, of a socket's file
_SETTLED_NS: Final = 50_000_000  # an older listing of the directory cannot have missed what came in the same tick of its clock
_BIND_TRIES: Final = 10
_HAS_SOCKETS: Final = hasattr(socket, "AF_UNIX")


def socket_directory(database: Path) -> Path:
    """Return where the sockets of *database* are: beside it, or among the temporary files if the path is long."""
    real = database.resolve()
    beside = real.with_name(real.name + "-hints")
    if len(os.fsencode(beside)) + 1 + _NAME_BYTES <= _MAX_PATH_BYTES:
        return beside
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"nursery-tasks-{os.getuid()}-{digest}")


def encode_hint(hint: Hint) -> bytes:
    """Make a datagram."""
    letter = LETTERS[hint.topic].encode()
    body = "\0".join(hint.names).encode("utf-8", "surrogatepass")
    return letter + body if len(body) < MAX_DATAGRAM_BYTES else letter


def decode_hint(datagram: bytes) -> Hint | None:
    """Read a datagram; None: it is not one of ours."""
    topic = TOPICS.get(datagram[:1].decode("latin-1"))
    if topic is None:
        return None
    body = datagram[1:].decode("utf-8", "replace")
    return Hint(topic, tuple(body.split("\0")) if body else ())


class Mailbox:
    """A bound socket."""

    def __init__(self, directory: Path, topics: Iterable[Topic]) -> None:
        letters = "".join(LETTERS[topic] for topic in dict.fromkeys(topics))
        self.path = directory / f"{letters}.{os.getpid()}.{secrets.token_hex(4)}"
        self._directory = directory
        self.socket = _bind(directory, self.path)

    def receive(self) -> bytes | None:
        """Take one datagram; None: there is none."""
        try:
            return self.socket.recv(MAX_DATAGRAM_BYTES + 1)
        except OSError:
            return None

    def close(self) -> None:
        """Close the socket and remove its file; the last one out removes the directory."""
        self.socket.close()
        with suppress(OSError):
            self.path.unlink()
        with suppress(OSError):
            remove_dead(self._directory)
            self._directory.rmdir()  # not empty: somebody else listens


class Post:
    """Sends to the mailboxes of other processes. Any thread may use it; it never waits and never raises."""

    def __init__(self, directory: Path) -> None:
        self._directory = os.fspath(directory)
        self._own: frozenset[str] = frozenset()  # names of this broker's mailboxes, which are told directly
        self._listing: tuple[int, tuple[str, ...]] = (-1, ())  # (time stamp of the directory, names of others' mailboxes)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._closed = not _HAS_SOCKETS

    def add_own(self, mailbox: Mailbox) -> None:
        with self._lock:
            self._own |= {mailbox.path.name}
            self._listing = (-1, ())

    def remove_own(self, mailbox: Mailbox) -> None:
        """Forget a mailbox, once it is closed; sooner, it would count as somebody else's."""
        with self._lock:
            self._own -= {mailbox.path.name}

    def send(self, hints: Iterable[Hint]) -> None:
        """Tell each hint to whoever listens to its topic."""
        names = self._others()
        if not names:
            return
        sender = self._open()
        if sender is None:
            return
        for hint in hints:
            letter, datagram = LETTERS[hint.topic], encode_hint(hint)
            for name in names:
                if letter in name.partition(".")[0]:
                    self._send_one(sender, datagram, os.path.join(self._directory, name))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._socket is not None:
                self._socket.close()

    def _send_one(self, sender: socket.socket, datagram: bytes, path: str) -> None:
        try:
            sender.sendto(datagram, path)
        except ConnectionRefusedError:  # its process died
            with suppress(OSError):
                os.unlink(path)
        except OSError:  # gone in this moment, or its queue is full: it will look by itself
            pass

    def _others(self) -> Sequence[str]:
        """List the others' mailboxes; from memory while the directory has not changed."""
        try:
            changed = os.stat(self._directory).st_mtime_ns
        except OSError:
            return ()
        stamp, names = self._listing
        if stamp == changed:
            return names
        try:
            names = tuple(name for name in os.listdir(self._directory) if name not in self._own)
        except OSError:
            return ()
        settled = time.time_ns() - changed > _SETTLED_NS
        self._listing = (changed if settled else -1, names)
        return names

    def _open(self) -> socket.socket | None:
        with self._lock:
            if self._socket is None and not self._closed:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
                weakref.finalize(self, self._socket.close)  # a program that ends need not close `app.sync`
            return None if self._closed else self._socket


def open_mailbox(directory: Path, topics: Iterable[Topic]) -> Mailbox | None:
    """Bind a socket; None where that is not possible: then only looking helps."""
    if not _HAS_SOCKETS:
        return None
    try:
        return Mailbox(directory, topics)
    except OSError:
        return None


def remove_dead(directory: Path) -> None:
    """Delete the sockets of processes that died without a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
        for path in directory.iterdir():
            try:
                caller.connect(os.fspath(path))
            except ConnectionRefusedError:
                with suppress(OSError):
                    path.unlink()
            except OSError:  # gone in this moment, or not ours
                pass


def _bind(directory: Path, path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        for attempt in range(_BIND_TRIES):
            directory.mkdir(mode=0o700, exist_ok=True)
            _check_own(directory)
            try:
                bound.bind(os.fspath(path))
            except FileNotFoundError:  # the last listener left, and took the directory along
                if attempt == _BIND_TRIES - 1:
                    raise
            else:
                break
        return bound
    except BaseException:
        bound.close()
        raise


def _check_own(directory: Path) -> None:
    """Use only a directory of our own: in the place for temporary files anybody can make one of this name."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{directory} belongs to somebody else")
