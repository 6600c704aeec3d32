"""What a supervisor and a worker process say to each other, and the worker's end of it.

    supervisor -> worker    its standard input: the lines `drain` and `cancel`, and `lost` with what another worker held that is
                            dead; the end of it: the supervisor is gone
    worker -> supervisor    a pipe of its own: one JSON object per line, with the key `kind`: ready, recycling, ended

Signals would not do. They are counted by when they arrive, and a busy worker hears two as one; a line says how far to go,
however often and late it is read. The pipe closes when the supervisor dies, also by `kill -9`, and on every system.
"""

from __future__ import annotations

import base64
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from anyio import Event

from ..loop.threadsafe import RunSoon, loop_run_soon
from ..shared_leases import ENTRY_BYTES, SharedLease, SharedLeases

DRAIN: Final = "drain"
CANCEL: Final = "cancel"
LOST: Final = "lost"
# Deliveries in one line: one that is not longer than PIPE_BUF is written as a whole or, when the pipe is full, not at all, and
# then its deliveries wait for their leases. Half a line would take the next word with it, which may be `drain`.
LOST_MOST: Final = (select.PIPE_BUF * 3 // 4 - 10) // (ENTRY_BYTES + 1)  # 3 / 4: as base64
GONE: Final = ""
ORPHAN_SECONDS: Final = 1.5  # what a worker may take to give its jobs back when its supervisor is gone
ORPHAN_CODE: Final = 70  # EX_SOFTWARE of sysexits.h: nobody is left to read it
RECYCLE_CODE: Final = 75  # EX_TEMPFAIL: "replace me"


class Invitation(msgspec.Struct, frozen=True, array_like=True):
    """What a worker process is told on its command line.

    Attributes:
        reports_fd: Where it reports to.
        leases_fd: Where it notes the leases that it has.
        colour: Its lines are shown on a terminal.
    """

    group: str
    name: str
    reports_fd: int
    leases_fd: int
    colour: bool = False

    def write(self) -> str:
        """Return it as a word for a command line."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> Invitation:
        """Read what `write` gave."""
        return msgspec.json.decode(text, type=cls)


def write_lost(left: Sequence[SharedLease]) -> str:
    """Return what follows the word `lost`."""
    return base64.b64encode(msgspec.msgpack.encode(left)).decode()


def read_lost(text: str) -> list[SharedLease]:
    """Read what `write_lost` gave."""
    return msgspec.msgpack.decode(base64.b64decode(text), type=list[SharedLease])


class Membership:
    """A worker process's link to its supervisor.

    Args:
        invitation: From the command line. Its descriptor, and standard input, belong to this link from now on: nothing that
            the process starts gets them, or it would keep the supervisor waiting, and could take its commands away.
    """

    def __init__(self, invitation: Invitation) -> None:
        self.name, self.group, self.colour = invitation.name, invitation.group, invitation.colour
        self._reports = invitation.reports_fd
        os.set_inheritable(self._reports, False)
        self.shared_leases = SharedLeases(invitation.leases_fd)
        self._commands = os.dup(0)
        self._words: deque[str] = deque()  # the thread writes, the loop reads
        self._heard = Event()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)

    def report(self, kind: str, **data: object) -> None:
        """Tell the supervisor."""
        line = memoryview(msgspec.json.encode({"kind": kind, **data}) + b"\n")
        try:
            while line:
                line = line[os.write(self._reports, line) :]
        except OSError:  # it is gone, which the other pipe says, too
            return

    async def listen(self, commands: Mapping[str, Callable[..., object]], orphaned: Callable[[], object]) -> None:
        """Call commands when they come, until cancelled.

        A daemon thread reads them: it waits for the end of the supervisor, and must see it while a handler holds the loop.

        Args:
            commands: What each word means; it gets what follows the word, if something does.
            orphaned: Called when the supervisor is gone; what is not over within `ORPHAN_SECONDS` ends with the process.
        """
        run_soon = loop_run_soon()
        threading.Thread(target=self._read, args=(run_soon,), name="nursery-tasks supervisor link", daemon=True).start()
        while True:
            await self._heard.wait()
            self._heard = Event()
            while self._words:
                word, *more = self._words.popleft().split(" ", 1)
                if word == GONE:
                    orphaned()
                elif word in commands:
                    commands[word](*more)

    def _read(self, run_soon: RunSoon) -> None:
        with os.fdopen(self._commands, "rb") as lines:
            for line in lines:
                self._words.append(line.decode().strip())
                run_soon(self._wake)
        self._words.append(GONE)
        run_soon(self._wake)
        time.sleep(ORPHAN_SECONDS)
        try:
            os.write(2, b"error: the supervisor is gone, and this worker did not end in time: it leaves now\n")
        finally:
            os._exit(ORPHAN_CODE)

    def _wake(self) -> None:
        self._heard.set()
