"""A cron expression in words: "at 09:00 on Monday to Friday"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Final

from .expression import Fields
from .fields import MONTHS, WEEKDAYS

MOST_TIMES: Final = 6  # so many are listed one by one
MOST_LISTED: Final = 8  # and of a longer list only its begin and its end
_ORDINALS: Final = ["", "first", "second", "third", "fourth", "fifth"]


def explain_fields(fields: Fields) -> str:
    """Say when it is, without the zone."""
    time = _listed_times(fields) or _described_times(fields)
    days = _days(fields)
    months = "" if len(fields.months) == 12 else f" in {_runs(fields.months, lambda month: MONTHS[month - 1])}"
    if not days and time.startswith("at ") and len(fields.hours) < 24:
        days = " every day"
    return time + days + months


def _listed_times(fields: Fields) -> str:
    """Say the times of a day when they are few."""
    if len(fields.hours) * len(fields.minutes) * len(fields.seconds) > MOST_TIMES:
        return ""
    times = product(fields.hours, fields.minutes, fields.seconds)
    shape = "{:02}:{:02}" if fields.seconds == (0,) else "{:02}:{:02}:{:02}"
    return f"at {_joined([shape.format(*time) for time in times])}"


def _described_times(fields: Fields) -> str:
    """Say the times of a day by their pattern, from the smallest unit that is not simply zero."""
    units = [("second", fields.seconds, 60), ("minute", fields.minutes, 60), ("hour", fields.hours, 24)]
    while units[0][1] == (0,):
        del units[0]
    word, values, size = units.pop(0)
    step = _step(values, size)
    if step:
        text = _times(step, word)
    else:
        text = f"at {'the full ' * (word == 'hour')}{word}{_plural(values)} {_runs(values)}"
    every = bool(step)  # "every 5 minutes" already says "of every hour"
    for word, values, size in units:
        if len(values) < size:
            text, every = f"{text} {'in' if every else 'of'} {word}{_plural(values)} {_runs(values)}", False
        elif not every:
            text, every = f"{text} of every {word}", True
    return text


def _step(values: Sequence[int], size: int) -> int:
    """Return the distance of values that fill a minute, an hour or a day evenly; 0: they do not."""
    step = size // len(values)
    return step if tuple(values) == tuple(range(0, size, step)) and size % step == 0 else 0


def _times(step: int, word: str) -> str:
    return f"every {word}" if step == 1 else f"every {step} {word}s"


def _days(fields: Fields) -> str:
    by_number, by_weekday = _by_number(fields), _by_weekday(fields)
    if fields.any_day or fields.any_weekday:
        return "".join(f" {each}" for each in (by_number, by_weekday) if each)
    if fields.both:
        return f" {by_number}, if it is {by_weekday.removeprefix('on ')}"
    return f" {by_number} and also {by_weekday}"


def _by_number(fields: Fields) -> str:
    if fields.any_day:
        return ""
    numbers = sorted(fields.days.numbers)
    days = [f"day{_plural(numbers)} {_runs(numbers)}"] if numbers else []
    days += ["the last day"] * fields.days.last + ["the last weekday"] * fields.days.last_weekday
    return f"on {_joined(days)} of the month"


def _by_weekday(fields: Fields) -> str:
    if fields.any_weekday:
        return ""
    wanted = fields.weekdays
    from_monday = sorted(number or 7 for number in wanted.numbers)  # Sunday last: Saturday and Sunday are neighbours
    days = [_runs(from_monday, lambda number: WEEKDAYS[number % 7])] if from_monday else []
    in_month = [f"the {_ORDINALS[nth]} {WEEKDAYS[number]}" for number, nth in sorted(wanted.nth)]
    in_month += [f"the last {WEEKDAYS[number]}" for number in sorted(wanted.last)]
    if in_month:
        days.append(f"{_joined(in_month)} of the month")
    return f"on {_joined(days)}"


def _runs(values: Iterable[int], name: Callable[[int], str] = str) -> str:
    """List numbers, three and more in a row as "1 to 3"."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    shown: list[str] = []
    for run in runs:
        shown += [name(value) for value in run] if len(run) < 3 else [f"{name(run[0])} to {name(run[-1])}"]
    return _joined(shown)


def _joined(words: Sequence[str]) -> str:
    if len(words) > MOST_LISTED:
        return f"{', '.join(words[:3])} ... {words[-1]}"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _plural(values: Sequence[int]) -> str:
    return "s" if len(values) > 1 else ""
