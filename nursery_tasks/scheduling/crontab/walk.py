"""The next time on the wall that fits an expression: year by year, month by month, then the day, then the time of the day."""

from __future__ import annotations

import calendar
from bisect import bisect_left
from collections.abc import Iterator
from datetime import MAXYEAR, datetime
from typing import Final

from .expression import Fields

# The calendar repeats after 400 years, which are whole weeks: what has no day in them never has one. The rarest days, such as a
# 29 February that is a Monday, come after 40 years at most.
CYCLE_YEARS: Final = 400


def next_local(fields: Fields, earliest: datetime) -> datetime | None:
    """Return the first time that fits, *earliest* (a whole second, without a zone) or later; None: there is none."""
    for year, month in _months(fields, earliest):
        this_month = (year, month) == (earliest.year, earliest.month)
        for day in days_of(fields, year, month):
            if this_month and day < earliest.day:
                continue
            if this_month and day == earliest.day:
                time = _time_from(fields, earliest.hour, earliest.minute, earliest.second)
            else:
                time = (fields.hours[0], fields.minutes[0], fields.seconds[0])
            if time is not None:
                return datetime(year, month, day, *time)
    return None


def _months(fields: Fields, earliest: datetime) -> Iterator[tuple[int, int]]:
    for year in range(earliest.year, min(earliest.year + CYCLE_YEARS, MAXYEAR) + 1):
        for month in fields.months:
            if (year, month) >= (earliest.year, earliest.month):
                yield year, month


def days_of(fields: Fields, year: int, month: int) -> list[int]:
    """Return the days of a month that fit, sorted."""
    first_weekday, length = calendar.monthrange(year, month)  # 0 is Monday
    offset = first_weekday % 7  # day 1 is cron's weekday offset + 1, of 7
    by_number = _by_number(fields, length, offset)
    by_weekday = _by_weekday(fields, length, offset)
    return sorted(by_number & by_weekday if fields.both else by_number | by_weekday)


def _by_number(fields: Fields, length: int, offset: int) -> set[int]:
    days = {day for day in fields.days.numbers if day <= length}
    if fields.days.last:
        days.add(length)
    if fields.days.last_weekday:
        last = (offset + length) % 7  # 0 is Sunday, 6 is Saturday
        days.add(length - {0: 2, 6: 1}.get(last, 0))
    return days


def _by_weekday(fields: Fields, length: int, offset: int) -> set[int]:
    wanted = fields.weekdays
    days = set[int]()
    for day in range(1, length + 1):
        weekday = (offset + day) % 7
        if (
            weekday in wanted.numbers
            or (weekday, (day + 6) // 7) in wanted.nth
            or (day + 7 > length and weekday in wanted.last)
        ):
            days.add(day)
    return days


def _time_from(fields: Fields, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
    """Return the first time of a day that fits, this one or later."""
    for h in fields.hours[bisect_left(fields.hours, hour) :]:
        if h > hour:
            return h, fields.minutes[0], fields.seconds[0]
        for m in fields.minutes[bisect_left(fields.minutes, minute) :]:
            if m > minute:
                return h, m, fields.seconds[0]
            at = bisect_left(fields.seconds, second)
            if at < len(fields.seconds):
                return h, m, fields.seconds[at]
    return None
