"""Durations at the public border: seconds or a `timedelta` come in, float seconds go on."""

from __future__ import annotations

import math
from datetime import timedelta

from ..errors import InvalidOptions

Duration = float | int | timedelta


def to_seconds(option: str, value: Duration, *, at_least: float = 0.0) -> float:
    """Turn a duration into seconds.

    Raises:
        InvalidOptions: *value* is not a finite number of seconds or a timedelta, or is below *at_least*.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise InvalidOptions(option, value, "seconds as a number, or a timedelta")
    if seconds < at_least:
        raise InvalidOptions(option, value, f"{at_least:g} seconds or more")
    return float(seconds)


def to_optional_seconds(option: str, value: Duration | None, *, at_least: float = 0.0) -> float | None:
    """Do the same, and let None through."""
    return None if value is None else to_seconds(option, value, at_least=at_least)
