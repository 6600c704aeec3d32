"""`/tasks`: what can be submitted, and submitting it.

With `Prefer: wait=5` a job is owned by its request: the answer is its result, a client that goes away cancels it with all that
it has started, and after five seconds it is cancelled, too.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from anyio import CancelScope, current_time
from starlette.responses import Response

from ... import Job
from ...errors import InvalidOptions, QueueFull, UnknownTask
from ...model.delivery import Stored
from ..call import Call
from ..hanging_up import while_connected
from ..operations import Operation
from ..outcomes import WAITED, answer_of, json_response
from ..problems import Problem
from .given import Given, to_options

HUNG_UP: Final = "the client went away"
STOPS: Final = "the HTTP server stops"
LONGEST_KEY: Final = 200


async def list_tasks(call: Call) -> Response:
    """List the tasks of this app."""
    return json_response({"tasks": [_task_data(call, name) for name in call.app.registry.tasks]})


async def show_task(call: Call) -> Response:
    """Show one task."""
    call.app.registry.find(call.path("name"))
    return json_response(_task_data(call, call.path("name")))


async def submit(call: Call) -> Response:
    """Submit a job, and return its id, or wait for its result."""
    name, given, seconds = call.path("name"), await call.json(Given), call.wait_seconds
    job = to_job(call, name, given, key=call.idempotency_key)
    if seconds is not None:
        return await run_owned(call, job, seconds)
    return await enqueue(call, job)


def to_job(call: Call, name: str, given: Given, *, key: str | None) -> Job[Any]:
    """Make the job that was asked for, with its id.

    Args:
        key: What the caller calls it by, see `id_of_key`; None: nothing.

    Raises:
        UnknownTask: This app has no such task, and the door does not take others.
        InvalidArguments: They do not fit; they are converted as the worker will do it.
        InvalidOptions: An option makes no sense.
        Problem: The caller may not use the queue.
    """
    spec = call.app.registry.tasks.get(name)
    if spec is None and not call.door.settings.any_task:
        raise UnknownTask(name, call.app.registry.tasks)
    if given.task not in (None, name):
        raise Problem(422, "invalid-body", f"the body names the task {given.task!r}", field="task")
    job = call.app.job(name, *given.args, **given.kwargs)
    if spec is not None:
        spec.signature.convert(list(given.args), dict(given.kwargs), call.app.registry.codec)
    options = to_options(given.options)
    _check_id(options.get("id", ""))
    if key is not None:
        if "id" in options or not 0 < len(key) <= LONGEST_KEY:
            raise Problem(
                422, "invalid-options", f"1 to {LONGEST_KEY} characters, and no option id beside it", field="Idempotency-Key"
            )
        options["id"] = id_of_key(call, name, key)
    options.setdefault("id", call.app.connection.submitter.encoder.new_id())
    job = job.with_options(**options)
    call.check_queue(job.options.queue)
    return job


def _check_id(job_id: str) -> None:
    """Check that a job can be asked for at `/jobs/ID`: a proxy may undo the quoting of a slash, and clients shorten dots.

    Raises:
        InvalidOptions: It cannot.
    """
    if "/" in job_id or job_id in (".", ".."):
        raise InvalidOptions("id", job_id, "an id without a slash, and not . or ..: it becomes a part of a path")


def id_of_key(call: Call, name: str, key: str) -> str:
    """Return the id of the job that this caller calls by that key: the same request again is the same job, ended or not."""
    told = msgspec.json.encode([call.caller.id, name, key])
    return f"idem-{hashlib.sha256(told).hexdigest()[:32]}"


async def enqueue(call: Call, job: Job[Any]) -> Response:
    """Submit a job, and let it go."""
    try:
        handle = await job.enqueue_nowait()
    except QueueFull as full:
        raise Problem(429, "queue-full", f"queue {full.queue!r} has {full.max_length:,} jobs, as many as it may") from None
    headers = {"Location": call.job_path(handle.id)} | ({} if handle.created else {"Idempotency-Replayed": "true"})
    return json_response(
        {"id": handle.id, "task": job.task, "queue": job.options.queue, "created": handle.created}, 202, headers
    )


async def run_owned(call: Call, job: Job[Any], seconds: float) -> Response:
    """Submit a job that ends with its request, and return its result."""
    job_id, clock = str(job.options.job_id), CancelScope()

    def reason() -> str:
        if clock.cancel_called:
            return WAITED
        return STOPS if call.door.draining.is_set() else HUNG_UP

    async def run() -> tuple[str, Stored] | None:
        connection = call.app.connection
        clock.deadline = current_time() + seconds
        with clock:
            receipt, stored = await connection.owned.run(job, None, reason)
            if stored is None:  # an equal one was there already: this request waits for it, and does not own it
                if call.idempotency_key is None or receipt.id != job_id:  # that id is of this caller's own request
                    call.check_may("read")
                await _check_may_see(call, receipt.id)
                stored = await call.app.handle(receipt.id).wait_stored(None)
            return receipt.id, stored
        return None

    ended = await while_connected(call.request, run)
    if ended is None:
        headers = {"Location": call.job_path(job_id)}
        raise Problem(
            504, "wait-over", f"the job had not ended after {seconds:g} s, and is cancelled", headers=headers, job=job_id
        )
    headers = {"Location": call.job_path(ended[0])}
    return answer_of(call.app, ended[0], ended[1], headers, with_traceback=call.caller.may("read"))


async def _check_may_see(call: Call, job_id: str) -> None:
    """Check that the caller may use the queue of a job that was there already: an id or a key may be that of anybody's job.

    Raises:
        Problem: It may not.
    """
    if call.caller.queues is None:
        return
    info = await call.app.jobs.get(job_id)
    if info is None or not call.caller.may_use(info.queue):
        raise Problem(403, "forbidden", f"{call.caller.name} may not see the job that has this id or key already")


def _task_data(call: Call, name: str) -> dict[str, Any]:
    spec = call.app.registry.find(name)
    return {
        "name": spec.name,
        "kind": spec.kind,
        "queue": spec.options.queue,
        "signature": f"{spec.name}{spec.signature}",
        "doc": spec.doc,
        "workflow": spec.workflow,
        "durable": spec.durable,
    }


OPERATIONS: Final = (
    Operation("GET", "/tasks", "read", "listTasks", "List the tasks of this app", list_tasks),
    Operation("GET", "/tasks/{name:path}", "read", "showTask", "Show one task", show_task),
    Operation(
        "POST",
        "/tasks/{name:path}",
        "submit",
        "submit",
        "Submit a job; with `Prefer: wait` it is owned by the request",
        submit,
        body=Given,
        answers=((200, "The result"), (202, "The job is stored")),
        waits=True,
    ),
)
