"""What is looked at before a file is opened, so that each thing that can be wrong has a sentence and a next step of its own."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import apsw

from ...errors import BrokerUnreachable

# Byte-range locks and shared memory do not work, or not reliably, on these: two machines would not see each other's locks.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs"}
    | {"gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb", "smb2", "smb3", "smbfs"}
)
_MOUNTS: Final = Path("/proc/self/mounts")


def check_driver(name: str, version: str | None = None) -> None:
    """Refuse an SQLite that can corrupt a file which two connections write to.

    Raises:
        BrokerUnreachable: This SQLite has the bug.
    """
    version = apsw.sqlite_lib_version() if version is None else version
    if has_wal_reset_bug(version):
        raise BrokerUnreachable(
            name, f"SQLite {version} can corrupt a database that several processes write to", "pip install --upgrade apsw"
        )


def has_wal_reset_bug(version: str) -> bool:
    """Say whether two connections that write and checkpoint at the same moment can corrupt the file.

    In 3.7.0 to 3.51.2, except for the releases that got the correction: 3.44.6, 3.50.7. See https://sqlite.org/wal.html.
    """
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    fixed = {44: 6, 50: 7, 51: 3}.get(minor)
    if fixed is not None:
        return major == 3 and patch < fixed
    return major == 3 and 7 <= minor < 51


def check_place(name: str, path: Path) -> None:
    """Check that a database can be at *path*.

    Raises:
        BrokerUnreachable: It cannot.
    """
    directory = path.parent
    if path.name == ":memory:":  # SQLite would make a database that only this one connection sees
        raise BrokerUnreachable(name, "SQLite's :memory: is no file", "memory: is the broker in this process's memory")
    if os.path.isdir(path):  # and not Path.is_dir(), which raises where a directory above may not be entered
        raise BrokerUnreachable(name, f"{path} is a directory", f"name a file in it, such as {path / 'jobs.db'}")
    if not os.path.isdir(directory):
        raise BrokerUnreachable(
            name, f"the directory {directory} does not exist, or may not be entered", f"mkdir -p {directory}"
        )
    if os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK):
        raise BrokerUnreachable(name, *_why_not(path, f"{_user()} may not read and write {path}", f"see ls -l {path}"))
    if not os.access(directory, os.W_OK | os.X_OK):  # also for an existing file: the log beside it comes and goes
        plain = f"{_user()} may not create files in {directory}", f"see ls -ld {directory}"
        raise BrokerUnreachable(name, *_why_not(directory, *plain))
    system = file_system(directory)
    if system in NETWORK_FILE_SYSTEMS:
        raise BrokerUnreachable(
            name, f"{directory} is on a network file system ({system}), where SQLite cannot lock", "use a local directory"
        )


def _why_not(path: Path, problem: str, step: str) -> tuple[str, str]:
    """Say why *path* may not be written where its permissions are not the reason, and the next step; else what was given."""
    try:
        found, flags = os.stat(path), os.statvfs(path).f_flag
    except OSError:
        return problem, step
    if flags & os.ST_RDONLY:
        return f"{path} is on a file system that can only be read", "mount it for writing, or name another place"
    if os.geteuid() == 0 or (os.geteuid() == found.st_uid and found.st_mode & stat.S_IWUSR and found.st_mode & stat.S_IRUSR):
        return f"{path} is immutable, although {_user()} may write it", f"see lsattr -d {path}; chattr -i makes it writable"
    return problem, step


def file_system(directory: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the file system that holds *directory*, None where the system does not say."""
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return None
    place = os.fsencode(directory.resolve()).rstrip(b"/") + b"/"
    best, found = -1, None
    for line in lines:
        fields = line.split(b" ")
        if len(fields) < 3:
            continue
        mount = _unescape(fields[1]).rstrip(b"/") + b"/"
        if place.startswith(mount) and len(mount) >= best:  # >=: of two on one place, the later covers the earlier
            best, found = len(mount), fields[2].decode()
    return found


def _unescape(field: bytes) -> bytes:
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, character)
    return field


def _user() -> str:
    return f"the user with the id {os.geteuid()}" if hasattr(os, "geteuid") else "this user"
