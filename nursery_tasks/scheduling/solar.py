"""`sun()`: by the sun at a place. Needs astral (the extra `solar`), whose formulas are those of NOAA's solar calculator.

Days are counted by the mean sun at the place itself, not in UTC: there, each sunrise and each sunset has a day of its own,
also on the other side of the date line.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from importlib.util import find_spec
from typing import Final, Literal, get_args

from ..errors import InvalidOptions, MissingPackage
from .moments import to_utc
from .spec import Spec

SunEvent = Literal[
    "astronomical_dawn",
    "nautical_dawn",
    "dawn",
    "sunrise",
    "noon",
    "sunset",
    "dusk",
    "nautical_dusk",
    "astronomical_dusk",
]
_ZENITH: Final = {  # degrees from straight above to the centre of the sun
    "sunrise": 90.833,  # half of the sun's disc, and what the air bends
    "sunset": 90.833,
    "dawn": 96.0,
    "dusk": 96.0,
    "nautical_dawn": 102.0,
    "nautical_dusk": 102.0,
    "astronomical_dawn": 108.0,
    "astronomical_dusk": 108.0,
}
_LONGEST_DAYS: Final = 400  # a night at a pole has half a year
_ROUNDS: Final = 3  # the sun moves on until the event; the third round changes less than a second
_MINUTES_PER_DEGREE: Final = 4.0  # that the earth turns


class Sun(Spec, frozen=True, tag="sun"):
    """By the sun; see `sun()`."""

    event: SunEvent
    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        if self.event not in get_args(SunEvent):
            raise InvalidOptions("sun", self.event, f"one of {', '.join(get_args(SunEvent))}")
        _check_degrees("latitude", self.latitude, 90, "north of the equator, negative in the south")
        _check_degrees("longitude", self.longitude, 180, "east of Greenwich, negative in the west")

    def __repr__(self) -> str:
        return f"sun({self.event!r}, latitude={self.latitude!r}, longitude={self.longitude!r})"

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first event after *moment*, in UTC; None: there is none within a year, as at a pole.

        Raises:
            MissingPackage: astral is not installed.
        """
        moment = to_utc("moment", moment)
        try:
            today = (moment + timedelta(minutes=self.longitude * _MINUTES_PER_DEGREE)).date()
            for number in range(-1, _LONGEST_DAYS):
                found = self._on(today + timedelta(days=number))
                if found is not None and found > moment:
                    return found
        except OverflowError:  # the end of the year 9999, or the begin of the first
            pass
        return None

    def _on(self, day: date) -> datetime | None:
        """Return the event on a day of the mean sun at the place, to the second; None: the sun does not go so far."""
        try:
            from astral import SunDirection
            from astral.julian import julianday, julianday_to_juliancentury
            from astral.sun import eq_of_time, hour_angle, sun_declination
        except ImportError:
            raise MissingPackage("sun()", "astral", "solar") from None
        direction = SunDirection.SETTING if self.event.endswith(("sunset", "dusk")) else SunDirection.RISING
        mean_noon = 720.0 - self.longitude * _MINUTES_PER_DEGREE  # minutes after midnight in UTC
        minutes = mean_noon
        for _ in range(_ROUNDS):
            century = julianday_to_juliancentury(julianday(day) + minutes / 1440.0)
            minutes = mean_noon - eq_of_time(century)
            if self.event != "noon":
                try:
                    angle = hour_angle(self.latitude, sun_declination(century), _ZENITH[self.event], direction)
                except (ValueError, ZeroDivisionError):  # all day above it, or below
                    return None
                minutes -= math.degrees(angle) * _MINUTES_PER_DEGREE
        return datetime.combine(day, time(), UTC) + timedelta(seconds=round(minutes * 60))

    def explain(self) -> str:
        """Say it in words."""
        return f"at {self.event.replace('_', ' ')}, at latitude {self.latitude:g}, longitude {self.longitude:g}"


def sun(event: SunEvent, *, latitude: float, longitude: float) -> Sun:
    """Make a spec for an event of the sun at a place: `sun("sunset", latitude=41.9, longitude=12.5)`.

    Where the sun does not rise or set for a while, these days have no event.

    Args:
        event: `sunrise`, `noon`, `sunset`; `dawn` and `dusk`, when the sun is 6 degrees below the horizon; with `nautical_`
            before them 12 degrees, with `astronomical_` 18.
        latitude: In degrees; negative in the south.
        longitude: In degrees; negative in the west.

    Raises:
        InvalidOptions: There is no such event, or no such place.
        MissingPackage: The extra `solar` is not installed.
    """
    if find_spec("astral") is None:
        raise MissingPackage("sun()", "astral", "solar")
    return Sun(event, latitude, longitude)


def _check_degrees(option: str, value: object, most: int, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise InvalidOptions(option, value, f"degrees from -{most} to {most}, {what}")
