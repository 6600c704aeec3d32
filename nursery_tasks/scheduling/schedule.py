"""A schedule as it is stored: what somebody has asked for, and what has come of it so far. Plain data, without a clock."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from ..errors import PayloadTooLarge
from ..model.delivery import Submission
from ..model.limits import Concurrency, Limit
from ..model.schedule import MAX_SCHEDULE_BYTES
from .moments import MICROSECOND
from .policies import Policies
from .timing import Timing

WATCH_SECONDS: Final = 3600.0  # between two looks at runs that have not ended
_ENCODER: Final = msgspec.msgpack.Encoder()


class Definition(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What somebody has asked for.

    Attributes:
        job: The job of each run; its id is empty.
        declared: It stands in the code of an app, whose workers put it when they start.
        home: The module of that app, by which the schedules of several apps on one broker are told apart.
    """

    job: Submission
    timing: Timing
    policies: Policies = Policies()
    declared: bool = False
    home: str = ""


class History(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What has come of it.

    Attributes:
        next_slot: The first slot that nothing was decided about; None: there is none any more.
        paused: Nothing is run until somebody resumes it.
        note: Why it is paused.
        error: Why nobody can run it; empty: somebody can.
        runs: How many jobs were submitted for its slots, and by hand.
        by_hand: How many of these by hand.
        skipped: How many slots have no run because an earlier one had not ended.
        last_slot: The last slot that has a run; None: there is none, or it was by hand.
        last_job: The id of the last job.
        unfinished: Jobs that had not ended when somebody last looked, where a policy needs to know.
    """

    next_slot: datetime | None = None
    paused: bool = False
    note: str = ""
    error: str = ""
    runs: int = 0
    by_hand: int = 0
    skipped: int = 0
    last_slot: datetime | None = None
    last_job: str | None = None
    unfinished: tuple[str, ...] = ()

    @property
    def slots_run(self) -> int:
        """How many slots have a run: what a limit counts."""
        return self.runs - self.by_hand


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Both. (A field that this version does not know is an error, so that an older worker does not act on half of it.)"""

    definition: Definition
    history: History

    def to_body(self) -> bytes:
        """Return the bytes that `read_schedule()` makes the same of."""
        return _ENCODER.encode(self)

    def look_at(self, name: str) -> float | None:
        """Return when somebody has to look at it, in epoch seconds; None: not by itself."""
        if self.history.paused or self.history.next_slot is None:
            return None
        return self.definition.timing.due_at(name, self.history.next_slot).timestamp()

    def next_look(self, name: str, now: datetime) -> float | None:
        """Return when somebody has to look at it after *now*: at its next slot, or before, while runs are watched for failures.

        What a failed run came to is kept for two weeks only, and the next slot may be in a month.
        """
        due = self.look_at(name)
        if due is None or not (self.definition.policies.pause_on_failure and self.history.unfinished):
            return due
        return min(due, now.timestamp() + WATCH_SECONDS)


class UnreadableSchedule(ValueError):
    """The bytes are no schedule of this version; the text says why."""


def read_schedule(body: bytes) -> Schedule:
    """Read what `Schedule.to_body` has written.

    Raises:
        UnreadableSchedule: It comes from a version that knows more, or names a zone that is not known here.
    """
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableSchedule(f"it was stored by another version, or cannot be read on this machine ({error})") from None


_DECODER: Final = msgspec.msgpack.Decoder(Schedule)


def check_size(name: str, schedule: Schedule) -> None:
    """Check that a schedule can be stored.

    Raises:
        PayloadTooLarge: It is too large, which the arguments of its job are to blame for.
    """
    size = len(schedule.to_body())
    if size > MAX_SCHEDULE_BYTES:
        raise PayloadTooLarge(f"the schedule {name!r}", size, MAX_SCHEDULE_BYTES, fixed=True)


def begin(definition: Definition, now: datetime) -> Schedule:
    """Make a new schedule. Its first slot is the first one after now."""
    return Schedule(definition, History(next_slot=definition.timing.next_after(now)))


def redefine(schedule: Schedule, definition: Definition, now: datetime) -> Schedule:
    """Change what was asked for. What has come of it stays, and so does the next slot while the times are the same.

    It also stays where it has come, nothing was decided about it, and the new times name it, too: a change that is made in the
    moment of a slot, or while jitter holds it back, does not lose it.
    """
    history, timing = msgspec.structs.replace(schedule.history, error=""), definition.timing
    if timing != schedule.definition.timing:
        slot, since = history.next_slot, now
        if slot is not None and slot <= now and timing.next_after(slot - MICROSECOND, history.slots_run) == slot:
            since = slot - MICROSECOND
        history = msgspec.structs.replace(history, next_slot=timing.next_after(since, history.slots_run))
    return Schedule(definition, history)


def pause(schedule: Schedule, note: str) -> Schedule:
    """Run nothing until it is resumed."""
    return Schedule(schedule.definition, msgspec.structs.replace(schedule.history, paused=True, note=note))


def resume(schedule: Schedule, now: datetime) -> Schedule:
    """Go on with the first slot after now: those of a pause were not missed, nobody wanted them.

    One that was not paused keeps its next slot. If that is late, workers were missing, and `catch_up` decides.
    """
    history = msgspec.structs.replace(schedule.history, paused=False, note="", error="")
    if schedule.history.paused:
        following = schedule.definition.timing.next_after(now, history.slots_run)
        history = msgspec.structs.replace(history, next_slot=following)
    return Schedule(schedule.definition, history)


def run_id(name: str, slot: datetime) -> str:
    """Return the id of the job of a slot. It is the same for all who compute it, so no slot gets two jobs.

    A person can tell from it what has run when, and find the run of a slot.
    """
    return f"{name}@{slot.isoformat().removesuffix('+00:00')}Z"


def limits_of_run(name: str, definition: Definition) -> tuple[Limit, ...]:
    """Return the limits of a run's job: unless runs may overlap, one more, by which the broker holds a run back."""
    job = definition.job
    if definition.policies.overlap == "allow":
        return job.limits
    return (*job.limits, Concurrency(1, name=f"schedule:{name}").for_job(job.task, (), {}, dict))
