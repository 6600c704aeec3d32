"""Room for the day when the disk is full.

A file beside the database holds some space. When a write finds the disk full, the file is deleted, so that workers can still
store how their jobs ended, and the log can be moved into the database. Producers get none of it: as long as the reserve is not
back they are refused, and whoever sweeps brings it back once there is room again.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

TEXT: Final = """\
This file holds nothing but space, for the day when the disk is full. nursery-tasks made it for {name} beside it.
It is deleted when a write finds no room, so that workers can still store how their jobs ended, and is made again
once there is plenty. It may be deleted at any time; it comes back. Other programs should not write to it.
"""
RESERVE_BYTES: Final = 4 * 1024 * 1024
_ROOM_BYTES: Final = 2 * RESERVE_BYTES  # as much must be free before the reserve is taken again
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reserve:
    """The file that keeps the space. Where a file system cannot do that, there is none, and nobody is refused for it."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + "-reserve")
        self._directory = database.parent
        self._text = TEXT.format(name=database.name).encode("utf-8", "surrogateescape")
        self._possible = True
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
        """Take the space again, if there is plenty. False: there is not enough."""
        if self.is_there or not self._possible:
            return True
        try:
            if _free_bytes(self._directory) < _ROOM_BYTES:
                return False
            self._make()
        except FileExistsError:  # another process was first
            return True
        except OSError as error:
            self._possible = error.errno in _NO_ROOM
            return not self._possible
        return True

    def _make(self) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _allocate(file, self._text)
        except OSError:
            self.release()
            raise
        finally:
            os.close(file)


def _free_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _allocate(file: int, text: bytes) -> None:
    """Take the space, and write at its beginning what it is for."""
    try:
        os.posix_fallocate(file, 0, RESERVE_BYTES)
    except (AttributeError, OSError):  # macOS has no such call, and some file systems do not know it
        zeros = memoryview(bytes(RESERVE_BYTES))
        while zeros:
            zeros = zeros[os.write(file, zeros) :]
    os.pwrite(file, text, 0)
