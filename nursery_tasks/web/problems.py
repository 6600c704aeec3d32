"""What goes wrong, as `application/problem+json` (RFC 9457), in one table: which error is which status.

400 to 499 are for the caller, 501 and 503 for the operator, and 500 is a fault of this package. What became of a job that was
awaited is in `outcomes.py`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .. import errors

TYPE: Final = "urn:nursery-tasks:"
MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1  # until a full queue, or a broker that is away, is worth another try

# error -> (status, problem), the nearest class of an error's own counts
STATUSES: Final[Mapping[type[BaseException], tuple[int, str]]] = {
    errors.UnknownTask: (404, "unknown-task"),
    errors.UnknownJob: (404, "unknown-job"),
    errors.UnknownSchedule: (404, "unknown-schedule"),
    errors.CursorLost: (410, "cursor-lost"),
    errors.InvalidArguments: (422, "invalid-arguments"),
    errors.InvalidOptions: (422, "invalid-options"),
    errors.NotSerializable: (422, "invalid-arguments"),
    errors.PayloadTooLarge: (413, "too-large"),
    errors.QueueFull: (429, "queue-full"),
    errors.JobStillRunning: (504, "job-still-running"),
    errors.WaitTimedOut: (504, "wait-over"),
    errors.NoWorkers: (503, "no-workers"),
    errors.NotSupported: (501, "not-supported"),
    errors.BrokerRefused: (409, "refused"),
    errors.BrokerError: (503, "broker-unavailable"),
    errors.AppNotOpen: (503, "not-open"),
}
_TITLES: Final = {"not-found": "There is nothing at this path", "method-not-allowed": "This path has other methods"}
_AGAIN: Final = (429, 503)
_AWAY: Final = "broker-unavailable"
_QUOTED: Final = re.compile(r"'(\w+)'")

_log = logging.getLogger("nursery_tasks.http")


class Problem(Exception):
    """What a request is answered with, when it is no result.

    Args:
        kind: The end of its `type`.
        more: Further members.
    """

    def __init__(self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.more = status, kind, detail, more
        self.headers = dict(headers or {})
        if status in _AGAIN:
            self.headers.setdefault("Retry-After", str(RETRY_SECONDS))

    @property
    def body(self) -> dict[str, Any]:
        """Its members."""
        title = _TITLES.get(self.kind, self.kind.replace("-", " ").capitalize())
        return {"type": TYPE + self.kind, "title": title, "status": self.status, "detail": self.detail, **self.more}

    def to_response(self) -> Response:
        """Make the answer."""
        return Response(msgspec.json.encode(self.body), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem | None:
    """Say what an error of ours is to the caller; None: it is none of ours, and a fault."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
        return Problem(error.status_code, kind, str(error.detail), headers=error.headers)
    for cls in type(error).__mro__:
        if cls in STATUSES:
            status, kind = STATUSES[cls]
            return Problem(status, kind, _detail(error, kind), **_fields(error))
    return None


def _detail(error: Exception, kind: str) -> str:
    """Say what is wrong, without the broker's address: that is for the log."""
    if kind == _AWAY:
        _log.warning("%s", error)
        return "the broker does not answer, or has no room; the log of the server has more"
    broker = getattr(error, "broker", None)
    return str(error).replace(broker, "the broker") if isinstance(broker, str) and broker else str(error)


def _fields(error: Exception) -> dict[str, Any]:
    """Name the member of the request that is wrong, where the error knows it."""
    if isinstance(error, errors.InvalidOptions):
        return {"field": error.option}
    if isinstance(error, errors.InvalidArguments):
        named = _QUOTED.search(error.problem)
        return {} if named is None else {"field": named[1]}
    return {}
