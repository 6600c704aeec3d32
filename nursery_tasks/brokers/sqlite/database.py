"""The file as a broker uses it: one connection that writes and some that read, with their locks.

Theory:

- **Steps hand over the GIL.** apsw releases it around every step of a statement, and a thread that computes gets it then and
  keeps it for 5 ms. One statement per row held the write lock for 50 ms and more while the event loop was busy with 64 jobs;
  one statement per batch, 10 ms. So what is written goes in as one statement for many rows (`statements.py`).
- **Every transaction that writes begins as a writer** (`BEGIN IMMEDIATE`, or a single statement). One that reads first and then
  wants to write is refused at once when somebody else has written meanwhile, however long it would be willing to wait.
- **What may be lost is not waited for.** Submissions, ends and cancels are on the disk when the call returns
  (`synchronous=FULL`). Claims, renewals and marks are not synced: a power failure that loses a claim leaves a ready job.
  The next sync takes along all that was written before it.
- **Reading does not wait for writing.** WAL lets a reader see the last commit while a writer syncs the next. Short reads and
  long listings have connections of their own.
- **A connection belongs to the process that opened it.** After a fork every call in the child says so. A broker that the child
  opens closes what was inherited, see `inherited.py`.
"""

# pyright: reportUnknownMemberType=false
# apsw's stubs use a type that exists only from Python 3.12 on, so "execute" counts as partially unknown.

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

import apsw

from ...errors import BrokerClosed, BrokerReplaced, BrokerUnavailable
from ...forks import at_fork
from ..common.forks import opened_before_fork
from .clock import BrokerClock
from .connection import BusyHandler, Synchronous, open_pair, open_reader
from .failures import REPLACED_STEP, is_full, to_broker_error
from .lockout import Lockout
from .reserve import Reserve
from .statements import fetch_value

T = TypeVar("T")
Write = Callable[[apsw.Cursor, float], T]  # gets the time on the broker's clock; may be called again after a rollback
Read = Callable[[apsw.Cursor], T]

_SYNC: Final = {True: "PRAGMA synchronous = FULL", False: "PRAGMA synchronous = NORMAL"}


