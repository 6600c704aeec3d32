"""Cron in time zones, around each change of a wall clock, against a reference that walks through UTC minute by minute.

The reference knows nothing of `fold` or of offsets: it looks at the wall each minute. What the wall shows for the first time
happens then; what it has leapt over happens at the leap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zlib import crc32
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nursery_tasks.scheduling import cron

FIRST, LAST = datetime(2017, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)  # Brazil had summer time until 2019
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NAMED = [
    "Europe/Rome",
    "Pacific/Chatham",  # changes at 02:45
    "Antarctica/Troll",  # by two hours
    "Australia/Lord_Howe",  # by half an hour
    "America/Sao_Paulo",  # at midnight, in the years when it did
    "Asia/Kolkata",  # never
]
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
SPAN = (-2 * HOUR, 27 * HOUR)  # around each change

# The expression, and the same rule in the words of this test.
EXPRESSIONS: dict[str, Callable[[datetime], bool]] = {
    "* * * * *": lambda wall: True,
    "*/15 * * * *": lambda wall: wall.minute % 15 == 0,
    "0 * * * *": lambda wall: wall.minute == 0,
    "0 0 * * *": lambda wall: (wall.hour, wall.minute) == (0, 0),
    "30 2,14 * * *": lambda wall: wall.minute == 30 and wall.hour in (2, 14),
    "*/20 0-3 * * *": lambda wall: wall.minute % 20 == 0 and wall.hour <= 3,
    "15,50 1-3 * * sat,sun": lambda wall: wall.minute in (15, 50) and 1 <= wall.hour <= 3 and wall.weekday() >= 5,
    "59 23 * * *": lambda wall: (wall.hour, wall.minute) == (23, 59),
}

Change = tuple[str, datetime]  # a zone, and the first whole hour after a change


def changes_of(zone: str, step: timedelta = DAY, first: datetime = FIRST, last: datetime = LAST) -> list[Change]:
    """The changes of a zone's wall clock, to the hour; found by looking whether it goes on evenly."""
    place = ZoneInfo(zone)
    moments = [first + number * step for number in range((last - first) // step)]
    walls = [moment.astimezone(place).replace(tzinfo=None) for moment in moments]
    found: list[Change] = []
    for begin, (wall_begin, wall_end) in zip(moments, pairwise(walls), strict=False):
        if wall_end - wall_begin != step:
            hours = [begin + number * HOUR for number in range(step // HOUR + 1)]
            uneven = [each for each in hours if each.astimezone(place).replace(tzinfo=None) - wall_begin != each - begin]
            found.append((zone, uneven[0]))
    return found


def reference(zone: str, begin: datetime, end: datetime) -> list[tuple[datetime, list[datetime]]]:
    """For each minute of UTC, the times on the wall that happen then."""
    place = ZoneInfo(zone)
    seen = set[datetime]()
    due: list[tuple[datetime, list[datetime]]] = []
    moment, expected = begin - 3 * HOUR, None
    while moment <= end:
        wall = moment.astimezone(place).replace(tzinfo=None, fold=0)
        happening: list[datetime] = []
        leapt = wall if expected is None else expected
        while leapt < wall:  # the clock was put forward: nobody has seen these
            happening.append(leapt)
            leapt += MINUTE
        happening.append(wall)
        due.append((moment, [each for each in happening if each not in seen]))
        seen.update(happening)
        moment, expected = moment + MINUTE, wall + MINUTE
    return [(moment, walls) for moment, walls in due if moment >= begin]


def check(change: Change) -> None:
    zone, moment = change
    begin, end = moment + SPAN[0], moment + SPAN[1]
    minutes = reference(zone, begin, end)
    for expression, fits in EXPRESSIONS.items():
        wanted = [moment for moment, walls in minutes if any(map(fits, walls))]
        spec, found, base = cron(expression, tz=zone), list[datetime](), begin - timedelta(microseconds=1)
        while (following := spec.next_after(base)) is not None and following <= end:
            found.append(following)
            base = following
        assert found == wanted, (zone, moment, expression)


def _offset(zone: str, moment: datetime) -> timedelta:
    offset = moment.astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return offset


def sample() -> Iterator[Change]:
    """Of each zone one change in a year, both chosen by its name: some in spring, some in autumn."""
    for zone in ZONES:
        number = crc32(zone.encode())
        year = FIRST.year + number % (LAST.year - FIRST.year)
        changes = changes_of(zone, DAY, FIRST.replace(year=year), FIRST.replace(year=year + 1))
        if changes:
            yield changes[number % len(changes)]


@pytest.mark.parametrize("zone", NAMED)
def test_each_change_of_a_known_zone(zone: str) -> None:
    changes = changes_of(zone)
    assert len(changes) == {"Asia/Kolkata": 0, "America/Sao_Paulo": 5}.get(zone, 20)
    for change in changes or [(zone, FIRST + DAY)]:
        check(change)


def test_a_change_of_each_kind_that_a_zone_has() -> None:
    """A kind: how far the clock leaps, to what time, how far from the hour of UTC. The soak has each change of each zone."""
    alike = dict[tuple[object, object, object], Change]()
    for zone, moment in sample():
        before, after = (_offset(zone, moment + each) for each in (-HOUR, timedelta()))
        alike.setdefault((after - before, moment.astimezone(ZoneInfo(zone)).time(), before % HOUR), (zone, moment))
    assert len(alike) > 15
    for change in alike.values():
        check(change)


@pytest.mark.parametrize(
    ("zone", "expression", "base", "following"),
    [
        # The night of 2026-03-29 has no 02:00 to 02:59 in Rome; the change is at 01:00 UTC.
        ("Europe/Rome", "30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        ("Europe/Rome", "30 2,14 * * *", "2026-03-28 14:00", ["2026-03-29 01:00", "2026-03-29 12:30", "2026-03-30 00:30"]),
        ("Europe/Rome", "*/20 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:00"]),
        ("Europe/Rome", "0 2,3 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:00"]),
        ("Europe/Rome", "15 30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:30:15"]),
        # A base inside the second of the change, before it and after it.
        ("Europe/Rome", "30 2,14 * * *", "2026-03-29 00:59:59.999999", ["2026-03-29 01:00"]),
        ("Europe/Rome", "30 2,14 * * *", "2026-03-29 01:00", ["2026-03-29 12:30"]),
        ("Europe/Rome", "30 2,14 * * *", "2026-03-29 01:00:00.5", ["2026-03-29 12:30"]),
        # 2026-10-25 has 02:00 to 02:59 twice, from 00:00 UTC and from 01:00 UTC on.
        ("Europe/Rome", "30 2 * * *", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        ("Europe/Rome", "45 2 * * *", "2026-10-25 01:30", ["2026-10-26 01:45"]),  # a base in the second of the two hours
        ("Europe/Rome", "*/30 * * * *", "2026-10-25 00:10", ["2026-10-25 00:30", "2026-10-25 02:00"]),
        ("Europe/Rome", "* * * * * *", "2026-10-25 01:30", ["2026-10-25 02:00", "2026-10-25 02:00:01"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 00:00", ["2026-10-03 15:30", "2026-10-04 15:15"]),
        ("Antarctica/Troll", "30 1 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-29 23:30"]),
        ("America/Sao_Paulo", "0 0 * * *", "2018-11-03 12:00", ["2018-11-04 03:00", "2018-11-05 02:00"]),
        ("Pacific/Chatham", "0 3 * * *", "2026-09-26 00:00", ["2026-09-26 14:00", "2026-09-27 13:15"]),
        # Samoa had no 30 December 2011, and no time of it: all of them are the first instant of the 31st.
        ("Pacific/Apia", "0 9 * * *", "2011-12-29 00:00", ["2011-12-29 19:00", "2011-12-30 10:00", "2011-12-30 19:00"]),
    ],
)
def test_the_rule(zone: str, expression: str, base: str, following: list[str]) -> None:
    spec, moment = cron(expression, tz=zone), datetime.fromisoformat(base).replace(tzinfo=UTC)
    for each in following:
        after = spec.next_after(moment)
        assert after == datetime.fromisoformat(each).replace(tzinfo=UTC)
        moment = after


def test_a_base_that_does_not_exist_on_the_wall_is_the_moment_that_python_takes_it_for() -> None:
    base = datetime(2026, 3, 29, 2, 30, tzinfo=ZoneInfo("Europe/Rome"))  # 03:30, by PEP 495
    assert cron("0 * * * *", tz="Europe/Rome").next_after(base) == datetime(2026, 3, 29, 2, tzinfo=UTC)


@given(
    st.sampled_from(ZONES),
    st.sampled_from(sorted(EXPRESSIONS)),
    st.datetimes(datetime(1950, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
)
def test_what_follows_is_later_and_nothing_lies_between(zone: str, expression: str, base: datetime) -> None:
    spec = cron(expression, tz=zone)
    following = spec.next_after(base)
    assert following is not None
    assert following > base
    assert following.tzinfo is UTC
    middle = base + (following - base) / 2
    assert spec.next_after(middle) == following
    assert spec.next_after(following - timedelta(microseconds=1)) == following


@pytest.mark.soak
def test_each_change_of_each_zone() -> None:
    changes = [change for zone in ZONES for change in changes_of(zone, 3 * HOUR)]
    assert len(changes) > 2000
    for change in changes:
        check(change)
