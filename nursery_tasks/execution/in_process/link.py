"""The worker's end of the socket to a host."""

from __future__ import annotations

import socket
from typing import Final

from anyio import ClosedResourceError, wait_readable, wait_writable

from .frames import FrameBuffer, Header

RECEIVE_BYTES: Final = 256 * 1024


class Link:
    """Sends and receives frames. A host that is gone is no error here: nothing comes, and nothing arrives."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._frames = FrameBuffer()

    async def send(self, frame: bytes) -> None:
        """Send a frame.

        Cancellation:
            Half of it may have been sent; nothing can be sent after it.
        """
        rest = memoryview(frame)
        try:
            while rest:
                try:
                    rest = rest[self._sock.send(rest) :]
                except BlockingIOError:
                    await wait_writable(self._sock)
        except (OSError, ValueError, ClosedResourceError):  # ValueError: closed while it waited
            return

    def send_nowait(self, frame: bytes) -> None:
        """Send a small frame, or none when there is no room: the host reads nothing then."""
        try:
            self._sock.send(frame)
        except OSError:
            return

    async def receive(self) -> list[tuple[Header, bytes]] | None:
        """Wait for some frames; None: there will be no more.

        Raises:
            BrokenFrame: The other side is not what it should be.
        """
        while (frames := self.receive_nowait()) == []:
            try:
                await wait_readable(self._sock)
            except (OSError, ValueError, ClosedResourceError):
                return None
        return frames

    def receive_nowait(self) -> list[tuple[Header, bytes]] | None:
        """Return what has come; None: there will be no more."""
        try:
            piece = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._frames.feed(piece) if piece else None

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()
