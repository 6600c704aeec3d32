"""Opening connections: how they are set up, and how the file is made when it is not there yet."""

# pyright: reportUnknownMemberType=false
# apsw's stubs use a type that exists only from Python 3.12 on, so "execute" counts as partially unknown.

from __future__ import annotations

import math
import os
import random
import time
from pathlib import Path
from threading import Lock
from typing import Final, Literal

import apsw

from ...errors import BrokerUnreachable
from .failures import to_broker_error
from .inherited import close_inherited, open_guarded
from .schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, TABLES
from .statements import fetch

Synchronous = Literal["full", "normal"]

BUSY_SECONDS: Final = 5.0
LAST_SECONDS: Final = 0.3  # for a wait when the file is closed; who does not hold it for good is done by then
WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_CACHE_KIB: Final = 16 * 1024  # per connection; the default of 2 MiB makes big batches write pages twice
_STATEMENTS: Final = 256  # of which each batch size is one; see statements.py
_PAUSE_SECONDS: Final = 0.0002  # the longest first pause while another process writes
_LONGEST_PAUSE_SECONDS: Final = 0.002

# `synchronous` is set by whoever writes; the log is moved into the database by `maintenance.py` and by nobody else.
_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}",
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    "PRAGMA mmap_size = 0",  # an error of the disk would be a SIGBUS
    "PRAGMA trusted_schema = OFF",
)

# In one statement, so that it sees one state: the tables may be made in this moment.
_WHOSE: Final = """
    SELECT application_id, user_version, EXISTS (SELECT 1 FROM sqlite_schema) FROM pragma_application_id, pragma_user_version
"""


class BusyHandler:
    """What SQLite calls while another connection holds the lock: pause a little, and give up in the end.

    SQLite's own handler pauses 1, 2, 5, 10, ... 100 ms. Four processes that wrote without a break then shut each other out
    for two seconds, and one got no turn at all; with short, random pauses the longest wait was below half a second.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._give_up_at = 0.0  # on the monotonic clock
        self._end_at = math.inf  # likewise; any thread sets it

    def end(self) -> None:
        """Let no wait last much longer, also one that is under way: whoever waits wants to leave."""
        self._end_at = min(self._end_at, time.monotonic() + LAST_SECONDS)

    def __call__(self, tries: int) -> bool:
        now = time.monotonic()
        if tries == 0:
            self._give_up_at = now + self._seconds
        if now >= min(self._give_up_at, self._end_at):
            return False
        time.sleep(random.uniform(0.0, min(_PAUSE_SECONDS * (tries + 1), _LONGEST_PAUSE_SECONDS)))
        return True


def open_pair(
    name: str, path: Path, busy_seconds: float, writing: Lock, reading: Lock
) -> tuple[apsw.Connection, apsw.Connection]:
    """Open a writer and a reader of the same file.

    Args:
        writing, reading: Their locks, which the caller holds; see `inherited.py`.

    Raises:
        BrokerUnreachable: The file cannot be used; the text says why and what to do.
    """
    close_inherited(name, path)
    writer = open_writer(name, path, busy_seconds, writing)
    try:
        return writer, open_reader(path, busy_seconds, reading)
    except apsw.Error as error:
        writer.close()
        raise _unreachable(name, error) from error


def open_writer(name: str, path: Path, busy_seconds: float, lock: Lock) -> apsw.Connection:
    """Open the connection that writes, and make the file and its tables where they are missing.

    Raises:
        BrokerUnreachable: The file cannot be used; the text says why and what to do.
    """
    _create_file(name, path)
    try:
        connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, busy_seconds, lock)
    except apsw.Error as error:
        raise _unreachable(name, error) from error
    try:
        _find_version(name, path, connection)
        for pragma in _WRITER:
            _patiently(connection, pragma, busy_seconds)
        _prepare_tables(name, path, connection)
    except apsw.Error as error:
        unreachable = _unreachable(name, error, connection)
        connection.close()
        raise unreachable from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path, busy_seconds: float, lock: Lock) -> apsw.Connection:
    """Open a connection that only reads, so that it never waits for a writer."""
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, busy_seconds, lock)  # READONLY could not read a log left by a crash
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def open_checkpointer(path: Path, lock: Lock) -> apsw.Connection:
    """Open a connection that moves the log into the database."""
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, 0.2, lock)  # it comes again: better late than in somebody's way
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _connect(path: Path, flags: int, busy_seconds: float, lock: Lock) -> apsw.Connection:
    connection = open_guarded(lambda: apsw.Connection(str(path), flags=flags, statementcachesize=_STATEMENTS), lock, path)
    connection.set_busy_handler(BusyHandler(busy_seconds))
    return connection


def _create_file(name: str, path: Path) -> None:
    """Make an empty file that only its owner may read; SQLite gives the files beside it the same mode.

    Only where there is none: closing a file that SQLite has open in this process would drop its locks.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise BrokerUnreachable(name, f"{path} cannot be made: {error.strerror}", f"see ls -ld {path.parent}") from error


def _find_version(name: str, path: Path, connection: apsw.Connection) -> int:
    """Look whose file it is, before anything in it is changed; return the version of its tables. 0: it is empty."""
    version: int
    ((owner, version, used),) = fetch(connection.cursor(), _WHOSE)
    if owner == APPLICATION_ID and (version == SCHEMA_VERSION or version in MIGRATIONS):
        return version
    if owner == APPLICATION_ID:
        age, step = (
            ("a newer", "upgrade this program")
            if version > SCHEMA_VERSION
            else ("an older", "remove it once its jobs have ended")
        )
        raise BrokerUnreachable(
            name,
            f"{path} was made by {age} version of nursery-tasks (its tables have version {version}, not {SCHEMA_VERSION})",
            step,
        )
    if used:
        raise BrokerUnreachable(name, f"{path} is the database of another program", "give the jobs a file of their own")
    return 0


def _prepare_tables(name: str, path: Path, connection: apsw.Connection) -> None:
    """Make the tables, or bring those of an older version up to this one, in one transaction."""
    if _find_version(name, path, connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _find_version(name, path, connection)  # again: another process may have been first
        if version != SCHEMA_VERSION:
            connection.execute(MIGRATIONS[version] if version else TABLES)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _patiently(connection: apsw.Connection, pragma: str, busy_seconds: float) -> None:
    """Run a pragma again while it is refused: switching to WAL does not ask the busy handler."""
    give_up_at = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute(pragma).fetchall()
        except apsw.BusyError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(random.uniform(0.0, 10 * _LONGEST_PAUSE_SECONDS))
        else:
            return


def _unreachable(name: str, error: apsw.Error, connection: apsw.Connection | None = None) -> BrokerUnreachable:
    known = to_broker_error(name, error, 0 if connection is None else connection.system_errno)
    problem, step = getattr(known, "problem", str(error)), getattr(known, "step", "")
    return BrokerUnreachable(name, problem, step)
