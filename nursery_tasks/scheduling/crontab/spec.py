"""`cron()`: at times on the wall, in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from msgspec.structs import force_setattr

from ...errors import InvalidCron
from ..moments import to_utc
from ..spec import Spec
from ..zones import first_instant, name_of, wall_time, zone_of
from .expression import read_expression, tidy
from .walk import next_local
from .words import explain_fields

_SECOND: Final = timedelta(seconds=1)
_EARLIEST: Final = datetime(1, 1, 3, tzinfo=UTC)  # before, some walls have no date that Python knows
_ANY_DATE: Final = datetime(2000, 1, 1)  # a wall has no zone


class Cron(Spec, frozen=True, tag="cron"):
    """At times on the wall; see `cron()`."""

    expression: str
    tz: str = "UTC"

    def __post_init__(self) -> None:
        force_setattr(self, "expression", tidy(self.expression))
        zone_of(self.tz)
        if next_local(read_expression(self.expression), _ANY_DATE) is None:
            expected = "days that its months have, such as 28 or L in February"
            raise InvalidCron(self.expression, "", "no such day ever comes", expected)

    def __repr__(self) -> str:
        return f"cron({self.expression!r}{'' if self.tz == 'UTC' else f', tz={self.tz!r}'})"

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first moment after *moment*, in UTC, or None when the calendar ends before."""
        moment = max(to_utc("moment", moment), _EARLIEST)
        fields, zone = read_expression(self.expression), zone_of(self.tz)
        try:
            # Later times on the wall never have earlier instants, so the first one that comes after the moment is the next. The
            # loop passes over times that the wall shows for the second time: they were meant when it showed them first.
            local = next_local(fields, wall_time(moment, zone).replace(microsecond=0) + _SECOND)
            while local is not None:
                instant = first_instant(local, zone)
                if instant > moment:
                    return instant
                local = next_local(fields, local + _SECOND)
        except OverflowError:  # the end of the year 9999
            pass
        return None

    def explain(self) -> str:
        """Say it in words."""
        return f"{explain_fields(read_expression(self.expression))}, in {self.tz}"


def cron(expression: str, *, tz: str | tzinfo = "UTC") -> Cron:
    """Make a spec for times on the wall: `cron("0 9 * * mon-fri", tz="Europe/Rome")`.

    The fields are minute, hour, day of the month, month and day of the week; with six of them the first one is the second.
    Each has `*`, numbers or names (`jan`, `mon`), lists (`1,15`), ranges (`mon-fri`, also over the end: `22-6`) and steps
    (`*/15`, `9-17/2`). Days of the month also have `L` (the last) and `LW` (the last weekday), days of the week `mon#2` (the
    second Monday) and `friL` (the last Friday). `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` are short for the
    usual ones.

    When both the day of the month and the day of the week are restricted, either is enough, as in every cron; when one of
    them begins with `*`, a day must fit both.

    A time that does not exist because the clock was put forward happens once, at the next valid instant. A time that exists
    twice because it was put back happens once, at the first of the two. So `*/15 * * * *` pauses for that hour in autumn;
    what must go on evenly is `every(minutes=15)`, or has the zone UTC.

    Args:
        expression: Five or six fields, or a nickname.
        tz: The name of a time zone.

    Raises:
        InvalidCron: The expression says nothing, or names a day that no month has.
        InvalidOptions: There is no such zone.
    """
    return Cron(expression, name_of(tz))