class Database:
    """One open file.

    Args:
        name: How errors call it.
        path: The file; its directory exists.
        source: The system's clock.
        synchronous: `normal`: nothing is waited for.
        busy_seconds: How long to wait for other processes.
    """

    def __init__(
        self, name: str, path: Path, source: Callable[[], float], synchronous: Synchronous, busy_seconds: float
    ) -> None:
        self.name, self.path = name, path
        self.busy_seconds = busy_seconds
        self.closed = self._closing = False
        self.forked = False  # set in a child of the process that opened it
        self._full = synchronous == "full"
        self._writing, self._reading, self._browsing = Lock(), Lock(), Lock()
        with self._writing, self._reading:
            self._writer, self._reader = open_pair(name, path, busy_seconds, self._writing, self._reading)
        self._busy_handler = BusyHandler(busy_seconds)
        self._writer.set_busy_handler(self._busy_handler)
        self._synced = True  # what the writer is set to
        self._browser: apsw.Connection | None = None
        self._write_cursor, self._read_cursor = self._writer.cursor(), self._reader.cursor()
        self.clock = BrokerClock.of(source, self.read(_stored_clock))
        self.reserve = Reserve(path)
        self.lockout = Lockout()
        self._has_real_clock = source is time.time
        stat = os.stat(path)
        self._inode = (stat.st_dev, stat.st_ino)
        _OPEN.add(self)

    def write(self, work: Write[T], *, durable: bool = False, essential: bool = True) -> T:
        """Run *work* in one transaction; all of it is stored, or nothing.

        Args:
            durable: Whether it must be on the disk on return.
            essential: Whether it may use the space that is reserved for the time when the disk is full.

        Raises:
            BrokerUnavailable: It was not possible, or is not known to have been.
        """
        return self._write(self._transact, work, durable, essential)

    def write_alone(self, work: Write[T], *, essential: bool = True) -> T:
        """Run *work*, each of whose statements is a transaction of its own and need not be on the disk on return."""
        return self._write(self._work, work, False, essential)

    def read(self, work: Read[T]) -> T:
        """Run a short query."""
        self.check_usable()
        with self._reading:
            self.check_usable()
            try:
                return work(self._read_cursor)
            except apsw.Error as error:
                raise to_broker_error(self.name, error, self._reader.system_errno) from error

    def browse(self, work: Read[T]) -> T:
        """Run a query that may take long, on a connection for such."""
        self.check_usable()
        with self._browsing:
            self.check_usable()
            try:
                self.check_place()
                if self._browser is None:
                    self._browser = open_reader(self.path, self.busy_seconds, self._browsing)
                return work(self._browser.cursor())
            except apsw.Error as error:
                said = 0 if self._browser is None else self._browser.system_errno
                raise to_broker_error(self.name, error, said) from error

    @property
    def trusts_leases(self) -> bool:
        """Whether a lease that is over is so for certain; otherwise its worker may live, and get around to renewing it."""
        return not self.clock.has_jumped and (self.lockout.is_past or not self._has_real_clock)

    def check_usable(self) -> None:
        """Refuse a call that comes too late, or in the wrong process."""
        if self.forked:
            raise opened_before_fork(self.name)
        if self._closing:
            raise BrokerClosed(self.name)

    def check_place(self) -> None:
        """Notice that the file was deleted or replaced: SQLite would go on writing to what nobody can find.

        Raises:
            BrokerReplaced: It was.
            BrokerUnavailable: It cannot be looked at.
        """
        try:
            stat = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            stat = None
        except OSError as error:
            raise BrokerUnavailable(self.name, f"{self.path} cannot be looked at: {error.strerror}") from error
        if stat is None or (stat.st_dev, stat.st_ino) != self._inode:
            raise BrokerReplaced(self.name, f"{self.path} was deleted or replaced", REPLACED_STEP)

    def close(self) -> None:
        """Close all connections, after the calls that are under way; of those, what waits for other processes gives up."""
        if self.forked:
            return
        self._closing = True
        self._busy_handler.end()
        with self._writing, self._reading, self._browsing:
            if self.closed:
                return
            self.closed = True
            _OPEN.discard(self)
            for connection in self.connections():
                connection.close()

    def connections(self) -> list[apsw.Connection]:
        """Return those that are open; the writer comes last, so that it finds nobody else when it tidies up the log."""
        return [connection for connection in (self._browser, self._reader, self._writer) if connection is not None]

    def _write(self, run: Callable[[Write[T]], T], work: Write[T], durable: bool, essential: bool) -> T:
        self.check_usable()  # before the lock, too: after a fork nobody may be left to give it back
        with self._writing:
            self.check_usable()
            self.check_place()
            durable = durable and self._full
            try:
                if durable != self._synced:
                    self._write_cursor.execute(_SYNC[durable], can_cache=False)  # a cached pragma does nothing
                    self._synced = durable
                try:
                    answer = run(work)
                except apsw.Error as error:
                    if not (essential and is_full(error, self._writer.system_errno) and self.reserve.release()):
                        raise
                    answer = run(work)
                self.lockout.wrote()
                return answer
            except apsw.Error as error:
                self.lockout.failed()
                raise to_broker_error(self.name, error, self._writer.system_errno) from error

    def _transact(self, work: Write[T]) -> T:
        cursor = self._write_cursor
        with self.lockout.waiting():
            cursor.execute("BEGIN IMMEDIATE")
        try:
            answer = work(cursor, self.clock())
            cursor.execute("COMMIT")
            return answer
        finally:
            if self._writer.in_transaction:  # SQLite has rolled some failures back itself
                cursor.execute("ROLLBACK")

    def _work(self, work: Write[T]) -> T:
        return work(self._write_cursor, self.clock())


def _stored_clock(cursor: apsw.Cursor) -> float:
    return fetch_value(cursor, "SELECT value FROM meta WHERE name = 'clock'") or 0.0


def begin_again(cursor: apsw.Cursor) -> None:
    """Undo what the transaction has done so far and begin it once more."""
    cursor.execute("ROLLBACK")
    cursor.execute("BEGIN IMMEDIATE")


_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for database in list(_OPEN):
        database.forked = True


at_fork(in_child=_after_fork_in_child)
