"""Whether this program is alive, and whether it can take requests: for a supervisor or a proxy."""

from __future__ import annotations

from typing import Final

from anyio import fail_after
from starlette.responses import Response

from ..errors import AppNotOpen, BrokerError
from .call import Call
from .operations import Operation
from .outcomes import json_response
from .problems import Problem

READY_SECONDS: Final = 2.0  # for the broker to answer


async def healthz(call: Call) -> Response:
    """Say that the event loop turns."""
    return json_response({"status": "alive"})


async def readyz(call: Call) -> Response:
    """Say whether requests are taken, and the broker answers.

    Raises:
        Problem: The door drains, or the broker does not answer.
    """
    if call.door.draining.is_set():
        raise Problem(503, "draining", "the server stops")
    try:
        with fail_after(READY_SECONDS):
            await call.app.connection.gateway.outcomes(["readyz"])
    except (BrokerError, AppNotOpen, TimeoutError):
        raise Problem(503, "broker-unavailable", "the broker does not answer") from None  # no names: any client may ask
    return json_response({"status": "ready"})


OPERATIONS: Final = (
    Operation("GET", "/healthz", None, "alive", "Say that the program is alive", healthz),
    Operation("GET", "/readyz", None, "ready", "Say whether requests are taken and the broker answers", readyz),
)
