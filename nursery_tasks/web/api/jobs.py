"""`/jobs`: what was submitted, by any client; waiting for it, cancelling it, running it again."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from anyio import move_on_after
from starlette.responses import Response

from ... import JobInfo
from ...client.data import job_data
from ...client.jobs import LISTED
from ...client.results import open_outcome
from ...errors import InvalidOptions, UnknownJob
from ...model.delivery import CancelAnswer, Stored
from ..call import Call
from ..hanging_up import while_connected
from ..operations import Operation
from ..outcomes import answer_of, json_response
from ..problems import Problem

MOST: Final = 1_000  # jobs in one listing
CANCEL_SECONDS: Final = 5.0  # how long the request waits for a running job to end, unless it says so itself


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a job is cancelled."""

    reason: str | None = None


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty body."""


async def list_jobs(call: Call) -> Response:
    """List jobs in the order of their submission."""
    query = call.request.query_params
    queue = query.get("queue")
    if queue is not None:
        call.check_queue(queue)
    elif call.caller.queues is not None:
        raise Problem(403, "forbidden", "this token is for some queues only: name one, ?queue=", field="queue")
    limit, after = call.number("limit", LISTED, MOST), call.number("after", 0)
    found = await call.app.jobs.list(
        states=query.getlist("state"),
        queue=queue,
        task=query.get("task"),
        tag=query.get("tag"),
        parent=query.get("parent"),
        limit=limit,
        after=after,
        newest_first=query.get("newest", "false") == "true",
    )
    return json_response({"jobs": [job_data(info) for info in found], "after": found[-1].cursor if found else after})


async def show_job(call: Call) -> Response:
    """Show all about one job; with `Prefer: wait` when it has ended, or as it is after that time."""
    info = await find_job(call)
    if (seconds := call.wait_seconds) is not None and not info.state.ended:
        await _wait(call, info.id, seconds)
        info = await find_job(call)
    return json_response(job_data(info))


async def show_result(call: Call) -> Response:
    """Return a job's result, and nothing else; how it has ended, where it has none."""
    info, seconds = await find_job(call), call.wait_seconds
    if (stored := await _wait(call, info.id, seconds or 0.0)) is None:
        headers = {"Location": call.job_path(info.id), "Retry-After": "1"}
        return json_response({"id": info.id, "state": str((await find_job(call)).state)}, 202, headers)
    headers = {"Location": call.job_path(info.id)}
    return answer_of(call.app, info.id, stored, headers, with_traceback=True)


async def cancel_job(call: Call) -> Response:
    """Cancel a job, and wait until it is gone."""
    given, seconds = await call.json(Reason), call.wait_seconds
    info = await find_job(call)
    answer = await call.app.handle(info.id).cancel(given.reason, wait=CANCEL_SECONDS if seconds is None else seconds)
    if answer is CancelAnswer.UNKNOWN:
        raise UnknownJob(info.id)
    return json_response({"id": info.id, "answer": str(answer)}, 202 if answer is CancelAnswer.REQUESTED else 200)


async def retry_job(call: Call) -> Response:
    """Run a job again that has failed, died, expired or was cancelled."""
    await call.json(Nothing)
    info = await find_job(call)
    [answer] = (await call.app.jobs.retry([info.id])).values()
    if answer == "unknown":
        raise UnknownJob(info.id)
    if answer != "ready":
        raise Problem(409, "not-to-be-retried", f"the job cannot be run again: {answer}", job=info.id, answer=str(answer))
    return json_response({"id": info.id, "answer": str(answer)}, 202, {"Location": call.job_path(info.id)})


async def find_job(call: Call) -> JobInfo:
    """Return the job of the path.

    Raises:
        UnknownJob: There is none, or the caller may not know that there is.
    """
    job_id = call.path("id")
    try:
        info = await call.app.jobs.get(job_id)
    except InvalidOptions:
        raise UnknownJob(job_id[:200]) from None
    if info is None or not call.caller.may_use(info.queue):
        raise UnknownJob(job_id)
    return info


async def _wait(call: Call, job_id: str, seconds: float) -> Stored | None:
    """Wait until a job has ended; None: it has not, and goes on."""

    async def wait() -> Stored | None:
        with move_on_after(seconds):
            return await call.app.handle(job_id).wait_stored(None)
        return None

    [now] = await call.app.connection.gateway.outcomes([job_id])
    if now is not None and open_outcome(now) is not None:
        return now
    return await while_connected(call.request, wait) if seconds else None


_ID: Final = "/jobs/{id:path}"  # which programs may have made with slashes
_FILTERS: Final[tuple[tuple[str, Any], ...]] = (
    *((name, str) for name in ("state", "queue", "task", "tag", "parent")),
    ("limit", int),
    ("after", int),
    ("newest", bool),
)

OPERATIONS: Final = (
    Operation("GET", "/jobs", "read", "listJobs", "List jobs", list_jobs, query=_FILTERS),
    Operation("GET", _ID, "read", "showJob", "Show all about one job", show_job, waits=True),
    Operation(
        "GET",
        f"{_ID}/result",
        "read",
        "showResult",
        "Return a job's result",
        show_result,
        answers=((200, "The result"), (202, "It has not ended")),
        waits=True,
    ),
    Operation(
        "POST",
        f"{_ID}/cancel",
        "cancel",
        "cancelJob",
        "Cancel a job",
        cancel_job,
        body=Reason,
        answers=((200, "It is gone"), (202, "It is told to end, and has not yet")),
        waits=True,
    ),
    Operation(
        "POST",
        f"{_ID}/retry",
        "retry",
        "retryJob",
        "Run a job again",
        retry_job,
        body=Nothing,
        answers=((202, "It waits for a worker"),),
    ),
)
