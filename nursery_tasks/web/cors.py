"""Pages of other sites that may call the door, which are those of the option `origins`, and what their browsers want (CORS)."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

SECONDS: Final = 600  # for which a browser need not ask again
_SENT: Final = "Authorization, Content-Type, Prefer, Idempotency-Key, Last-Event-ID"
_READ: Final = "Location, Retry-After, Idempotency-Replayed"


def headers_for(request: Request, origins: frozenset[str]) -> list[tuple[bytes, bytes]]:
    """Return the headers that let the page that asks read the answer; none, if it is not one of *origins*."""
    origin = request.headers.get("origin", "")
    if origin.lower() not in origins:
        return []
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _READ.encode()),
        (b"vary", b"Origin"),
    ]


def is_preflight(request: Request) -> bool:
    """Say whether a browser only asks whether it may ask."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def preflight() -> Response:
    """Say what may be asked."""
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
        "Access-Control-Allow-Headers": _SENT,
        "Access-Control-Max-Age": str(SECONDS),
    }
    return Response(status_code=204, headers=headers)
