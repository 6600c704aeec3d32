"""From the driver's errors to ours. No apsw exception leaves this package."""

from __future__ import annotations

import errno
from typing import Final

import apsw

from ...errors import BrokerError, BrokerFull, BrokerReplaced, BrokerUnavailable

REPLACED_STEP: Final = "restart all programs that use it"

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

# What the system says of a write that failed -> the problem, the next step.
_MAY_NOT: Final = (
    "it, or a file beside it, may not be written any more",
    "see ls -l and lsattr: who may write, and what is immutable",
)
_SYSTEM: Final = {
    errno.EPERM: _MAY_NOT,
    errno.EACCES: _MAY_NOT,
    errno.EROFS: ("its file system can only be read", "mount it for writing, and see the system's log for why it was not"),
}

# Input/output errors that a full disk causes where SQLite cannot tell that it is full.
_NO_ROOM: Final = frozenset({apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_SHMSIZE})


def is_full(error: apsw.Error, system_error: int = 0) -> bool:
    """Say whether there was no room for a write."""
    if isinstance(error, apsw.FullError):
        return True
    return getattr(error, "extendedresult", None) in _NO_ROOM and system_error not in _SYSTEM


def to_broker_error(name: str, error: apsw.Error, system_error: int = 0) -> BrokerError:
    """Return the error that says *error* in our words.

    Args:
        name: The broker's.
        system_error: What the system said last on that connection, an `errno`; 0: nothing.
    """
    if is_full(error, system_error):
        return BrokerFull(name, "the disk is full", "free some space on it")
    if getattr(error, "extendedresult", None) == apsw.SQLITE_READONLY_DBMOVED:
        return BrokerReplaced(name, "the file was deleted or replaced", REPLACED_STEP)
    if system_error in _SYSTEM and isinstance(error, apsw.IOError | apsw.ReadOnlyError | apsw.CantOpenError):
        problem, step = _SYSTEM[system_error]
        return BrokerUnavailable(name, f"{problem} ({error})", step)
    for driver_error, problem, step in _TABLE:
        if isinstance(error, driver_error):
            return BrokerUnavailable(name, f"{problem} ({error})", step)
    return BrokerUnavailable(name, f"{type(error).__name__}: {error}")
