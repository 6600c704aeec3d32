"""Moments and durations: as people type them, and as they read them, in local time with the distance."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from typing import Final

from ...errors import InvalidOptions
from ..trouble import USAGE, Trouble

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|min|[smhdw])")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION: Final = "a duration with its units, such as 500ms, 30s, 5m or 1h30m"
_MOMENT: Final = "a moment such as 2030-05-01T09:00Z or 2030-05-01T09:00+02:00"

_MINUTE, _HOUR, _DAY, _YEAR = 60.0, 3600.0, 86_400.0, 365.25 * 86_400
_NEAR_DAYS: Final = {-1: "yesterday", 0: "today", 1: "tomorrow"}
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def parse_duration(option: str, text: str) -> float:
    """Read `30s`, `5m`, `1h30m` or `500ms`, as seconds.

    Raises:
        InvalidOptions: It is none. A number alone is none: nobody can tell its unit.
    """
    tidy = text.replace(" ", "")
    if not _WHOLE.fullmatch(tidy):
        hint = f"{_DURATION}; did you mean {text}s?" if re.fullmatch(r"\d+(\.\d+)?", tidy) else _DURATION
        raise InvalidOptions(option, text, hint)
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(tidy))


def parse_moment(option: str, text: str) -> datetime:
    """Read an ISO 8601 moment with a time zone.

    Raises:
        InvalidOptions: It is no moment.
        Trouble: It has no time zone; the text suggests the one of this machine.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidOptions(option, text, _MOMENT) from None
    if moment.utcoffset() is None:
        try:
            here = moment.astimezone().isoformat()
        except (OverflowError, ValueError):
            here = f"{moment.isoformat()}+00:00"
        step = f"by the clock of this machine: {option} {here}; in UTC: {option} {moment.isoformat()}Z"
        raise Trouble(f"{option} {text} has no time zone, so it may be any of 24 hours", step, code=USAGE)
    return moment


def parse_optional_moment(option: str, text: str | None) -> datetime | None:
    """Do the same, and let None through."""
    return None if text is None else parse_moment(option, text)


def near_moment(moment: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Write a moment by the local clock, as short as is clear at *now*: `tomorrow 02:00`, `Thu 14:30:05`, `2030-01-05 02:00`.

    Args:
        zone: The zone of the clock; None: this machine's.
    """
    there, here = moment.astimezone(zone), now.astimezone(zone)
    days = (there.date() - here.date()).days
    day = _NEAR_DAYS.get(days) or (_WEEKDAYS[there.weekday()] if 1 < days < 7 else there.date().isoformat())
    return f"{day} {there:%H:%M:%S}" if there.second else f"{day} {there:%H:%M}"


def distance(moment: datetime, now: datetime) -> str:
    """Write how far away a moment is, in its largest unit: `in 3 h`, `12 s ago`."""
    seconds = (moment - now) / timedelta(seconds=1)
    size = abs(seconds)
    if size < 1:
        shown = f"{size * 1000:.0f} ms"
    elif size < 1.5 * _MINUTE:
        shown = f"{size:.0f} s"
    elif size < 1.5 * _HOUR:
        shown = f"{size / _MINUTE:.0f} min"
    elif size < 2 * _DAY:
        shown = f"{size / _HOUR:.0f} h"
    else:
        shown = f"{size / _DAY:.0f} days" if size < 2 * _YEAR else f"{size / _YEAR:.0f} years"
    return f"in {shown}" if seconds >= 0 else f"{shown} ago"


def moment_with_distance(moment: datetime, now: datetime) -> str:
    """Write both: `tomorrow 02:00, in 3 h`."""
    return f"{near_moment(moment, now)}, {distance(moment, now)}"
