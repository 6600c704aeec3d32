"""A schedule as plain data for programs, and in words for people."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from ..output import plural
from .moments import moment_with_distance, near_moment

if TYPE_CHECKING:
    from ... import ScheduleInfo


def next_run(info: ScheduleInfo, now: datetime) -> str:
    """Say when it runs next, by the local clock."""
    return "-" if info.next_run is None else moment_with_distance(info.next_run, now)


def last_run(info: ScheduleInfo, now: datetime) -> str:
    """Say when its last run was, and what came of it."""
    if info.last_job is None:
        return "-"
    when = "by hand" if info.last_slot is None else near_moment(info.last_slot, now)
    return f"{when}, {info.last_state or 'not known any more'}"


def state_of(info: ScheduleInfo) -> str:
    """Say how it is, and why."""
    why = info.note or info.error
    return f"{info.state}: {why}" if why else str(info.state)


def facts_of(info: ScheduleInfo, now: datetime) -> list[tuple[str, str]]:
    """Return all about it, for people."""
    moved = info.next_run != info.next_slot and info.next_run is not None and info.next_slot is not None
    slot = f", moved from {near_moment(info.next_slot, now)}" if moved and info.next_slot is not None else ""
    facts = [
        ("schedule", info.name),
        ("state", state_of(info)),
        ("task", f"{info.task}({_arguments(info)})"),
        ("queue", info.queue),
        ("when", info.words),
        ("spec", info.spec),
        ("next run", next_run(info, now) + slot),
        ("last run", last_run(info, now)),
    ]
    if info.last_job is not None:
        facts.append(("last job", info.last_job))
    facts += [
        ("runs", f"{info.runs:,}" + (f", and {plural(info.skipped, 'slot')} skipped" if info.skipped else "")),
        ("overlap", info.overlap),
        ("catch up", info.catch_up if isinstance(info.catch_up, str) else f"all of the last {info.catch_up:g} s"),
    ]
    if info.pause_on_failure:
        facts.append(("on failure", "paused"))
    code = f"the code of an app ({info.home})" if info.home else "the code of an app"
    facts.append(("stands in", f"{code}, whose workers put it" if info.declared else "the broker only"))
    return [(name, value) for name, value in facts if value]


def _arguments(info: ScheduleInfo) -> str:
    shown = [json.dumps(value, ensure_ascii=False) for value in info.args]
    shown += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in info.kwargs.items()]
    return ", ".join(shown)
