"""Where the tests put their files: in memory where there is enough of it, because most of them are not about a disk.

On a disk each commit waits for it, and the tests of other processes wait in the same line. A test about disks, or about what
only a file system on one can do, asks for a folder in `DISK`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
NEEDED_BYTES: Final = 2 * 10**9  # a whole run was seen to need a quarter of that
_NAME: Final = "TESTS_ON_DISK"  # for the processes of one run: in those `TMPDIR` is changed already


class _Own:
    folder: str | None = None  # of this process: the first one of a run makes it


DISK: Final = Path(os.environ.setdefault(_NAME, tempfile.gettempdir()))


def move_into_memory() -> None:
    """Have all that comes later, here and in the processes that are started, put temporary files into memory.

    Whoever names a `TMPDIR` of their own gets what they ask for. So do those whose memory is small, as in most containers.
    """
    if "TMPDIR" not in os.environ and _has_room():
        _Own.folder = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="nt", dir=MEMORY)  # short, as sockets have paths in it
        os.chmod(_Own.folder, 0o1777)  # as such folders are: some tests are somebody else for a while
        tempfile.tempdir = None  # forget what was found before


def clear_memory() -> None:
    """Remove what this run has left there: tests kill programs that would have tidied up."""
    if _Own.folder is not None:
        shutil.rmtree(_Own.folder, ignore_errors=True)
        _Own.folder = None


def _has_room() -> bool:
    try:
        found = os.statvfs(MEMORY)
    except (AttributeError, OSError):
        return False
    return os.access(MEMORY, os.W_OK) and found.f_bavail * found.f_frsize >= NEEDED_BYTES
