"""Connections that a forked child of this process has inherited, and must close before it opens its own.

SQLite remembers in its own memory which locks on a file this process holds, because POSIX gives locks to processes. A forked
child has a copy of that memory, and none of the locks. A connection that it opens to the same file believes that it has the
locks already and takes none; then the parent, when it closes, finds itself alone, and deletes the log that the child writes to.
Jobs that the child was told are stored were gone. (See also section 2.6 of https://www.sqlite.org/howtocorrupt.html.)

So the child closes what it has inherited before it opens anything: then SQLite forgets the file, and begins anew. That takes
nothing away from the parent, whose locks are the parent's. Only what nobody was in the middle of a call with can be closed; so
a fork waits for the calls that are under way, for a moment. Opening counts, too: it holds locks in SQLite's memory that are
there once per process, and in a child that was born meanwhile every call would wait for them for ever.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

import apsw

from ...errors import BrokerUnreachable
from ...forks import at_fork

WAIT_SECONDS: Final = 1.0  # for calls that are under way when somebody forks


class _Connections:
    """Those of this process, each with the lock that is held during its calls; and those that it has inherited."""

    own: Final[weakref.WeakKeyDictionary[apsw.Connection, tuple[Lock, str]]] = weakref.WeakKeyDictionary()
    idle: Final[list[apsw.Connection]] = []
    busy: Final[list[tuple[apsw.Connection, str]]] = []  # with its file; never touched again, and never let go
    closing = Lock()
    opening = Lock()
    is_stuck = False  # somebody was in the middle of opening one when this process was forked


_forking = threading.local()  # the locks that the forking thread has taken


def open_guarded(open_connection: Callable[[], apsw.Connection], lock: Lock, path: Path) -> apsw.Connection:
    """Open and register a connection to the file at *path*. The caller holds *lock*, now and during each later call."""
    file = os.path.realpath(path)
    with _Connections.opening:
        connection = open_connection()
        _Connections.own[connection] = lock, file
    return connection


def close_inherited(name: str, path: Path) -> None:
    """Make SQLite forget what the parent of this process had open; before anything is opened here.

    Raises:
        BrokerUnreachable: The parent was in the middle of a call when it forked.
    """
    with _Connections.closing:
        while _Connections.idle and not _Connections.is_stuck:
            _Connections.idle.pop().close()
        if _Connections.is_stuck or any(os.path.realpath(path) == file for _, file in _Connections.busy):
            raise BrokerUnreachable(
                name,
                f"this process was forked during a call of its parent's that took longer than {WAIT_SECONDS:g} s",
                "fork again, or start processes by the method spawn",
            )


def _before() -> None:
    until = time.monotonic() + WAIT_SECONDS
    taken: dict[int, Lock] = {}
    while True:
        for lock in _locks().values():
            if id(lock) not in taken and lock.acquire(timeout=max(0.0, until - time.monotonic())):
                taken[id(lock)] = lock
        # Last, because who opens has a lock already; and again, when one has come meanwhile.
        _forking.nobody_opens = _Connections.opening.acquire(timeout=max(0.0, until - time.monotonic()))
        if not _forking.nobody_opens or _locks().keys() <= taken.keys() or time.monotonic() >= until:
            break
        _Connections.opening.release()
    _forking.locks = list(taken.values())


def _locks() -> dict[int, Lock]:
    return {id(lock): lock for lock, _ in list(_Connections.own.values())}


def _in_parent() -> None:
    if _forking.nobody_opens:
        _Connections.opening.release()
    for lock in _forking.locks:
        lock.release()
    _forking.locks = []


def _in_child() -> None:
    taken = {id(lock) for lock in _forking.locks}
    for connection, (lock, file) in list(_Connections.own.items()):
        if id(lock) in taken:
            _Connections.idle.append(connection)
        else:
            _Connections.busy.append((connection, file))
    if not _forking.nobody_opens:
        _Connections.is_stuck = True
    _Connections.own.clear()
    _Connections.closing = Lock()
    _in_parent()


at_fork(before=_before, in_parent=_in_parent, in_child=_in_child)
