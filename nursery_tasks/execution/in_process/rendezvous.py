"""Where a new process finds its worker: a socket in a folder of its own, for as long as it takes to connect."""

from __future__ import annotations

import array
import hmac
import os
import secrets
import shutil
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from anyio import move_on_after, wait_readable

HELLO_SECONDS: Final = 5.0  # for a connection to say who it is
MAX_ADDRESS: Final = 100  # bytes; the system's limit is 104 or 108
DESCRIPTORS: Final = 3


@dataclass(frozen=True, slots=True)
class Connected:
    """What a new guard has sent.

    Attributes:
        control: To the guard.
        link: To the host.
        out, err: The ends of the pipes on the host's fd 1 and 2 from which to read.
    """

    control: socket.socket
    link: socket.socket
    out: int
    err: int
    guard_pid: int
    host_pid: int


class Rendezvous:
    """A listening socket that only this user can reach, and only who knows the secret can use.

    Resources: gone, with its folder, when the context ends.
    """

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(32)
        prefix = f"nursery-host-{os.getpid()}-"
        self._folder = tempfile.mkdtemp(prefix=prefix)  # mode 0700
        if len(os.fsencode(self._folder)) > MAX_ADDRESS - 2:
            os.rmdir(self._folder)
            self._folder = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
        self.address = os.path.join(self._folder, "s")
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.setblocking(False)

    def __enter__(self) -> Rendezvous:
        self._listening.bind(self.address)
        self._listening.listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def accept(self) -> Connected:
        """Wait for the one that knows the secret."""
        while True:
            await wait_readable(self._listening)
            with suppress(BlockingIOError):
                connection, _ = self._listening.accept()
                connected = await self._identify(connection)
                if connected is not None:
                    return connected

    async def _identify(self, connection: socket.socket) -> Connected | None:
        connection.setblocking(False)
        descriptors: list[int] = []
        try:
            with move_on_after(HELLO_SECONDS):
                await wait_readable(connection)
                said, descriptors = _receive(connection)
                secret, pids = said[: len(self.secret)], said[len(self.secret) :].split()
                if hmac.compare_digest(secret, self.secret) and len(descriptors) == DESCRIPTORS and len(pids) == 2:
                    link, out, err = descriptors
                    connected = Connected(connection, socket.socket(fileno=link), out, err, int(pids[0]), int(pids[1]))
                    descriptors = []
                    return connected
        except (OSError, ValueError):
            pass
        for descriptor in descriptors:
            os.close(descriptor)
        connection.close()
        return None


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    size = DESCRIPTORS * array.array("i").itemsize
    said, ancillary, _, _ = connection.recvmsg(256, socket.CMSG_SPACE(size), getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    found = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    for descriptor in found:
        os.set_inheritable(descriptor, False)
        os.set_blocking(descriptor, False)
    return said, list(found)
