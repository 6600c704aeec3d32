"""One field of a cron expression: its numbers, names, ranges and steps, and what is said when it has something else."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, field
from typing import Final

from ...errors import InvalidCron

_ITEM: Final = re.compile(r"(?:(\*)|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:/([0-9]{1,4}))?")
_NTH: Final = re.compile(r"([a-z0-9]+)#([0-9])")
_LAST: Final = re.compile(r"([a-z0-9]+?)l")


def _names(full: list[str], first: int) -> dict[str, int]:
    return {name: number for number, word in enumerate(full, first) for name in (word[:3], word)}


MONTHS: Final = [calendar.month_name[number] for number in range(1, 13)]
WEEKDAYS: Final = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]  # cron's week


@dataclass(frozen=True)
class Kind:
    """Which values a field can have."""

    name: str
    low: int
    high: int
    names: dict[str, int] = field(default_factory=dict[str, int])
    also: str = ""  # what else is possible, for the error

    @property
    def size(self) -> int:
        return self.high - self.low + 1


SECOND: Final = Kind("second", 0, 59)
MINUTE: Final = Kind("minute", 0, 59)
HOUR: Final = Kind("hour", 0, 23)
DAY: Final = Kind("day of the month", 1, 31, also=", L (the last day), LW (the last weekday)")
MONTH: Final = Kind("month", 1, 12, _names([name.lower() for name in MONTHS], 1), also=", jan to dec")
WEEKDAY: Final = Kind(
    "day of the week",
    0,
    6,
    _names([name.lower() for name in WEEKDAYS], 0),
    also=" (0 and 7 are Sunday), sun to sat, mon#2 (the second Monday), friL (the last Friday)",
)


@dataclass(frozen=True, slots=True)
class Days:
    """The days of the month."""

    numbers: frozenset[int]
    last: bool = False
    last_weekday: bool = False


@dataclass(frozen=True, slots=True)
class Weekdays:
    """The days of the week, 0 is Sunday; with their number in the month, or its last one."""

    numbers: frozenset[int]
    nth: frozenset[tuple[int, int]] = frozenset()
    last: frozenset[int] = frozenset()


class Reader:
    """Reads the fields of one expression; it knows that for its errors."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def numbers(self, kind: Kind, text: str) -> tuple[int, ...]:
        """Read a field that has numbers alone; they come sorted."""
        return tuple(sorted(self._numbers(kind, text, text.split(","))))

    def days(self, text: str) -> Days:
        """Read the days of the month."""
        items = text.split(",")
        plain = [item for item in items if item not in ("l", "lw")]
        return Days(frozenset(self._numbers(DAY, text, plain)), "l" in items, "lw" in items)

    def weekdays(self, text: str) -> Weekdays:
        """Read the days of the week."""
        plain, nth, last = list[str](), set[tuple[int, int]](), set[int]()
        for item in text.split(","):
            if found := _NTH.fullmatch(item):
                if not 1 <= int(found[2]) <= 5:
                    raise self._error(WEEKDAY, text, item, "1 to 5 behind the #")
                nth.add((self._value(WEEKDAY, text, found[1]) % 7, int(found[2])))
            elif found := _LAST.fullmatch(item):
                last.add(self._value(WEEKDAY, text, found[1]) % 7)
            else:
                plain.append(item)
        return Weekdays(frozenset(self._numbers(WEEKDAY, text, plain)), frozenset(nth), frozenset(last))

    def _numbers(self, kind: Kind, text: str, items: list[str]) -> set[int]:
        return {number for item in items for number in self._item(kind, text, item)}

    def _item(self, kind: Kind, text: str, item: str) -> list[int]:
        found = _ITEM.fullmatch(item)
        if found is None:
            raise self._error(kind, text, item, "* for every day" if item == "?" else "")
        star, first, last, step = found.groups()
        if star:
            values = range(kind.low, kind.high + 1)
        else:
            low = self._value(kind, text, first)
            if last is not None:
                high = self._value(kind, text, last)
                high += kind.size if high < low else 0  # sat-sun, 22-6: over the end
            elif step:
                low = kind.low if low > kind.high else low  # 7 is the first day, too
                high = kind.high  # 5/15 is 5-59/15
            else:
                high = low
            values = range(low, high + 1)
        every = 1 if step is None else int(step)
        if not 1 <= every <= kind.size:
            longer = f"; every({kind.name}s={every}) has longer intervals" if kind in (SECOND, MINUTE, HOUR) and every else ""
            raise self._error(kind, text, item, f"a step from 1 to {kind.size}{longer}")
        return [(value - kind.low) % kind.size + kind.low for value in values[::every]]

    def _value(self, kind: Kind, text: str, word: str) -> int:
        if word in kind.names:
            return kind.names[word]
        value = int(word) if word.isascii() and word.isdigit() and len(word) <= 4 else -1
        if not kind.low <= value <= kind.high + (kind is WEEKDAY):
            raise self._error(kind, text, word)
        return value

    def _error(self, kind: Kind, text: str, came: str, why: str = "") -> InvalidCron:
        possible = f"{kind.low} to {kind.high + (kind is WEEKDAY)}{kind.also}, *, lists (1,2), ranges (1-5), steps (*/2)"
        return InvalidCron(self.expression, kind.name, repr(came) if came == text else f"{came!r} in {text!r}", why or possible)
