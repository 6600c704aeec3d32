"""A cron expression as a whole: its fields, its nicknames, and whether there is any such day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ...errors import InvalidCron
from .fields import HOUR, MINUTE, MONTH, SECOND, Days, Reader, Weekdays

LONGEST: Final = 500  # characters
NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = "5 fields (minute hour day-of-month month day-of-week), 6 with the second in front, or @daily and the like"
_OTHER_WORDS: Final = {
    "@reboot": "a time; what a program does when it starts belongs into its lifespan",
    "@every": "every(minutes=5) for equal distances in time",
}


@dataclass(frozen=True, slots=True)
class Fields:
    """What an expression allows; the numbers are sorted."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days
    months: tuple[int, ...]
    weekdays: Weekdays
    both: bool  # a day must fit both fields of days; else one of them is enough
    any_day: bool  # the day of the month is just `*`
    any_weekday: bool


def tidy(expression: object) -> str:
    """Return the expression with single spaces, and small letters except for the `L` and `W` of last days.

    Raises:
        InvalidCron: It is no text.
    """
    if not isinstance(expression, str):
        raise InvalidCron(expression, "", type(expression).__name__, _FIELDS)
    fields = expression.lower().split()
    if len(fields) in (5, 6):
        fields[-3] = fields[-3].upper()
        fields[-1] = re.sub(r"l(?=,|$)", "L", fields[-1])
    return " ".join(fields)


@lru_cache(maxsize=1024)
def read_expression(expression: str) -> Fields:
    """Read an expression.

    Raises:
        InvalidCron: It is none; the message names the field, what it has, and what is possible.
    """
    if len(expression) > LONGEST:
        raise InvalidCron(expression, "", f"{len(expression)} characters", f"at most {LONGEST}")
    fields = _split(expression)
    second, minute, hour, day, month, weekday = fields if len(fields) == 6 else ["0", *fields]
    read = Reader(expression)
    return Fields(
        read.numbers(SECOND, second),
        read.numbers(MINUTE, minute),
        read.numbers(HOUR, hour),
        read.days(day),
        read.numbers(MONTH, month),
        read.weekdays(weekday),
        both=day.startswith("*") or weekday.startswith("*"),
        any_day=day == "*",
        any_weekday=weekday == "*",
    )


def _split(expression: str) -> list[str]:
    fields = expression.lower().split()
    name = fields[0] if fields else ""
    if name.startswith("@"):
        if len(fields) == 1 and name in NICKNAMES:
            return NICKNAMES[name].split()
        raise InvalidCron(expression, "", expression, _OTHER_WORDS.get(name, f"one of {', '.join(NICKNAMES)}"))
    if len(fields) not in (5, 6):
        years = "; years are for start= and end=" if len(fields) == 7 else ""
        raise InvalidCron(expression, "", f"{len(fields)} field{'s' * (len(fields) != 1)}", _FIELDS + years)
    return fields
