"""Room for the day when the disk is full.

A file beside the database holds some space. When a write finds the disk full, the file is deleted, so that workers can still
store how their jobs ended, and the log can be moved into the database. Producers get none of it: as long as the reserve is not
back they are refused, and whoever sweeps brings it back once there is room again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 4 * 1024 * 1024
_ROOM_BYTES: Final = 2 * RESERVE_BYTES  # as much must be free before the reserve is taken again


class Reserve:
    """The file that keeps the space."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + "-reserve")
        self._directory = database.parent
        self.restore()

    @property
    def is_there(self) -> bool:
        return os.path.exists(self.path)

    def release(self) -> bool:
        """Give the space to whoever writes next. False: there is none left."""
        try:
            os.unlink(self.path)
        except OSError:
            return False
        return True

    def restore(self) -> bool:
        """Take the space again, if there is plenty. Return whether the reserve is there."""
        if self.is_there:
            return True
        try:
            free = os.statvfs(self._directory)
            if free.f_bavail * free.f_frsize < _ROOM_BYTES:
                return False
            made = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was first
            return True
        except OSError:
            return False
        try:
            _allocate(made)
        except OSError:
            self.release()
            return False
        finally:
            os.close(made)
        return True


def _allocate(file: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, RESERVE_BYTES)
        return
    zeros = bytes(64 * 1024)  # macOS
    for _ in range(RESERVE_BYTES // len(zeros)):
        os.write(file, zeros)
