"""What keeps the file in order: moving the log into the database, the stored clock, the reserve.

Moving is called a checkpoint. SQLite would do it inside whichever commit finds the log long, so a worker's settlement would
wait for the disk; here the sweep does it. A process without a sweep (one that only submits) helps when the log is much longer.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from threading import Lock
from typing import Final

import apsw

from ...errors import BrokerError
from ...log_throttle import LogThrottle
from .connection import WAL_LIMIT_BYTES, open_checkpointer
from .database import Database
from .statements import fetch_value

SWEEP_PAGES: Final = 1_000  # from this length of the log on, a sweep moves it
WRITE_PAGES: Final = 4_000  # from here on any write does, after it
_PAGES_PER_WRITE: Final = 8  # that a transaction writes at least
TRUNCATE_BYTES: Final = WAL_LIMIT_BYTES

CLOCK_SECONDS: Final = 5.0  # how often the clock is stored; each time wakes the other processes' listeners
_STORE_CLOCK: Final = """
    INSERT INTO meta (name, value) VALUES ('clock', ?1)
    ON CONFLICT DO UPDATE SET value = ?1 WHERE value < ?1 RETURNING value
"""
_STORED_CLOCK: Final = "SELECT value FROM meta WHERE name = 'clock'"

_log = logging.getLogger(__name__)


class Maintenance:
    """The chores of one open file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()  # one checkpoint at a time in this process
        self._not_moved = LogThrottle(_log)
        self._unseen = 0  # about how many pages this process may have written since it last looked; a guess will do

    def run(self) -> None:
        """Do what a sweep does.

        Raises:
            BrokerReplaced: The file is not where it was.
        """
        self._database.check_usable()
        self._database.check_place()
        self._database.reserve.restore()
        self._keep_clock()
        length, moved = self._database.read(_log_pages)
        if length - moved >= SWEEP_PAGES:
            self._checkpoint()

    def after_write(self, jobs: int) -> None:
        """Move the log if nobody else seems to do it."""
        self._unseen += _PAGES_PER_WRITE + jobs
        if self._unseen < WRITE_PAGES:
            return
        self._unseen = 0
        with suppress(BrokerError):  # the write itself has succeeded
            length, moved = self._database.read(_log_pages)
            if length - moved >= WRITE_PAGES:
                self._checkpoint()

    def _keep_clock(self) -> None:
        database = self._database
        stored: float = database.read(lambda cursor: fetch_value(cursor, _STORED_CLOCK)) or 0.0
        database.clock.raise_to(stored)
        if database.clock() >= stored + CLOCK_SECONDS:
            database.write(lambda cursor, now: fetch_value(cursor, _STORE_CLOCK, now))

    def _log_bytes(self) -> int:
        path = self._database.path
        try:
            return path.with_name(path.name + "-wal").stat().st_size
        except OSError:
            return 0

    def _checkpoint(self) -> None:
        """Move what can be moved. It is nobody's call, so its failure is nobody's error: the next one tries again."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._move()
        except apsw.BusyError:
            pass
        except apsw.Error as error:
            self._not_moved.log("%s: its log grows, it cannot be moved into the file: %s", self._database.name, error)
        finally:
            self._lock.release()

    def _move(self) -> None:
        connection = open_checkpointer(self._database.path, self._lock)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            if self._log_bytes() > TRUNCATE_BYTES:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            connection.close()


def _log_pages(cursor: apsw.Cursor) -> tuple[int, int]:
    """Return how many pages the log has, and how many of them have been moved."""
    return cursor.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
