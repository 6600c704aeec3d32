"""`sun()`, against an almanac, and at places where days are odd."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nursery_tasks.errors import InvalidOptions, MissingPackage
from nursery_tasks.scheduling import parse_spec, sun

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def a_year(event: str, latitude: float, longitude: float, count: int = 365) -> list[datetime]:
    spec, found, moment = sun(event, latitude=latitude, longitude=longitude), list[datetime](), BEGIN  # type: ignore[arg-type]
    for _ in range(count):
        following = spec.next_after(moment)
        assert following is not None
        found.append(following)
        moment = following
    return found


LONDON, NEW_YORK, SYDNEY, TOKYO = (51.5074, -0.1278), (40.7128, -74.006), (-33.8688, 151.2093), (35.6762, 139.6503)


@pytest.mark.parametrize(
    ("event", "place", "day", "expected"),
    [
        ("sunrise", LONDON, "2024-06-21", "03:43"),
        ("sunset", LONDON, "2024-06-21", "20:21"),
        ("sunrise", LONDON, "2024-12-21", "08:04"),
        ("sunset", LONDON, "2024-12-21", "15:53"),
        ("sunrise", NEW_YORK, "2024-06-21", "09:25"),
        ("sunset", NEW_YORK, "2024-12-21", "21:32"),
        ("sunset", SYDNEY, "2024-06-21", "06:54"),
        ("sunset", TOKYO, "2025-01-01", "07:38"),
        ("noon", (0, 0), "2025-11-03", "11:43:30"),  # the equation of time at its most
    ],
)
def test_an_almanac_says_the_same(event: str, place: tuple[float, float], day: str, expected: str) -> None:
    spec = sun(event, latitude=place[0], longitude=place[1])  # type: ignore[arg-type]
    found = spec.next_after(datetime.fromisoformat(f"{day}T00:00Z"))
    assert found is not None
    assert abs(found - datetime.fromisoformat(f"{day}T{expected}Z")) < timedelta(minutes=2)


@pytest.mark.parametrize("longitude", [-180, -179.9, -122.4, -90, 0, 12.5, 90, 139.7, 174.8, 179.9, 180])
@pytest.mark.parametrize("event", ["dawn", "sunrise", "noon", "sunset", "nautical_dusk"])
def test_each_day_has_one_at_any_longitude(event: str, longitude: float) -> None:
    found = a_year(event, 41.9, longitude)
    assert found[-1] - BEGIN == pytest.approx(365 * DAY, abs=DAY)
    for earlier, later in pairwise(found):
        assert later - earlier == pytest.approx(DAY, abs=timedelta(minutes=4))


def test_the_events_of_a_day_are_in_order() -> None:
    events = [
        "astronomical_dawn",
        "nautical_dawn",
        "dawn",
        "sunrise",
        "noon",
        "sunset",
        "dusk",
        "nautical_dusk",
        "astronomical_dusk",
    ]
    found = [a_year(event, 41.9, 12.5, 1)[0] for event in events]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


def test_where_the_sun_does_not_set_the_next_sunset_is_weeks_away() -> None:
    tromso = sun("sunset", latitude=69.65, longitude=18.96)
    last = tromso.next_after(datetime(2026, 5, 10, tzinfo=UTC))
    after = tromso.next_after(datetime(2026, 6, 1, tzinfo=UTC))
    assert last is not None
    assert after is not None
    assert last.month == 5
    assert datetime(2026, 7, 20, tzinfo=UTC) < after < datetime(2026, 8, 1, tzinfo=UTC)


@given(
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.sampled_from(["sunrise", "sunset", "noon", "astronomical_dusk"]),
    st.datetimes(timezones=st.just(UTC)),
)
def test_any_place_at_any_time(latitude: float, longitude: float, event: str, moment: datetime) -> None:
    following = sun(event, latitude=latitude, longitude=longitude).next_after(moment)  # type: ignore[arg-type]
    assert following is None or following > moment
    if event == "noon" and moment.year < 9999:
        assert following is not None
        assert following - moment < timedelta(hours=25)


@pytest.mark.parametrize(
    ("event", "latitude", "longitude", "option"),
    [
        ("sundown", 1, 2, "sun"),
        (None, 1, 2, "sun"),
        (["sunset"], 1, 2, "sun"),
        ("sunset", 90.1, 2, "latitude"),
        ("sunset", math.nan, 2, "latitude"),
        ("sunset", True, 2, "latitude"),
        ("sunset", "41", 2, "latitude"),
        ("sunset", 1, -181, "longitude"),
        ("sunset", 1, math.inf, "longitude"),
    ],
)
def test_what_is_no_event_or_no_place_is_refused(event: str, latitude: float, longitude: float, option: str) -> None:
    with pytest.raises(InvalidOptions, match=f"^{option}="):
        sun(event, latitude=latitude, longitude=longitude)  # type: ignore[arg-type]


def test_without_astral_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = sun("sunset", latitude=41.9, longitude=12.5).to_text()
    for name in ("astral", "astral.sun", "astral.julian"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackage, match=r"pip install 'nursery-tasks\[solar\]'$"):
        sun("sunset", latitude=41.9, longitude=12.5)
    spec = parse_spec(stored)  # a worker without astral can still list it
    assert spec.explain() == "at sunset, at latitude 41.9, longitude 12.5"
    with pytest.raises(MissingPackage):
        spec.next_after(BEGIN)
