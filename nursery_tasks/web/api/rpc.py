"""`/rpc`: JSON-RPC 2.0, with the methods that pulsar-queue had; a method that is not there is an error, and not silence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec
from starlette.responses import Response

from ...model.states import JobState, status_elsewhere
from ..bodies import JSON, decode_json
from ..call import Call
from ..operations import Operation
from ..outcomes import json_response
from ..problems import Problem, problem_of
from .given import Given
from .tasks import to_job

PARSE, INVALID, UNKNOWN, PARAMETERS, FAILED = -32700, -32600, -32601, -32602, -32000
MOST: Final = 100  # calls in one batch


class Request(msgspec.Struct, frozen=True):
    """One call. Without an id the client waits for no answer."""

    jsonrpc: str
    method: str
    params: dict[str, Any] | list[Any] = {}
    id: str | int | float | msgspec.UnsetType | None = msgspec.UNSET


class Failed(Exception):
    """A call that has an error for its answer."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: dict[str, Any] = {"code": code, "message": message} | ({} if data is None else {"data": data})


async def answer(call: Call) -> Response:
    """Answer one call, or a list of them."""
    body = await call.raw(JSON)
    try:
        given: Any = decode_json(body, object)
    except Problem as problem:
        return json_response(_failed(None, Failed(PARSE, "Parse error", problem.body)))
    many = given  # which stays untyped
    if not isinstance(given, list):
        told = await _answer(call, given)
        return Response(status_code=204) if told is None else json_response(told)
    calls: list[Any] = many
    if not 0 < len(calls) <= MOST:
        return json_response(_failed(None, Failed(INVALID, f"Invalid Request: expected 1 to {MOST} calls")))
    answers = [each for each in [await _answer(call, one) for one in calls] if each is not None]
    return json_response(answers) if answers else Response(status_code=204)


async def _answer(call: Call, given: Any) -> dict[str, Any] | None:
    """Answer one call; None: the client waits for no answer."""
    try:
        request = msgspec.convert(given, Request)
        if request.jsonrpc != "2.0":
            raise msgspec.ValidationError("expected jsonrpc: 2.0")
    except msgspec.ValidationError as error:
        found = cast("dict[str, Any]", given).get("id") if isinstance(given, dict) else None
        return _failed(found if isinstance(found, str | int | float) else None, Failed(INVALID, f"Invalid Request: {error}"))
    try:
        result = await _call(call, request)
    except Failed as failed:
        return None if request.id is msgspec.UNSET else _failed(request.id, failed)
    return None if request.id is msgspec.UNSET else {"jsonrpc": "2.0", "result": result, "id": request.id}


async def _call(call: Call, request: Request) -> Any:
    known = METHODS.get(request.method)
    if known is None:
        raise Failed(UNKNOWN, f"Method not found: {request.method[:100]!r}", {"methods": sorted(METHODS)})
    verb, method = known
    args, kwargs = ([], request.params) if isinstance(request.params, dict) else (request.params, {})
    try:
        call.check_may(verb)
        return await method(call, *args, **kwargs)
    except TypeError as error:
        raise Failed(PARAMETERS, f"Invalid params: {error}") from None
    except Exception as error:
        problem = problem_of(error)
        if problem is None:
            raise
        raise Failed(PARAMETERS if problem.status == 422 else FAILED, problem.detail, problem.body) from None


def _failed(call_id: object, failed: Failed) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": failed.error, "id": call_id}


async def job_list(call: Call, jobnames: Any = None) -> list[Any]:
    """List the tasks, each with its name and what is known of it."""
    names = list(call.app.registry.tasks) if jobnames is None else _names(jobnames)
    specs = [call.app.registry.find(name) for name in names]
    return [[spec.name, {"doc": spec.doc, "type": spec.kind, "queue": spec.options.queue}] for spec in specs]


async def queue(call: Call, jobname: Any, /, **kwargs: Any) -> dict[str, Any]:
    """Submit a job, with its arguments by name."""
    if not isinstance(jobname, str):
        raise TypeError("expected the name of a task first")
    job = to_job(call, jobname, Given(kwargs=kwargs), key=None)
    handle = await job.enqueue_nowait()
    status = status_elsewhere(JobState.READY)
    return {"id": handle.id, "name": jobname, "status": status.number, "status_string": status.pulsar, "kwargs": kwargs}


async def queue_by_name(call: Call, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Do the same, where the task's name is among what is given by name."""
    if not args:
        args = (kwargs.pop("jobname", kwargs.pop("name", None)),)
    return await queue(call, *args, **kwargs)


async def next_scheduled_tasks(call: Call, jobnames: Any = None) -> list[Any]:
    """Return which task runs next by its schedule, and in how many seconds; None, None: none."""
    names = None if jobnames is None else _names(jobnames)
    due = [
        (info.next_run, info.task)
        for info in await call.app.schedules.list()
        if info.next_run is not None and (names is None or info.task in names) and call.caller.may_use(info.queue)
    ]
    if not due:
        return [None, None]
    moment, task = min(due)
    return [task, max(0.0, (moment - datetime.now(UTC)).total_seconds())]


def _names(given: Any) -> list[str]:
    many = given  # which stays untyped
    names: list[Any] = many if isinstance(given, list) else [given]
    if not all(isinstance(name, str) for name in names):
        raise TypeError("expected names of tasks")
    return names


Method = Callable[..., Awaitable[Any]]
METHODS: Final[dict[str, tuple[str, Method]]] = {
    "tasks.job_list": ("read", job_list),
    "tasks.queue": ("submit", queue_by_name),
    "tasks.queue_task": ("submit", queue_by_name),
    "tasks.next_scheduled_tasks": ("read", next_scheduled_tasks),
}

_ANSWERS: Final = ((200, "The answer"), (204, "The client waits for none"))
OPERATIONS: Final = (Operation("POST", "/rpc", None, "rpc", "Answer JSON-RPC 2.0", answer, body=object, answers=_ANSWERS),)
