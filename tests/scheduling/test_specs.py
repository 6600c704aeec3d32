"""What all specs share: moments with a zone, a text form, a repr that makes the same one. And `at()` and `any_of()`."""

from __future__ import annotations

import copy
import datetime as datetime_module
import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nursery_tasks.errors import InvalidCron, InvalidOptions
from nursery_tasks.scheduling import AnySpec, any_of, at, cron, every, parse_spec, sun

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MAKERS = {"any_of": any_of, "at": at, "cron": cron, "every": every, "sun": sun, "datetime": datetime_module}

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
places = st.builds(
    sun, st.sampled_from(["sunset", "nautical_dawn"]), latitude=st.floats(-90, 90), longitude=st.floats(-180, 180)
)
crons = st.builds(
    cron,
    st.sampled_from(["0 9 * * mon-fri", "@daily", "0 0 l * friL", "*/10 * * * * *"]),
    tz=st.sampled_from(["UTC", "Asia/Kolkata", ZoneInfo("Europe/Rome"), UTC]),
)
intervals = st.builds(
    every,
    st.one_of(st.floats(0.001, 3e9), st.integers(1, 10**8), st.timedeltas(timedelta(seconds=1), timedelta(days=30_000))),
    anchor=st.one_of(st.none(), moments),
)
single = st.one_of(places, crons, intervals, st.builds(at, moments))
specs = st.one_of(single, st.lists(single, min_size=1, max_size=4).map(lambda parts: any_of(*parts)))


@given(specs)
def test_the_text_form_and_the_repr_make_the_same_spec(spec: AnySpec) -> None:
    assert parse_spec(spec.to_text()) == spec
    assert parse_spec(spec.to_text()).to_text() == spec.to_text()
    assert eval(repr(spec), MAKERS) == spec
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec
    assert hash(parse_spec(spec.to_text())) == hash(spec)


@given(specs, moments)
def test_what_follows_comes_later_and_is_utc(spec: AnySpec, moment: datetime) -> None:
    following = spec.next_after(moment)
    assert following is None or (following > moment and following.tzinfo is UTC)
    assert spec.explain()


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (every(0.5), '{"kind":"every","interval_us":500000}'),
        (every(hours=1, anchor="00:25"), '{"kind":"every","interval_us":3600000000,"phase_us":1500000000}'),
        (cron("@daily"), '{"kind":"cron","expression":"@daily"}'),
        (cron("0 9 * * MON-FRI", tz="Europe/Rome"), '{"kind":"cron","expression":"0 9 * * mon-fri","tz":"Europe/Rome"}'),
        (at(NOON), '{"kind":"at","moment":"2026-01-01T12:00:00Z"}'),
        (sun("noon", latitude=1.5, longitude=-2), '{"kind":"sun","event":"noon","latitude":1.5,"longitude":-2}'),
        (
            any_of(every(60), at(NOON)),
            '{"kind":"any","specs":[{"kind":"every","interval_us":60000000},{"kind":"at","moment":"2026-01-01T12:00:00Z"}]}',
        ),
    ],
)
def test_the_text_form(spec: AnySpec, text: str) -> None:
    assert spec.to_text() == text
    assert parse_spec(text.encode()) == spec


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Input data was truncated"),
        ("every 5", "JSON is malformed"),
        ('{"kind":"moon"}', "Invalid value 'moon'"),
        ('{"kind":"cron","expression":"@daily","holidays":"it"}', "unknown field `holidays`"),
        ('{"kind":"at","moment":"2026-01-01T12:00:00"}', "timezone"),
        ('{"kind":"every","interval_us":0}', "0.001 seconds to 100 years"),
        ('{"kind":"every","interval_us":1000,"phase_us":1000}', "less than the interval"),
        ('{"kind":"cron","expression":"@daily","tz":"Mars/Base"}', "the name of a time zone"),
        ('{"kind":"any","specs":[]}', "1 to 100 specs"),
    ],
)
def test_a_text_that_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        parse_spec(text)
    assert problem in str(caught.value)


