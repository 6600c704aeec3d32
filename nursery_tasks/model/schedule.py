"""What a broker keeps of schedules: rows whose body it never looks into, and the one change that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from .delivery import Submission

MAX_SCHEDULE_NAME: Final = 150  # characters; the id of a run is the name and the slot
MAX_SCHEDULE_BYTES: Final = 1024 * 1024  # of a body


class ScheduleRow(msgspec.Struct, frozen=True, gc=False):
    """One schedule, as it is stored.

    Attributes:
        version: Another number after each change, and none that a row of this name has ever had before.
        look_at: When somebody has to look at it, in epoch seconds on the broker's clock; None: not by itself.
        body: What `scheduling/` keeps of it.
    """

    name: str
    version: int
    look_at: float | None
    body: bytes


class ScheduleChange(msgspec.Struct, frozen=True, gc=False):
    """What is to become of a schedule, and the jobs that are submitted in the same step.

    Attributes:
        version: The version that the change was made from; 0: there must be no schedule of this name.
        body: None: the schedule is removed.
    """

    name: str
    version: int
    look_at: float | None = None
    body: bytes | None = None
    jobs: tuple[Submission, ...] = ()


class ScheduleLook(msgspec.Struct, frozen=True, gc=False):
    """What a look at the schedules has found.

    Attributes:
        now: The broker's clock.
        rows: Those that somebody has to look at by now, the most overdue first, then by name.
        next_seconds: When the next look is due, from now; 0 when there are more than were asked for; None: never.
    """

    now: float
    rows: Sequence[ScheduleRow]
    next_seconds: float | None
