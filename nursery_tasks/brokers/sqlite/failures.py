"""From the driver's errors to ours. No apsw exception leaves this package."""

from __future__ import annotations

from typing import Final

import apsw

from ...errors import BrokerError, BrokerFull, BrokerUnavailable

# What the driver raises -> the problem, the next step. The first row that fits counts.
_TABLE: Final[tuple[tuple[type[apsw.Error], str, str], ...]] = (
    (apsw.BusyError, "other processes kept the file locked for too long", "see ?busy_timeout="),
    (apsw.LockedError, "other processes kept the file locked for too long", "see ?busy_timeout="),
    (apsw.CorruptError, "the file is damaged", "stop all programs that use it, then restore a backup"),
    (apsw.NotADBError, "the file is no SQLite database", "restore it, or name another file"),
    (apsw.ReadOnlyError, "the file cannot be written", "give this user write access to it"),
    (apsw.PermissionsError, "the file cannot be accessed", "give this user access to it"),
    (apsw.CantOpenError, "the file cannot be opened", "is its directory still there?"),
    (apsw.IOError, "the disk has failed to read or write", "look into the system's log"),
    (apsw.NoMemError, "out of memory", ""),
    (apsw.SQLError, "the file's tables are not those of this version", "restart this program"),
)

# Input/output errors that a full disk causes where SQLite cannot tell that it is full.
_NO_ROOM: Final = frozenset({apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_SHMSIZE})


def is_full(error: apsw.Error) -> bool:
    """Say whether there was no room for a write."""
    return isinstance(error, apsw.FullError) or getattr(error, "extendedresult", None) in _NO_ROOM


def to_broker_error(name: str, error: apsw.Error) -> BrokerError:
    """Return the error that says *error* in our words; *name* is the broker's."""
    if is_full(error):
        return BrokerFull(name, "the disk is full", "free some space on it")
    for driver_error, problem, step in _TABLE:
        if isinstance(error, driver_error):
            return BrokerUnavailable(name, f"{problem} ({error})", step)
    return BrokerUnavailable(name, f"{type(error).__name__}: {error}")
