"""`every()`: at equal distances on the scale of UTC, with a phase that no restart changes.

The slots are the whole multiples of the interval since 1970, moved by the anchor. They are counted in whole microseconds, so
nothing drifts, and no program has to remember when it began.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ..errors import InvalidOptions
from ..model.duration import Duration, to_seconds
from .moments import EPOCH, SECOND_US, microseconds_of, moment_of, to_utc
from .spec import Spec

DAY_US: Final = 86_400 * SECOND_US
LEAST_US: Final = 1_000  # a schedule is no busy loop
MOST_US: Final = 36_525 * DAY_US  # a hundred years

# From large to small: word, microseconds.
_UNITS: Final = (
    ("weeks", 7 * DAY_US),
    ("days", DAY_US),
    ("hours", 3600 * SECOND_US),
    ("minutes", 60 * SECOND_US),
    ("seconds", SECOND_US),
)
_SIZES: Final = dict(_UNITS)
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,6}))?)?")


class Every(Spec, frozen=True, tag="every"):
    """At equal distances; see `every()`."""

    interval_us: int
    phase_us: int = 0  # since 1970, less than the interval

    def __post_init__(self) -> None:
        if not LEAST_US <= self.interval_us <= MOST_US:
            raise InvalidOptions("every", self.interval_us / SECOND_US, "0.001 seconds to 100 years")
        if not 0 <= self.phase_us < self.interval_us:
            raise InvalidOptions("phase_us", self.phase_us, "0 or more, and less than the interval")

    def __repr__(self) -> str:
        word, size = self._unit()
        interval = _shown_number(self.interval_us / size) if word == "seconds" else f"{word}={self.interval_us // size}"
        return f"every({interval}{self._shown_anchor()})"

    def _unit(self) -> tuple[str, int]:
        """The largest unit that counts it in whole numbers, or else the second."""
        return next((unit for unit in _UNITS if self.interval_us % unit[1] == 0), _UNITS[-1])

    def _shown_anchor(self) -> str:
        if not self.phase_us:
            return ""
        anchor = EPOCH + timedelta(microseconds=self.phase_us)
        if self.phase_us < DAY_US:
            return f", anchor={_shown_clock(anchor)!r}"
        return f", anchor={anchor!r}"

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first slot after *moment*, in UTC."""
        passed = (microseconds_of(to_utc("moment", moment)) - self.phase_us) // self.interval_us
        return moment_of((passed + 1) * self.interval_us + self.phase_us)

    def explain(self) -> str:
        """Say it in words."""
        word, size = self._unit()
        words = f"every {_counted(self.interval_us / size, word)}"
        if self.interval_us < _SIZES["minutes"]:
            return words
        first = EPOCH + timedelta(microseconds=self.phase_us)
        if DAY_US % self.interval_us:
            return f"{words}, counted from {first:%Y-%m-%d} {_shown_clock(first)} UTC"
        slots = [_shown_clock(first + each * timedelta(microseconds=self.interval_us)) for each in range(2)]
        shown = slots[0] if self.interval_us == DAY_US else f"{', '.join(slots)} ..."
        return f"{words}, at {shown} UTC"


def every(
    interval: Duration | None = None,
    *,
    weeks: float | None = None,
    days: float | None = None,
    hours: float | None = None,
    minutes: float | None = None,
    seconds: float | None = None,
    anchor: str | datetime | None = None,
) -> Every:
    """Make a spec for equal distances in time: `every(0.5)`, `every(timedelta(minutes=5))`, `every(hours=1, anchor="00:25")`.

    The slots are whole multiples of the interval since 1970 in UTC: each full hour, each full minute. They do not depend on
    when a program has started, and no change of a wall clock moves them; for "at nine in Rome" there is `cron()`.

    Args:
        interval: Seconds, or a timedelta.
        weeks, days, hours, minutes, seconds: Instead of it, and added up.
        anchor: Some slot, which moves all others with it: a time of the day in UTC (`"00:25"`, `"00:00:00.25"`), or a
            datetime with a time zone.

    Raises:
        InvalidOptions: The interval is less than a millisecond or more than 100 years, or a value makes no sense.
    """
    words = {"weeks": weeks, "days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    given = [_microseconds(word, number) for word, number in words.items() if number is not None]
    if (interval is None) == (not given):
        raise InvalidOptions("every", interval, "either seconds, as in every(0.5), or words, as in every(hours=1)")
    if interval is not None:
        given = [to_seconds("every", interval) * SECOND_US]
    interval_us = round(min(sum(given), 2 * MOST_US))
    return Every(interval_us, 0 if anchor is None else _phase_of(anchor) % max(interval_us, 1))


def _microseconds(word: str, number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
        raise InvalidOptions(word, number, "a number, 0 or more")
    return number * _SIZES[word]


def _phase_of(anchor: object) -> int:
    if isinstance(anchor, datetime):
        return microseconds_of(to_utc("anchor", anchor))
    found = _CLOCK.fullmatch(anchor) if isinstance(anchor, str) else None
    if found is None:
        raise InvalidOptions("anchor", anchor, "a time of the day in UTC, such as '00:25', or a datetime with a time zone")
    hour, minute, second, fraction = found.groups(default="0")
    return (int(hour) * 3600 + int(minute) * 60 + int(second)) * SECOND_US + int(fraction.ljust(6, "0"))


def _shown_clock(moment: datetime) -> str:
    shown = moment.astimezone(UTC).time()
    if shown.second or shown.microsecond:
        return shown.isoformat()
    return shown.isoformat("minutes")


def _counted(number: float, unit: str) -> str:
    return unit.removesuffix("s") if number == 1 else f"{_shown_number(number)} {unit}"


def _shown_number(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() else repr(number)
