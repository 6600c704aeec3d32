"""Who is left of a session: the processes that a program started and that have not made a session of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")


def has_members(group: int) -> bool:
    """Say whether anybody is in a process group, also one who is dead and not reaped yet. One system call."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # there is somebody, who belongs to another user
        return True
    return True


def living_members(session: int) -> dict[int, int] | None:
    """Return the living processes of a session, each with its group; None where the system has no /proc.

    A shell with job control gives each of its jobs a group, and where process 1 reaps nobody, the dead stay in theirs for ever:
    only a look at all processes tells.
    """
    if not (PROC / "self" / "stat").exists():
        return None
    found: dict[int, int] = {}
    for pid in map(int, filter(str.isdigit, os.listdir(PROC))):
        state, group, its_session = _read_stat(pid)
        if its_session == session and state not in (b"Z", b"X"):
            found[pid] = group
    return found


def _read_stat(pid: int) -> tuple[bytes, int, int]:
    """Return state, group and session; of nobody when the process has ended meanwhile."""
    try:
        stat = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return b"X", 0, 0
    # pid (name) state parent group session ...; the name may hold anything, also a parenthesis
    state, _, group, session = stat[stat.rindex(b")") + 2 :].split(maxsplit=4)[:4]
    return state, int(group), int(session)
