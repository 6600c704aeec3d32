"""`/schedules`: what is run again and again."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from starlette.responses import Response

from ... import ScheduleInfo, at, cron, every, sun
from ...client.data import schedule_data
from ...errors import InvalidOptions, UnknownSchedule
from ..call import Call
from ..operations import Operation
from ..outcomes import json_response
from ..problems import Problem
from .given import Given, Moment, Seconds, to_options
from .jobs import Nothing


class Cron(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="cron"):
    """At times on the wall."""

    expression: str
    tz: str = "UTC"


class Every(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="every"):
    """At equal distances."""

    seconds: Annotated[float, msgspec.Meta(gt=0)]


class At(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="at"):
    """Once."""

    moment: Moment


class Sun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="sun"):
    """By the sun."""

    event: Literal["sunrise", "noon", "sunset", "dawn", "dusk"]
    latitude: float
    longitude: float


class GivenSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A schedule: what it runs, when, and what it does about runs that overlap or were missed."""

    job: Given
    when: Cron | Every | At | Sun
    jitter: Seconds = 0
    start: Moment | None = None
    end: Moment | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    overlap: str = "allow"
    catch_up: str | float = "one"
    pause_on_failure: bool = False


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a schedule is paused."""

    note: str = ""


async def list_schedules(call: Call) -> Response:
    """List all schedules."""
    found = await call.app.schedules.list()
    return json_response({"schedules": [schedule_data(info) for info in found if call.caller.may_use(info.queue)]})


async def show_schedule(call: Call) -> Response:
    """Show one schedule, and when its next runs are due."""
    info, count = await _find(call), call.number("next", 5, 100)
    due = await call.app.schedules.next(info.name, count) if count and info.next_run is not None else []
    return json_response(schedule_data(info) | {"next_runs": [moment.isoformat() for moment in due]})


async def put_schedule(call: Call) -> Response:
    """Store a schedule, or change one."""
    given = await call.json(GivenSchedule)
    if given.job.task is None:
        raise Problem(422, "invalid-body", "expected a task", field="job.task")
    if given.job.task not in call.app.registry.tasks and not call.door.settings.any_task:
        call.app.registry.find(given.job.task)
    job = call.app.job(given.job.task, *given.job.args, **given.job.kwargs).with_options(**to_options(given.job.options))
    call.check_queue(job.options.queue)
    name = call.path("name")
    if (known := await call.app.schedules.get(name)) is not None:
        call.check_queue(known.queue)
    info = await call.app.schedules.put(
        name,
        job,
        _spec(given.when),
        jitter=given.jitter,
        start=given.start,
        end=given.end,
        limit=given.limit,
        overlap=given.overlap,
        catch_up=given.catch_up,
        pause_on_failure=given.pause_on_failure,
    )
    return json_response(schedule_data(info), 201 if known is None else 200)


async def pause_schedule(call: Call) -> Response:
    """Make no runs until it is resumed."""
    given, info = await call.json(Note), await _find(call)
    return json_response(schedule_data(await call.app.schedules.pause(info.name, given.note)))


async def resume_schedule(call: Call) -> Response:
    """Undo that."""
    await call.json(Nothing)
    info = await _find(call)
    return json_response(schedule_data(await call.app.schedules.resume(info.name)))


async def run_schedule(call: Call) -> Response:
    """Make a run now, beside those of its time."""
    await call.json(Nothing)
    info = await _find(call)
    handle = await call.app.schedules.run_now(info.name)
    return json_response({"id": handle.id, "task": handle.task}, 202, {"Location": call.job_path(handle.id)})


async def remove_schedule(call: Call) -> Response:
    """Delete a schedule; its runs stay."""
    info = await _find(call)
    await call.app.schedules.remove(info.name)
    return Response(status_code=204)


async def _find(call: Call) -> ScheduleInfo:
    name = call.path("name")
    try:
        info = await call.app.schedules.get(name)
    except InvalidOptions:
        info = None
    if info is None or not call.caller.may_use(info.queue):
        raise UnknownSchedule(name[:200])
    return info


def _spec(given: Cron | Every | At | Sun) -> Any:
    if isinstance(given, Cron):
        return cron(given.expression, tz=given.tz)
    if isinstance(given, Every):
        return every(given.seconds)
    if isinstance(given, At):
        return at(given.moment)
    return sun(given.event, latitude=given.latitude, longitude=given.longitude)


_NAME: Final = "/schedules/{name}"
_STORED: Final = ((200, "It is changed"), (201, "It is stored"))
_RUN: Final = ((202, "It waits for a worker"),)
_QUERY: Final[tuple[tuple[str, Any], ...]] = (("next", int),)

OPERATIONS: Final = (
    Operation("GET", "/schedules", "read", "listSchedules", "List schedules", list_schedules),
    Operation("GET", _NAME, "read", "showSchedule", "Show a schedule and its next runs", show_schedule, query=_QUERY),
    Operation("PUT", _NAME, "schedule", "putSchedule", "Store one", put_schedule, body=GivenSchedule, answers=_STORED),
    Operation("DELETE", _NAME, "schedule", "removeSchedule", "Delete one", remove_schedule, answers=((204, "It is gone"),)),
    Operation("POST", f"{_NAME}/pause", "pause", "pauseSchedule", "Make no runs", pause_schedule, body=Note),
    Operation("POST", f"{_NAME}/resume", "pause", "resumeSchedule", "Make runs again", resume_schedule, body=Nothing),
    Operation("POST", f"{_NAME}/run", "submit", "runSchedule", "Make a run now", run_schedule, body=Nothing, answers=_RUN),
)
