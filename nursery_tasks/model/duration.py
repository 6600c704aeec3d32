"""Durations at the public border: seconds or a `timedelta` come in, float seconds go on."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from ..errors import InvalidOptions

Duration = float | int | timedelta

LONGEST_SECONDS: Final = 1e10  # 300 years: a moment that far from now is still a datetime, and every broker can store it


def to_seconds(option: str, value: Duration, *, at_least: float = 0.0, at_most: float = math.inf) -> float:
    """Turn a duration into seconds.

    Raises:
        InvalidOptions: *value* is not a finite number of seconds or a timedelta, is below *at_least*, or
            above *at_most*.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise InvalidOptions(option, value, "seconds as a number, or a timedelta")
    if seconds < at_least:
        raise InvalidOptions(option, value, f"{at_least:g} seconds or more")
    if seconds > at_most:
        raise InvalidOptions(option, value, f"{at_most:g} seconds or less")
    return float(seconds)


def to_optional_seconds(option: str, value: Duration | None, *, at_least: float = 0.0) -> float | None:
    """Do the same, and let None through."""
    return None if value is None else to_seconds(option, value, at_least=at_least)
