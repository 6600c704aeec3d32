"""What programs see of a schedule."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ..model.codec import Codec, Undecodable
from ..model.schedule import ScheduleRow
from ..model.states import JobState
from ..scheduling.moments import of_epoch
from ..scheduling.schedule import Schedule, UnreadableSchedule, read_schedule

LATE_SECONDS = 5.0  # after which a slot that nobody has decided about is worth a word
_CODEC = Codec()


class ScheduleState(StrEnum):
    """How a schedule is."""

    ACTIVE = "active"
    PAUSED = "paused"
    BROKEN = "broken"  # no run can be made; `error` says why
    LATE = "late"  # a slot is due, and nobody runs it
    ENDED = "ended"  # there is no slot any more


class ScheduleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule. Moments are in UTC, on the broker's clock.

    Attributes:
        spec: What it was put with, as the call that makes it: `cron('0 2 * * *')`.
        words: The same in words.
        next_run: When its next run is due; None: there is none, or it is paused.
        next_slot: The moment that its spec names for that, which jitter may have moved.
        note: Why it is paused.
        error: Why nobody can run it.
        overlap, catch_up, pause_on_failure: Its policies; *catch_up* is a number of seconds where it is a window.
        runs: How many jobs it has submitted.
        skipped: How many slots have no run because an earlier one had not ended.
        last_slot: The last slot that has a run.
        last_job: The id of its last job, while there is one.
        last_state: What is known of that job; None: nothing any more.
        declared: It stands in the code of an app, whose workers put it.
        home: The module in which that app is made; empty: it was put by an older version, or stands in no code.
    """

    name: str
    state: ScheduleState
    task: str = ""
    queue: str = ""
    spec: str = ""
    words: str = ""
    next_run: datetime | None = None
    next_slot: datetime | None = None
    note: str = ""
    error: str = ""
    overlap: str = ""
    catch_up: str | float = ""
    pause_on_failure: bool = False
    runs: int = 0
    skipped: int = 0
    last_slot: datetime | None = None
    last_job: str | None = None
    last_state: JobState | None = None
    declared: bool = False
    home: str = ""
    _payload: bytes = b""

    @property
    def args(self) -> list[Any]:
        """The arguments of its jobs, as plain data."""
        return [] if not self._payload else _read(self._payload)[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """Those by name, likewise."""
        return {} if not self._payload else _read(self._payload)[1]


def schedule_of(row: ScheduleRow) -> Schedule | None:
    """Read a stored schedule; None: it is of a newer version of this package."""
    try:
        return read_schedule(row.body)
    except UnreadableSchedule:
        return None


def info_of_schedule(row: ScheduleRow, now: datetime, last_state: JobState | None) -> ScheduleInfo:
    """Make of a stored schedule what programs see."""
    try:
        schedule = read_schedule(row.body)
    except UnreadableSchedule as error:
        return ScheduleInfo(name=row.name, state=ScheduleState.BROKEN, error=str(error))
    definition, history = schedule.definition, schedule.history
    policies, timing, job = definition.policies, definition.timing, definition.job
    due = _due(row, schedule)
    return ScheduleInfo(
        name=row.name,
        state=_state_of(schedule, due, now),
        task=job.task,
        queue=job.queue,
        spec=repr(timing.spec),
        words=timing.explain(),
        next_run=None if due is None else of_epoch(due),
        next_slot=history.next_slot,
        note=history.note,
        error=history.error,
        overlap=policies.overlap,
        catch_up=policies.catch_up if policies.window_seconds is None else policies.window_seconds,
        pause_on_failure=policies.pause_on_failure,
        runs=history.runs,
        skipped=history.skipped,
        last_slot=history.last_slot,
        last_job=history.last_job,
        last_state=last_state,
        declared=definition.declared,
        home=definition.home,
        _payload=job.payload,
    )


def _due(row: ScheduleRow, schedule: Schedule) -> float | None:
    try:
        return schedule.look_at(row.name)
    except Exception:  # a package that this machine lacks: one such schedule hides no other from whoever looks
        return row.look_at


def _state_of(schedule: Schedule, due: float | None, now: datetime) -> ScheduleState:
    history = schedule.history
    if history.paused:
        return ScheduleState.PAUSED
    if history.error:
        return ScheduleState.BROKEN
    if due is None:
        return ScheduleState.ENDED
    return ScheduleState.LATE if now.timestamp() > due + LATE_SECONDS else ScheduleState.ACTIVE


def _read(payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    try:
        message = _CODEC.decode_message(payload)
    except Undecodable:
        return [], {}
    return message.args, message.kwargs
