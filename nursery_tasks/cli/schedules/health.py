"""What `nursery-tasks doctor` says of schedules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ... import App
from ...shown import command_line
from ..findings import RUN, Finding, Level, is_gone
from ..output import plural
from .moments import distance, moment_with_distance

if TYPE_CHECKING:
    from ... import ScheduleInfo

_SHOWN: Final = 20  # of each kind


async def look_at_schedules(app: App) -> list[Finding]:
    """Find schedules that are broken, late or paused; nothing where there are none."""
    if app.connection.gateway.broker.schedules is None:
        return []
    found = await app.schedules.list()
    if not found:
        return []
    by_state = {state: [info for info in found if info.state == state] for state in ("broken", "late", "paused")}
    findings = [_summary(found), *map(_broken, by_state["broken"][:_SHOWN])]
    if by_state["late"]:
        findings.append(_late(by_state["late"], await _step_for_late(app)))
    return [*findings, *map(_paused, by_state["paused"][:_SHOWN])]


def _summary(found: list[ScheduleInfo]) -> Finding:
    coming = [info for info in found if info.state == "active"]
    text = plural(len(found), "schedule")
    if coming:
        due, name = _soonest(coming)
        text += f"; next {name} {moment_with_distance(due, datetime.now(UTC))}"
    return Finding(Level.OK, "schedules", text)


def _soonest(found: list[ScheduleInfo]) -> tuple[datetime, str]:
    return min((info.next_run, info.name) for info in found if info.next_run is not None)


def _broken(info: ScheduleInfo) -> Finding:
    step = f"start a worker whose code fits, or {command_line('schedules remove', info.name)}"
    return Finding(Level.PROBLEM, f"schedule {info.name}", f"broken: {info.error}", step)


def _late(late: list[ScheduleInfo], step: str) -> Finding:
    due, name = _soonest(late)
    text = f"{plural(len(late), 'schedule')} late: {name} was due {distance(due, datetime.now(UTC))}, and nobody runs it"
    return Finding(Level.PROBLEM, "schedules late", text, step)


async def _step_for_late(app: App) -> str:
    workers = [worker for worker in await app.workers() if not is_gone(worker)]
    if not workers:
        return f"no worker is running: {RUN}"
    if not any(worker.schedules for worker in workers):
        return "all workers run with --no-schedules: nursery-tasks tick module:app, or start one without it"
    name = next(worker.name for worker in workers if worker.schedules)
    return f"{name} should run them, and its log says what holds it up"


def _paused(info: ScheduleInfo) -> Finding:
    why = f": {info.note}" if info.note else ""
    return Finding(Level.WARNING, f"schedule {info.name}", f"paused{why}", command_line("schedules resume", info.name))
