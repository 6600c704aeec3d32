"""Answers that are made while they are sent; each piece has the time that the server gives to a client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .hanging_up import while_connected

SendPiece = Callable[[bytes], Awaitable[None]]


class Stream(Response):
    """An answer in pieces. It ends when what makes it has ended, or the client goes away.

    Args:
        make: Makes it, given what sends a piece.
    """

    def __init__(self, make: Callable[[SendPiece], Awaitable[None]], media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":  # what is made may have no end
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_piece(piece: bytes) -> None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

        await while_connected(Request(scope, receive), lambda: self._make(send_piece))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
