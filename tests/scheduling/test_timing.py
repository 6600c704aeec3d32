"""What a schedule adds to its spec: jitter, a start, an end, a limit."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nursery_tasks.errors import InvalidOptions
from nursery_tasks.scheduling import any_of, at, cron, every
from nursery_tasks.scheduling.moments import of_epoch
from nursery_tasks.scheduling.timing import Timing, timing

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_start_and_end_are_included_and_move_nothing() -> None:
    hourly = timing(every(hours=1), start=NOON, end=NOON + 2 * HOUR)
    assert hourly.next_after(NOON - 10 * HOUR) == NOON
    assert hourly.next_after(NOON) == NOON + HOUR
    assert hourly.next_after(NOON + HOUR) == NOON + 2 * HOUR
    assert hourly.next_after(NOON + 2 * HOUR) is None
    late = timing(every(hours=1), start=NOON + timedelta(minutes=10))
    assert late.next_after(NOON) == NOON + HOUR


def test_a_limit_counts_runs() -> None:
    thrice = timing([cron("0 9 * * *"), cron("0 21 * * *")], limit=3)
    assert thrice.spec == any_of(cron("0 9 * * *"), cron("0 21 * * *"))
    assert thrice.next_after(NOON, runs=2) == NOON + 9 * HOUR
    assert thrice.next_after(NOON, runs=3) is None


def test_it_travels_as_text() -> None:
    made = timing([cron("0 9 * * *", tz="Asia/Kolkata"), at(NOON)], jitter=0.5, start=NOON, end=NOON + HOUR, limit=3)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Timing) == made


def test_without_jitter_a_slot_is_due_when_it_is() -> None:
    assert timing(every(1)).due_at("poll", NOON) == NOON


def test_jitter_is_the_same_everywhere() -> None:
    nightly = timing(cron("0 2 * * *"), jitter=30)
    # These numbers are kept for ever: another version, on another machine, must come to the same.
    slot = datetime(2026, 1, 2, 2, tzinfo=UTC)
    assert nightly.due_at("nightly", slot) - slot == timedelta(microseconds=20_480_341)
    assert nightly.due_at("hourly", slot) - slot == timedelta(microseconds=3_089_285)
    assert nightly.due_at("nightly", slot + 24 * HOUR) - slot != nightly.due_at("nightly", slot) - slot


def test_jitter_spreads() -> None:
    nightly, slot = timing(cron("0 2 * * *"), jitter=100), datetime(2026, 1, 2, 2, tzinfo=UTC)
    waits = [(nightly.due_at(f"tenant-{number}", slot) - slot).total_seconds() for number in range(1000)]
    assert 0 <= min(waits) < 1
    assert 99 < max(waits) < 100
    assert sum(waits) / 1000 == pytest.approx(50, abs=3)


@given(st.text(), st.floats(0, 1e6), st.floats(0.001, 1e5), st.datetimes(timezones=st.just(UTC)))
def test_slots_are_due_in_their_order(name: str, jitter: float, interval: float, moment: datetime) -> None:
    schedule = timing(every(interval), jitter=jitter)
    slot = schedule.next_after(moment)
    following = None if slot is None else schedule.next_after(slot)
    if slot is not None and following is not None:
        assert slot <= schedule.due_at(name, slot) < following


def test_the_last_slot_has_all_of_its_jitter() -> None:
    once = timing(at(NOON), jitter=3600)
    dues = [once.due_at(str(number), NOON) for number in range(100)]
    assert NOON <= min(dues) < NOON + timedelta(minutes=5)
    assert NOON + timedelta(minutes=55) < max(dues) <= NOON + HOUR


@pytest.mark.parametrize("jitter", [0, 3600])
def test_the_last_moment_of_all_is_one(jitter: float) -> None:
    latest = datetime.max.replace(tzinfo=UTC)
    due = timing(at(latest), jitter=jitter).due_at("once", latest)
    assert due == latest
    assert of_epoch(due.timestamp()) == latest  # which as a float is in the year 10000


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"jitter": -1}, "jitter"),
        ({"jitter": math.nan}, "jitter"),
        ({"jitter": True}, "jitter"),
        ({"start": datetime(2026, 1, 1)}, "start"),
        ({"end": "2026"}, "end"),
        ({"start": NOON, "end": NOON - HOUR}, "end"),
        ({"limit": 0}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": 2**64}, "limit"),
        ({"limit": True}, "limit"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], option: str) -> None:
    with pytest.raises(InvalidOptions, match=f"^{option}="):
        timing(every(1), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [None, 5, "@daily", timedelta(seconds=1), [], {}, [every(1), 2], Timing])
def test_what_is_no_spec_is_refused(spec: object) -> None:
    with pytest.raises(InvalidOptions, match=r"^schedule="):
        timing(spec)
