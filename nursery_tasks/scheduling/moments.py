"""Moments at the border of the room: aware datetimes come in, in any zone; plain UTC goes on.

All comparing and adding is done in UTC. Two aware datetimes with the same zone are compared by their wall clocks, which in the
hour that an autumn night has twice is wrong by that hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from ..errors import InvalidOptions

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
SECOND_US: Final = 1_000_000

_EXPECTED: Final = "a datetime with a time zone, such as datetime(2030, 5, 1, 9, tzinfo=UTC)"


def to_utc(option: str, moment: object) -> datetime:
    """Turn an aware datetime into a plain one in UTC.

    Raises:
        InvalidOptions: *moment* is something else, has no time zone, or is not between the years 1 and 9999 in UTC.
    """
    if not isinstance(moment, datetime):
        raise InvalidOptions(option, moment, _EXPECTED)
    if moment.utcoffset() is None:
        raise InvalidOptions(option, moment, f"{_EXPECTED}: without one, nobody knows which moment it is")
    try:
        there = moment.astimezone(UTC)
    except OverflowError:
        raise InvalidOptions(option, moment, "a moment between the years 1 and 9999 in UTC") from None
    return datetime.combine(there.date(), there.time(), UTC)  # a subclass, such as pandas', would go on by its own rules


def to_optional_utc(option: str, moment: object) -> datetime | None:
    """Do the same, and let None through."""
    return None if moment is None else to_utc(option, moment)


def microseconds_of(moment: datetime) -> int:
    """Return the whole microseconds since 1970, which is how a slot is counted and named."""
    return (moment - EPOCH) // MICROSECOND


def of_epoch(seconds: float) -> datetime:
    """Return a moment of a broker's clock, which is in epoch seconds; where datetimes end, the last one."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):  # also the last microsecond of the year 9999: as a float it is the year 10000
        return LATEST


def moment_of(microseconds: int) -> datetime | None:
    """Return the moment so many microseconds after 1970; None: datetimes end before."""
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
