"""`/bulk`: many jobs in one request, a line each, and a line each in the answer, whatever became of the others."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from ... import Job, JobHandle
from ..bodies import decode_json
from ..call import Call
from ..operations import Operation
from ..problems import Problem, problem_of
from ..streams import SendPiece, Stream
from .given import Given
from .tasks import to_job

NDJSON: Final = "application/x-ndjson"
BODY_BYTES: Final = 16 * 1024 * 1024
MOST_LINES: Final = 10_000
CHUNK: Final = 500  # lines that are submitted in one call to the broker


class Line(Given, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One job; *task* is needed here, and *idempotency_key* does what the header does for one."""

    idempotency_key: str | None = None


async def submit_many(call: Call) -> Response:
    """Submit the job of each line."""
    body = await call.raw(NDJSON, limit_bytes=BODY_BYTES)
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > MOST_LINES:
        raise Problem(413, "too-large", f"more than {MOST_LINES:,} lines")

    async def make(send: SendPiece) -> None:
        for begin in range(0, len(lines), CHUNK):
            answers = await _submit(call, [_read(call, line) for line in lines[begin : begin + CHUNK]])
            await send(b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers))

    return Stream(make, NDJSON)


def _read(call: Call, line: bytes) -> Job[Any] | Problem:
    try:
        if len(line) > call.app.max_payload_bytes:
            raise Problem(413, "too-large", f"more than {call.app.max_payload_bytes:,} bytes in one line")
        given = decode_json(line, Line)
        if given.task is None:
            raise Problem(422, "invalid-body", "expected a task in each line", field="task")
        return to_job(call, given.task, given, key=given.idempotency_key)
    except Exception as error:
        return _told(error)


async def _submit(call: Call, read: list[Job[Any] | Problem]) -> list[dict[str, Any]]:
    """Submit what can be; those for queues with a length one by one, since they must not wait for room."""
    jobs = [each for each in read if isinstance(each, Job)]
    together = [job for job in jobs if not _is_bounded(call, job)]
    became: dict[int, JobHandle[Any] | Problem] = {}
    try:
        handles = await call.app.enqueue_many(together)
        became.update((id(job), handle) for job, handle in zip(together, handles, strict=True))
    except Exception as error:
        told = _told(error)
        became.update((id(job), told) for job in together)
    for job in jobs:
        if id(job) not in became:
            try:
                became[id(job)] = await job.enqueue_nowait()
            except Exception as error:
                became[id(job)] = _told(error)
    return [_line(became[id(each)] if isinstance(each, Job) else each) for each in read]


def _is_bounded(call: Call, job: Job[Any]) -> bool:
    queue = call.app.registry.queues.get(job.options.queue)
    return queue is not None and queue.max_length is not None


def _line(answer: JobHandle[Any] | Problem) -> dict[str, Any]:
    if isinstance(answer, Problem):
        return answer.body
    return {"status": 202, "id": answer.id, "task": answer.task, "created": answer.created}


def _told(error: Exception) -> Problem:
    problem = problem_of(error)
    if problem is None:
        raise error
    return problem


OPERATIONS: Final = (
    Operation(
        "POST",
        "/bulk",
        "submit",
        "submitMany",
        "Submit a job for each line, and answer with a line for each",
        submit_many,
        media_types=(NDJSON,),
        answers=((200, "A line for each line: an id, or a problem"),),
        answer_types=(NDJSON,),
    ),
)
