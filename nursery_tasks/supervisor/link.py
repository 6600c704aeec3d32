"""What a supervisor and a worker process say to each other, and the worker's end of it.

    supervisor -> worker    its standard input: the lines `drain` and `cancel`; the end of it: the supervisor is gone
    worker -> supervisor    a pipe of its own: one JSON object per line, with the key `kind`: ready, recycling, ended

Signals would not do. They are counted by when they arrive, and a busy worker hears two as one; a line says how far to go,
however often and late it is read. The pipe closes when the supervisor dies, also by `kill -9`, and on every system.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from anyio import Event

from ..brokers.posting import Post, loop_poster

DRAIN: Final = "drain"
CANCEL: Final = "cancel"
GONE: Final = ""
ORPHAN_SECONDS: Final = 1.5  # what a worker may take to give its jobs back when its supervisor is gone
ORPHAN_CODE: Final = 70  # EX_SOFTWARE of sysexits.h: nobody is left to read it
RECYCLE_CODE: Final = 75  # EX_TEMPFAIL: "replace me"


class Invitation(msgspec.Struct, frozen=True, array_like=True):
    """What a worker process is told on its command line.

    Attributes:
        reports_fd: Where it reports to.
        colour: Its lines are shown on a terminal.
    """

    group: str
    name: str
    reports_fd: int
    colour: bool = False

    def write(self) -> str:
        """Return it as a word for a command line."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> Invitation:
        """Read what `write` gave."""
        return msgspec.json.decode(text, type=cls)


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

    async def listen(self, commands: Mapping[str, Callable[[], object]], orphaned: Callable[[], object]) -> None:
        """Call commands when they come, until cancelled.

        A daemon thread reads them: it waits for the end of the supervisor, and must see it while a handler holds the loop.

        Args:
            orphaned: Called when the supervisor is gone; what is not over within `ORPHAN_SECONDS` ends with the process.
        """
        post = loop_poster()
        threading.Thread(target=self._read, args=(post,), name="nursery-tasks supervisor link", daemon=True).start()
        while True:
            await self._heard.wait()
            self._heard = Event()
            while self._words:
                word = self._words.popleft()
                if word == GONE:
                    orphaned()
                elif word in commands:
                    commands[word]()

    def _read(self, post: Post) -> None:
        with os.fdopen(self._commands, "rb") as lines:
            for line in lines:
                self._words.append(line.decode().strip())
                post(self._wake)
        self._words.append(GONE)
        post(self._wake)
        time.sleep(ORPHAN_SECONDS)
        try:
            os.write(2, b"error: the supervisor is gone, and this worker did not end in time: it leaves now\n")
        finally:
            os._exit(ORPHAN_CODE)

    def _wake(self) -> None:
        self._heard.set()
