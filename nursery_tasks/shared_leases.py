"""The leases that a worker process has, written down where its death cannot take it: in memory that its supervisor has, too.

A broker believes a silent worker until the lease is over. A supervisor knows better when a process is dead, but not what that
had claimed, and a job that kills its worker at once has not been reported as started. So the worker notes each delivery here,
and whether its handler runs, by writes that are no system calls. Entries are tokens: whoever reads one that is out of date,
because the job has ended meanwhile, is refused by the broker like anybody with an old token.

    an entry   a byte that says what it is (FREE, CLAIMED, RUNNING), the length of the rest, msgpack of (job id, token, address)
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any, Final

import msgspec

FREE, CLAIMED, RUNNING = range(3)
ENTRY_BYTES: Final = 128
ENTRIES: Final = 4096  # what does not fit is not noted: its lease runs out
NOWHERE: Final = -1


class SharedLease(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A delivery that a dead process had; *running*: its handler ran."""

    running: bool
    job_id: str
    token: bytes
    address: Any


def open_shared_leases() -> int:
    """Return a new descriptor, of nothing but memory where the system has that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("nursery-tasks")
    else:
        descriptor, path = tempfile.mkstemp(prefix="nursery-tasks-")
        os.unlink(path)
    os.ftruncate(descriptor, ENTRY_BYTES * ENTRIES)
    return descriptor


def read_shared_leases(descriptor: int) -> list[SharedLease]:
    """Return the leases of a process that is gone."""
    with mmap.mmap(descriptor, ENTRY_BYTES * ENTRIES, prot=mmap.PROT_READ) as memory:
        leases: list[SharedLease] = []
        for begin in range(0, len(memory), ENTRY_BYTES):
            kind, size = memory[begin], memory[begin + 1]
            if kind != FREE:
                job_id, token, address = msgspec.msgpack.decode(memory[begin + 2 : begin + 2 + size])
                leases.append(SharedLease(kind == RUNNING, job_id, token, address))
        return leases


class SharedLeases:
    """The worker's side. Used on its event loop only.

    Args:
        descriptor: From `open_shared_leases`, in this process; closed here.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, ENTRY_BYTES * ENTRIES)
        os.close(descriptor)
        self._free = list(range(ENTRIES - 1, -1, -1))

    def add(self, job_id: str, token: bytes, address: Any) -> int:
        """Note a delivery; returns its place, which may be `NOWHERE`."""
        body = _encode((job_id, token, address))
        if not self._free or len(body) > ENTRY_BYTES - 2:
            return NOWHERE
        place = self._free.pop()
        begin = place * ENTRY_BYTES
        self._memory[begin + 1 : begin + 2 + len(body)] = bytes([len(body)]) + body
        self._memory[begin] = CLAIMED  # last, so that an entry is whole or not there
        return place

    def mark(self, place: int, *, running: bool) -> None:
        """Note that its handler runs from now on, or does not any more."""
        if place != NOWHERE:
            self._memory[place * ENTRY_BYTES] = RUNNING if running else CLAIMED

    def remove(self, place: int) -> None:
        """Forget a delivery: the broker knows what became of it."""
        if place != NOWHERE:
            self._memory[place * ENTRY_BYTES] = FREE
            self._free.append(place)


_encode = msgspec.msgpack.Encoder().encode
