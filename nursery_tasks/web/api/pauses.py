"""`/pauses`: tasks whose jobs wait, all of them or those with one value of an argument."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from ...client.data import pause_data
from ...model.pauses import PauseRecord
from ..call import Call
from ..operations import Operation
from ..outcomes import json_response


class Paused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is paused, by the values that arguments have, and why."""

    task: str
    where: dict[str, Any] | None = None
    note: str = ""


class Resumed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The task, and the arguments, that were paused."""

    task: str
    where: dict[str, Any] | None = None


async def list_pauses(call: Call) -> Response:
    """List what is paused."""
    return json_response({"pauses": [pause_data(pause) for pause in await call.app.pauses.list() if _may_see(call, pause)]})


async def pause_task(call: Call) -> Response:
    """Let no job of a task start, or none with these arguments."""
    given = await call.json(Paused)
    _check_task(call, given.task)
    return json_response(
        pause_data(await call.app.pauses.pause(given.task, where=given.where, note=given.note, by=call.caller.name))
    )


async def resume_task(call: Call) -> Response:
    """Undo that; `was_paused` says whether there was anything to undo."""
    given = await call.json(Resumed)
    _check_task(call, given.task)
    was_paused = await call.app.pauses.resume(given.task, where=given.where)
    return json_response({"task": given.task, "was_paused": was_paused})


def _may_see(call: Call, pause: PauseRecord) -> bool:
    """Say whether the caller may see the task's queue; of a task that this app does not have, who may see all queues."""
    spec = call.app.registry.tasks.get(pause.task)
    return call.caller.queues is None if spec is None else call.caller.may_use(spec.options.queue)


def _check_task(call: Call, task: str) -> None:
    """Check that the app has the task, unless the door lets any through, and that the caller may use its queue.

    Raises:
        UnknownTask: It has none of that name.
        Problem: The caller may not use its queue.
    """
    spec = call.app.registry.tasks.get(task)
    if spec is not None:
        call.check_queue(spec.options.queue)
    elif not call.door.settings.any_task or call.caller.queues is not None:
        call.app.registry.find(task)


OPERATIONS: Final = (
    Operation("GET", "/pauses", "read", "listPauses", "List what is paused of tasks", list_pauses),
    Operation("POST", "/pauses", "pause", "pauseTask", "Let no job of a task start", pause_task, body=Paused),
    Operation("POST", "/pauses/resume", "pause", "resumeTask", "Let them start again", resume_task, body=Resumed),
)
