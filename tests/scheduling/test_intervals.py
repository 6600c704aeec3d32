"""`every()`: equal distances, a phase that nobody has to remember, and no drift."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nursery_tasks.errors import InvalidOptions
from nursery_tasks.scheduling import Every, every

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (every(0.5), NOON + timedelta(seconds=0.5)),
        (every(5), NOON + timedelta(seconds=5)),
        (every(timedelta(minutes=5)), NOON + timedelta(minutes=5)),
        (every(hours=1), NOON + timedelta(hours=1)),
        (every(hours=1, anchor="00:25"), NOON + timedelta(minutes=25)),
        (every(hours=1, anchor="13:25"), NOON + timedelta(minutes=25)),
        (every(hours=1, minutes=30), NOON + timedelta(hours=1, minutes=30)),
        (every(hours=0.25), NOON + timedelta(minutes=15)),
        (every(1, anchor="00:00:00.25"), NOON + timedelta(seconds=0.25)),
        (every(days=1, anchor="9:00"), NOON + timedelta(hours=21)),
        (every(weeks=1, anchor=datetime(2030, 1, 7, 8, tzinfo=UTC)), datetime(2026, 1, 5, 8, tzinfo=UTC)),  # Mondays
        (every(days=1, anchor=datetime(2026, 1, 1, 9, tzinfo=timezone(timedelta(hours=2)))), NOON + timedelta(hours=19)),
    ],
)
def test_what_follows_noon(spec: Every, expected: datetime) -> None:
    assert spec.next_after(NOON) == expected
    assert spec.next_after(NOON.astimezone(timezone(timedelta(hours=-5)))) == expected


@given(
    st.integers(1_000, 10**13),
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_slots_are_whole_intervals_from_the_anchor(microseconds: int, anchor: datetime, moment: datetime) -> None:
    interval = timedelta(microseconds=microseconds)
    spec = every(interval, anchor=anchor)
    following = spec.next_after(moment)
    assert following is not None
    assert moment < following <= moment + interval
    assert (following - anchor) % interval == timedelta()
    assert spec.next_after(following) == following + interval


def test_a_restart_changes_nothing() -> None:
    spec, moment, slots = every(1 / 3), NOON, list[datetime]()
    while moment < NOON + timedelta(seconds=100):
        following = spec.next_after(moment)
        assert following is not None
        slots.append(following)
        moment = following
    assert len(slots) == pytest.approx(300, abs=1)
    assert {later - earlier for earlier, later in pairwise(slots)} == {timedelta(microseconds=333_333)}
    assert every(1 / 3).next_after(slots[150] + timedelta(microseconds=1)) == slots[151]


def test_the_phase_decides_about_equality() -> None:
    assert every(3600) == every(hours=1) == every(timedelta(hours=1)) == every(minutes=60, anchor="05:00")
    assert every(hours=1, anchor="00:25") == every(hours=1, anchor="07:25") != every(hours=1)
    assert len({every(60), every(minutes=1)}) == 1


@pytest.mark.parametrize(
    "value", [0, 0.0005, timedelta(), -1, timedelta(seconds=-1), math.nan, math.inf, True, "5", [5], 1e300]
)
def test_what_is_no_interval_is_refused(value: float) -> None:
    with pytest.raises(InvalidOptions, match=r"^every="):
        every(value)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"hours": 0}, "every=0.0: expected 0.001 seconds to 100 years"),
        ({"hours": -1}, "hours=-1: expected a number, 0 or more"),
        ({"hours": math.nan}, "hours=nan: expected a number, 0 or more"),
        ({"minutes": True}, "minutes=True: expected a number, 0 or more"),
        ({"days": timedelta(days=1)}, "days=datetime.timedelta(days=1): expected a number, 0 or more"),
        ({}, "every=None: expected either seconds, as in every(0.5), or words, as in every(hours=1)"),
        ({"interval": 5, "hours": 1}, "every=5: expected either seconds, as in every(0.5), or words, as in every(hours=1)"),
    ],
)
def test_words_that_make_no_sense_are_refused(words: dict[str, float], problem: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        every(**words)
    assert str(caught.value) == problem


@pytest.mark.parametrize("anchor", ["24:00", "1", "00:60", "noon", "00:25 ", 25, True, datetime(2026, 1, 1)])
def test_what_is_no_anchor_is_refused(anchor: str) -> None:
    with pytest.raises(InvalidOptions, match=r"^anchor="):
        every(hours=1, anchor=anchor)


def test_the_calendar_has_an_end() -> None:
    assert every(days=1).next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert every(days=1, anchor="12:00").next_after(datetime.min.replace(tzinfo=UTC)) == datetime(1, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (every(0.5), "every 0.5 seconds"),
        (every(1), "every second"),
        (every(hours=1), "every hour, at 00:00, 01:00 ... UTC"),
        (every(hours=1, anchor="00:25"), "every hour, at 00:25, 01:25 ... UTC"),
        (every(90), "every 90 seconds, at 00:00, 00:01:30 ... UTC"),
        (every(days=1, anchor="09:00"), "every day, at 09:00 UTC"),
        (every(hours=7), "every 7 hours, counted from 1970-01-01 00:00 UTC"),
        (every(weeks=1, anchor=datetime(2026, 1, 5, tzinfo=UTC)), "every week, counted from 1970-01-05 00:00 UTC"),
    ],
)
def test_words(spec: Every, words: str) -> None:
    assert spec.explain() == words
