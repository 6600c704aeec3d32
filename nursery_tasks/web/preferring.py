"""The header `Prefer` (RFC 7240): how long a client wants to wait."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from .problems import Problem

_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([^\s,;\"]*)", re.IGNORECASE)


def wait_seconds(request: Request, most: float) -> float | None:
    """Return how long the client wants to wait; None: not at all.

    Raises:
        Problem: It is no number of seconds, or more than *most*.
    """
    asked = _WAIT.search(",".join(request.headers.getlist("prefer")))
    if asked is None:
        return None
    try:
        seconds = float(asked[1])
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= most:
        raise Problem(400, "invalid-wait", f"Prefer: wait={asked[1][:20]}: expected 0 to {most:g} seconds", field="Prefer")
    return seconds
