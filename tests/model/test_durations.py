"""Durations at the public border."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.duration import LONGEST_SECONDS, to_optional_seconds, to_seconds


@pytest.mark.parametrize("value", [2, 2.0, timedelta(seconds=2)])
def test_seconds_come_as_numbers_and_as_timedeltas(value: float | timedelta) -> None:
    assert to_seconds("delay", value) == 2.0
    assert type(to_seconds("delay", value)) is float


@pytest.mark.parametrize("value", [True, "2", None, math.nan, math.inf, [2]])
def test_what_is_no_finite_number_of_seconds_is_refused(value: object) -> None:
    with pytest.raises(InvalidOptions, match=r"^delay=.*: expected seconds as a number, or a timedelta$"):
        to_seconds("delay", value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-0.001, timedelta(days=-1)])
def test_time_does_not_run_backwards(value: float | timedelta) -> None:
    with pytest.raises(InvalidOptions, match=r"expected 0 seconds or more$"):
        to_seconds("delay", value)


def test_a_least_value_is_named_in_the_error() -> None:
    with pytest.raises(InvalidOptions, match=r"^lease=0.1: expected 0.5 seconds or more$"):
        to_seconds("lease", 0.1, at_least=0.5)


def test_a_most_value_is_named_in_the_error() -> None:
    with pytest.raises(InvalidOptions, match=r"^delay=20000000000.0: expected 1e\+10 seconds or less$"):
        to_seconds("delay", 2e10, at_most=LONGEST_SECONDS)


def test_none_passes_where_it_may() -> None:
    assert to_optional_seconds("expires", None) is None
    assert to_optional_seconds("expires", 0) == 0.0


@given(st.timedeltas(min_value=timedelta(0)))
def test_a_timedelta_and_its_seconds_are_the_same_duration(value: timedelta) -> None:
    assert to_seconds("delay", value) == to_seconds("delay", value.total_seconds())
