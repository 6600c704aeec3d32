"""Hypercorn's HTTP/1.1 protocol, and nothing else of what hypercorn speaks.

Hypercorn 0.18 changes to HTTP/2 when a client asks for it in clear text (`Upgrade: h2c`) or just begins to speak it (`PRI *`),
and there is no switch. Behind a proxy that is a way past the proxy's rules. Here an upgrade is ignored, which RFC 9110 allows,
and another version of HTTP is refused.
"""

from __future__ import annotations

from typing import Any, Final

import h11
from hypercorn.protocol.h11 import H11Protocol

VERSIONS: Final = (b"1.0", b"1.1")
BAD_REQUEST: Final = 400
NOT_SUPPORTED: Final = 505


class Refused(Exception):
    """The client speaks another version of HTTP, or says two things; it has been told."""


class Pipelined(Exception):
    """The client has sent its next request before it has the answer to this one."""


class _NeverWait:
    """Stands for the event that hypercorn waits for when a client sends its next request too early.

    The one that would wait is the one that reads, and it would not see any more that the client goes away.
    """

    async def clear(self) -> None: ...

    async def set(self) -> None: ...

    async def wait(self) -> None:
        raise Pipelined

    def is_set(self) -> bool:
        return False


class OnlyHttp11(H11Protocol):
    """HTTP/1.1, whatever the client would rather speak."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.can_read = _NeverWait()

    async def go_on(self) -> None:
        """Look again at what was received, once the answer to what came first is sent."""
        await self._handle_events()

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.http_version not in VERSIONS:
            await self._refuse(NOT_SUPPORTED)
        lengths = {name for name, _ in event.headers if name in (b"content-length", b"transfer-encoding")}
        if len(lengths) > 1:  # a proxy in front may have believed the other one, and see another request begin
            await self._refuse(BAD_REQUEST)

    async def _refuse(self, status: int) -> None:
        await self._send_error_response(status)
        raise Refused

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers if name.lower() != b"upgrade"]
        plain = h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)
        await super()._create_stream(plain)
