"""How a job has ended, as an answer to who has waited for it: one table.

502 and not 500 for a job that has failed: the door is a gateway, and the fault is behind it. So 500 is left for the door's own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from .. import App
from ..client.results import open_outcome
from ..errors import InvalidArguments
from ..model.codec import sniff
from ..model.delivery import Stored
from ..model.outcome import TIMED_OUT, Outcome
from ..model.reasons import DEADLINE_OVER
from ..model.retry import qualified_name
from ..model.states import JobState
from .problems import Problem

WAITED: Final = "its request has waited long enough"  # the worker may see the deadline first, or the door
_INVALID: Final = qualified_name(InvalidArguments)
_ENDS: Final = {
    JobState.FAILED: (502, "job-failed"),
    JobState.DEAD: (502, "job-dead"),
    JobState.CANCELLED: (409, "job-cancelled"),
    JobState.EXPIRED: (504, "job-expired"),
}


def answer_of(app: App, job_id: str, stored: Stored, headers: dict[str, str], *, with_traceback: bool) -> Response:
    """Return the result of a job that has ended as JSON.

    Raises:
        Problem: It has none.
    """
    outcome = open_outcome(stored)
    assert outcome is not None
    assert stored.outcome is not None
    if outcome.state is not JobState.SUCCEEDED:
        raise _problem_of(outcome, job_id, headers, with_traceback)
    form = sniff(stored.outcome)
    body = (
        bytes(outcome.value)
        if form == "json"
        else app.registry.codec.to_json("the result", app.registry.codec.decode_value(outcome.value, form))
    )
    return Response(body, headers=headers, media_type="application/json")


def _problem_of(outcome: Outcome, job_id: str, headers: dict[str, str], with_traceback: bool) -> Problem:
    status, kind = _kind_of(outcome)
    more: dict[str, Any] = {"job": job_id, "state": str(outcome.state)}
    detail = outcome.reason or str(outcome.state)
    if outcome.error is not None:
        detail = f"{outcome.error.type}: {outcome.error.text}" if outcome.error.text else outcome.error.type
        more["error"] = {"type": outcome.error.type, "message": outcome.error.text}
        if with_traceback and outcome.error.traceback:
            more["error"]["traceback"] = outcome.error.traceback
    return Problem(status, kind, detail, headers=headers, **more)


def _kind_of(outcome: Outcome) -> tuple[int, str]:
    if outcome.state is JobState.CANCELLED and outcome.reason in (DEADLINE_OVER, WAITED):
        return 504, "wait-over"
    if outcome.state is JobState.FAILED and outcome.reason == TIMED_OUT:
        return 504, "job-timed-out"
    if outcome.state is JobState.FAILED and outcome.error is not None and outcome.error.type == _INVALID:
        return 422, "invalid-arguments"
    return _ENDS[outcome.state]


def json_response(data: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with plain data."""
    return Response(msgspec.json.encode(data), status, headers=headers, media_type="application/json")