def test_the_error_of_a_stored_expression_is_that_of_the_expression() -> None:
    with pytest.raises(InvalidCron, match="hour='25'"):
        parse_spec('{"kind":"cron","expression":"0 25 * * *"}')


def test_a_stored_spec_is_tidied_as_a_new_one_is() -> None:
    assert parse_spec('{"kind":"cron","expression":" 0 9 * *  MON "}') == cron("0 9 * * mon")
    assert parse_spec('{"kind":"at","moment":"2026-01-01T14:00:00+02:00"}').to_text() == at(NOON).to_text()


# --- moments ---------------------------------------------------------------------------------------------------------------


class Nowhere(tzinfo):
    """A zone that does not know its offset."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None


@pytest.mark.parametrize("spec", [every(1), cron("@daily"), at(NOON), any_of(every(1), at(NOON))])
@pytest.mark.parametrize(
    "moment", [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=Nowhere()), date(2026, 1, 1), 5.0, None, "now"]
)
def test_a_moment_without_a_zone_is_refused(spec: AnySpec, moment: datetime) -> None:
    with pytest.raises(InvalidOptions, match=r"^moment=.*: expected a datetime with a time zone"):
        spec.next_after(moment)


def test_a_moment_that_utc_has_not_is_refused() -> None:
    with pytest.raises(InvalidOptions, match="between the years 1 and 9999"):
        every(1).next_after(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))))


# --- one moment, several specs ---------------------------------------------------------------------------------------------


def test_one_moment() -> None:
    spec = at(datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))))
    assert spec == at(NOON)
    assert spec.next_after(NOON - timedelta(microseconds=1)) == NOON
    assert spec.next_after(NOON) is None
    assert spec.explain() == "once, at 2026-01-01 12:00:00 UTC"


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), date(2026, 1, 1), "2026-01-01", 5, True, None])
def test_what_is_no_moment_is_refused(moment: datetime) -> None:
    with pytest.raises(InvalidOptions, match=r"^at=.*: expected a datetime with a time zone"):
        at(moment)


def test_several_specs_are_one() -> None:
    spec = any_of(cron("0 9 * * mon-fri"), cron("0 11 * * sat"), at(NOON))
    found, moment = list[str](), NOON - timedelta(hours=3)
    for _ in range(5):
        following = spec.next_after(moment)
        assert following is not None
        found.append(f"{following:%a %H:%M}")
        moment = following
    assert found == ["Thu 12:00", "Fri 09:00", "Sat 11:00", "Mon 09:00", "Tue 09:00"]
    assert (
        spec.explain() == "at 09:00 on Monday to Friday, in UTC; at 11:00 on Saturday, in UTC; once, at 2026-01-01 12:00:00 UTC"
    )
    assert any_of(at(NOON), at(NOON + timedelta(1))).next_after(NOON + timedelta(1)) is None


def test_what_two_of_them_name_happens_once() -> None:
    spec = any_of(every(hours=1), every(minutes=30))
    assert spec.next_after(NOON + timedelta(minutes=30)) == NOON + timedelta(hours=1)
    assert spec.next_after(NOON + timedelta(hours=1)) == NOON + timedelta(hours=1, minutes=30)


def test_specs_of_specs_are_flat_and_each_is_there_once() -> None:
    assert any_of(any_of(every(1), every(2)), every(1), every(3)) == any_of(every(1), every(2), every(3))
    assert any_of(every(1), every(seconds=1)) == every(1)


@pytest.mark.parametrize("parts", [[], [5], [None], ["@daily"], [[every(1)]], [every(n) for n in range(1, 102)]])
def test_what_is_no_spec_is_refused(parts: list[AnySpec]) -> None:
    with pytest.raises(InvalidOptions, match=r"^schedule="):
        any_of(*parts)


# --- the package -----------------------------------------------------------------------------------------------------------


def test_a_program_without_schedules_does_not_load_them() -> None:
    program = """
import sys, nursery_tasks
assert not [name for name in sys.modules if name.startswith(("nursery_tasks.scheduling", "zoneinfo", "astral"))]
from nursery_tasks import *
assert cron("@daily") and every(5) and not hasattr(nursery_tasks, "nothing")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
