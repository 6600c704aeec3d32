"""`/queues`: how full they are, pausing and purging them, and messages put in as other programs write them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.responses import Response

from ... import QueueInfo
from ...client.data import body_data, queue_data
from ...client.queues import PEEKED
from ...model.options import check_queue
from ...model.states import WAITING
from ..bodies import JSON, decode_json
from ..call import Call
from ..operations import Operation
from ..outcomes import json_response
from ..problems import Problem
from .given import Given
from .jobs import Nothing
from .tasks import id_of_key, run_owned, to_job

BYTES: Final = "application/octet-stream"
MOST_PEEKED: Final = 100


class States(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which jobs are deleted: those in one of these states."""

    states: tuple[str, ...] = tuple(sorted(WAITING))


class _Task(msgspec.Struct):
    """Which task a message names, if it is one."""

    task: str | None = None


async def list_queues(call: Call) -> Response:
    """Count the jobs of each queue."""
    return json_response({"queues": [queue_data(info) for info in await _infos(call) if call.caller.may_use(info.name)]})


async def show_queue(call: Call) -> Response:
    """Count the jobs of one queue."""
    name = await find_queue(call)
    found = next((info for info in await _infos(call) if info.name == name), QueueInfo(name=name))
    return json_response(queue_data(found))


async def pause_queue(call: Call) -> Response:
    """Let no worker take jobs from it."""
    await call.json(Nothing)
    name = await find_queue(call)
    await call.app.queues.pause(name)
    return json_response({"name": name, "paused": True})


async def resume_queue(call: Call) -> Response:
    """Undo that."""
    await call.json(Nothing)
    name = await find_queue(call)
    await call.app.queues.resume(name)
    return json_response({"name": name, "paused": False})


async def purge_queue(call: Call) -> Response:
    """Delete the jobs that wait in a queue, or those in other states that no worker holds."""
    given = await call.json(States)
    name = await find_queue(call)
    return json_response(msgspec.to_builtins(await call.app.queues.purge(name, states=given.states)) | {"name": name})


async def peek_queue(call: Call) -> Response:
    """Look at the messages that wait at a server, and leave them there."""
    limit = call.number("limit", PEEKED, MOST_PEEKED)
    name = await find_queue(call)
    found = await call.app.queues.peek(name, limit)
    return json_response(
        {"messages": [{**body_data(message.body), "id": message.id, "type": message.type} for message in found]}
    )


async def send(call: Call) -> Response:
    """Put a message into a queue as another program would; with `Prefer: wait` its raw task answers."""
    name, seconds = check_name(call), call.wait_seconds
    body = await call.raw(JSON, BYTES)
    await find_queue(call)
    if name not in call.app.registry.raw:
        _check_task(call, body)
    if seconds is not None:
        return await _ask(call, name, body, seconds)
    key = call.idempotency_key
    job_id = None if key is None else id_of_key(call, f"queue {name}", key)
    content_type = call.request.headers.get("content-type")
    sent = await call.app.queues.send(name, body, id=job_id, content_type=content_type)
    return json_response({"id": sent, "queue": name}, 202, {"Location": call.job_path(sent)})


async def _ask(call: Call, name: str, body: bytes, seconds: float) -> Response:
    spec = call.app.registry.raw.get(name)
    if spec is None:
        raise Problem(422, "nobody-answers", f"no raw task of this app takes what is put into {name!r}", field="Prefer")
    value: Any = body
    if spec.raw == "json":
        value = decode_json(body, object)
    elif spec.raw == "str":
        value = _text(body)
    return await run_owned(call, to_job(call, spec.name, Given(args=[value]), key=call.idempotency_key), seconds)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "no-text", str(error)) from None


def _check_task(call: Call, body: bytes) -> None:
    """Check the task that a message names, as `/tasks` does: no task here takes what names none."""
    if call.door.settings.any_task:
        return
    named = None
    with suppress(Problem):
        named = decode_json(body, _Task).task
    if named is None:
        detail = 'expected {"task": ...}: no raw task of this app takes what is put in here'
        raise Problem(422, "invalid-body", detail, field="task")
    call.app.registry.find(named)


def check_name(call: Call) -> str:
    """Return the queue of the path, if it is a name, and the caller may use it."""
    name = call.path("queue")
    try:
        check_queue("queue", name)
    except ValueError:
        raise _unknown(name) from None
    call.check_queue(name)
    return name


async def find_queue(call: Call) -> str:
    """Return the queue of the path.

    Raises:
        Problem: There is none, as far as this app and the broker know.
    """
    name, registry = check_name(call), call.app.registry
    declared = {spec.options.queue for spec in registry.tasks.values()} | registry.queues.keys()
    if name in declared or call.door.settings.any_task or any(info.name == name for info in await _infos(call)):
        return name
    raise _unknown(name)


async def _infos(call: Call) -> list[QueueInfo]:
    return await call.app.queues.list()


def _unknown(name: str) -> Problem:
    return Problem(404, "unknown-queue", f"no queue is named {name[:64]!r}")


_QUEUE: Final = "/queues/{queue}"
_QUERY: Final[tuple[tuple[str, Any], ...]] = (("limit", int),)

OPERATIONS: Final = (
    Operation("GET", "/queues", "read", "listQueues", "Count the jobs of each queue", list_queues),
    Operation("GET", _QUEUE, "read", "showQueue", "Count the jobs of one queue", show_queue),
    Operation(
        "POST",
        _QUEUE,
        "send",
        "send",
        "Put a message into a queue; with `Prefer: wait` its raw task answers",
        send,
        body=object,
        media_types=(BYTES,),
        answers=((200, "The answer"), (202, "It is stored")),
        waits=True,
    ),
    Operation("GET", f"{_QUEUE}/messages", "read", "peek", "Look at what waits at a server", peek_queue, query=_QUERY),
    Operation("POST", f"{_QUEUE}/pause", "pause", "pauseQueue", "Let no worker take jobs", pause_queue, body=Nothing),
    Operation("POST", f"{_QUEUE}/resume", "pause", "resumeQueue", "Let workers take jobs again", resume_queue, body=Nothing),
    Operation("POST", f"{_QUEUE}/purge", "purge", "purgeQueue", "Delete jobs that no worker holds", purge_queue, body=States),
)
