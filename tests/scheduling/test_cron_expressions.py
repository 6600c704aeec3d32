"""What a cron expression may say, which moments those are, and what is said when it makes no sense."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nursery_tasks.errors import InvalidCron, InvalidOptions
from nursery_tasks.scheduling import Spec, cron

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday


def some(spec: Spec, count: int, moment: datetime = BEGIN) -> list[datetime]:
    found: list[datetime] = []
    while len(found) < count and (following := spec.next_after(moment)) is not None:
        found.append(following)
        moment = following
    return found


def days(expression: str, count: int) -> list[str]:
    return [f"{moment:%m-%d}" for moment in some(cron(f"0 0 {expression}"), count, BEGIN - timedelta(seconds=1))]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * *", ["01-01", "01-02"]),
        ("*/10 * *", ["01-01", "01-11", "01-21", "01-31", "02-01"]),
        ("10/10 * *", ["01-10", "01-20", "01-30", "02-10"]),
        ("28-2 * *", ["01-01", "01-02", "01-28", "01-29"]),
        ("L * *", ["01-31", "02-28", "03-31"]),
        ("l,1 feb *", ["02-01", "02-28", "02-01"]),
        ("LW * *", ["01-30", "02-27", "03-31"]),  # 31 January and 28 February are Saturdays
        ("31 * *", ["01-31", "03-31", "05-31"]),
        ("* * sat-sun", ["01-03", "01-04", "01-10"]),
        ("* * 6-7", ["01-03", "01-04", "01-10"]),
        ("* * fri-mon/3", ["01-02", "01-05", "01-09"]),
        ("* * 0,7", ["01-04", "01-11"]),
        ("* * 7/2", ["01-01", "01-03", "01-04", "01-06"]),
        ("* * 7-1", ["01-04", "01-05", "01-11"]),
        ("* * mon#2", ["01-12", "02-09"]),
        ("* * MON#1,Friday#5,satL", ["01-05", "01-30", "01-31", "02-02", "02-28"]),
        ("* * 7L", ["01-25", "02-22"]),
        ("1 January,jul-aug *", ["01-01", "07-01", "08-01", "01-01"]),
        ("1 nov-feb/2 *", ["01-01", "11-01", "01-01"]),
        ("13 * fri", ["01-02", "01-09", "01-13", "01-16"]),  # one of the two is enough
        ("*/13 * fri", ["02-27", "03-27", "05-01"]),  # days 1, 14 and 27, and Fridays: it begins with a star
        ("13 * */2", ["01-13", "06-13", "08-13"]),  # on Sundays, Tuesdays, Thursdays and Saturdays
    ],
)
def test_days(expression: str, expected: list[str]) -> None:
    found = days(expression, len(expected))
    if expression == "13 * */2":
        expected = [f"{each:%m-%d}" for each in some(cron("0 0 13 * *"), 12) if each.isoweekday() in (2, 4, 6, 7)][:3]
    assert found == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/25 9 * * *", ["09:00:00", "09:25:00", "09:50:00", "09:00:00"]),
        ("5/20 9 * * *", ["09:05:00", "09:25:00", "09:45:00"]),
        ("0 22-2 * * *", ["01:00:00", "02:00:00", "22:00:00", "23:00:00", "00:00:00"]),
        ("0 22-2/2 * * *", ["02:00:00", "22:00:00", "00:00:00"]),
        ("55-5/5 7 * * *", ["07:00:00", "07:05:00", "07:55:00"]),
        ("*/20 59 23 * * *", ["23:59:00", "23:59:20", "23:59:40", "23:59:00"]),
        ("30 * * * * *", ["00:00:30", "00:01:30"]),
        ("@hourly", ["01:00:00", "02:00:00"]),
        ("@DAILY", ["00:00:00", "00:00:00"]),
        ("  1\t2  * * * ", ["02:01:00"]),
    ],
)
def test_times(expression: str, expected: list[str]) -> None:
    assert [f"{moment:%H:%M:%S}" for moment in some(cron(expression), len(expected))] == expected


@pytest.mark.parametrize(
    ("nickname", "expected"),
    [
        ("@weekly", datetime(2026, 1, 4, tzinfo=UTC)),
        ("@monthly", datetime(2026, 2, 1, tzinfo=UTC)),
        ("@yearly", datetime(2027, 1, 1, tzinfo=UTC)),
        ("@annually", datetime(2027, 1, 1, tzinfo=UTC)),
        ("@midnight", datetime(2026, 1, 2, tzinfo=UTC)),
    ],
)
def test_nicknames(nickname: str, expected: datetime) -> None:
    assert cron(nickname).next_after(BEGIN) == expected


NUMBERS = "*, lists (1,2), ranges (1-5), steps (*/2)"
FIELDS = "5 fields (minute hour day-of-month month day-of-week), 6 with the second in front, or @daily and the like"
DAYS = f"1 to 31, L (the last day), LW (the last weekday), {NUMBERS}"
WEEKDAYS = f"0 to 7 (0 and 7 are Sunday), sun to sat, mon#2 (the second Monday), friL (the last Friday), {NUMBERS}"


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("0 25 * * *", f"hour='25': expected 0 to 23, {NUMBERS}"),
        ("60 0 * * *", f"minute='60': expected 0 to 59, {NUMBERS}"),
        ("61 0 0 * * *", f"second='61': expected 0 to 59, {NUMBERS}"),
        ("0 0 0 * *", f"day of the month='0': expected {DAYS}"),
        ("0 0 1-32 * *", f"day of the month='32' in '1-32': expected {DAYS}"),
        ("0 0 1,,2 * *", f"day of the month='' in '1,,2': expected {DAYS}"),
        ("0 0 15W * *", f"day of the month='15w': expected {DAYS}"),
        ("0 0 ? * mon", "day of the month='?': expected * for every day"),
        ("0 0 1 13 *", f"month='13': expected 1 to 12, jan to dec, {NUMBERS}"),
        ("0 0 * * mno", f"day of the week='mno': expected {WEEKDAYS}"),
        ("0 0 * * 8", f"day of the week='8': expected {WEEKDAYS}"),
        ("0 0 * * L", f"day of the week='l': expected {WEEKDAYS}"),
        ("0 0 * * mon#6", "day of the week='mon#6': expected 1 to 5 behind the #"),
        ("-5 0 * * *", f"minute='-5': expected 0 to 59, {NUMBERS}"),
        ("1- 0 * * *", f"minute='1-': expected 0 to 59, {NUMBERS}"),
        ("*-5 0 * * *", f"minute='*-5': expected 0 to 59, {NUMBERS}"),
        ("1.5 0 * * *", f"minute='1.5': expected 0 to 59, {NUMBERS}"),
        ("٣ 0 * * *", f"minute='٣': expected 0 to 59, {NUMBERS}"),
        ("*/0 * * * *", "minute='*/0': expected a step from 1 to 60"),
        ("*/90 * * * *", "minute='*/90': expected a step from 1 to 60; every(minutes=90) has longer intervals"),
        ("0 */48 * * *", "hour='*/48': expected a step from 1 to 24; every(hours=48) has longer intervals"),
        ("0 0 30 2 *", "no such day ever comes: expected days that its months have, such as 28 or L in February"),
        ("0 0 31 4,jun,sep,11 *", "no such day ever comes: expected days that its months have, such as 28 or L in February"),
        ("0 0 */31 * mon#2", "no such day ever comes: expected days that its months have, such as 28 or L in February"),
        ("", f"0 fields: expected {FIELDS}"),
        ("*", f"1 field: expected {FIELDS}"),
        ("0 0 12 * * ? 2030", f"7 fields: expected {FIELDS}; years are for start= and end="),
        ("@reboot", "@reboot: expected a time; what a program does when it starts belongs into its lifespan"),
        ("@every 5m", "@every 5m: expected every(minutes=5) for equal distances in time"),
        (
            "@dayly",
            "@dayly: expected one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly",
        ),
        ("1," * 300 + "1 * * * *", "609 characters: expected at most 500"),
    ],
)
def test_an_error_names_the_field_what_came_and_what_is_possible(expression: str, problem: str) -> None:
    with pytest.raises(InvalidCron) as caught:
        cron(expression)
    assert str(caught.value).partition("): ")[2] == problem
    assert str(caught.value).startswith("cron(")
    assert isinstance(caught.value, InvalidOptions)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [None, 5, True, b"* * * * *", ["*"] * 5])
def test_what_is_no_text_is_no_expression(value: object) -> None:
    with pytest.raises(InvalidCron, match=f"{type(value).__name__}: expected 5 fields"):
        cron(value)  # type: ignore[arg-type]


@given(st.text(st.sampled_from("0123456789*/-,#LWlw?@ monfrijan \t\n\0é"), max_size=40))
@example("*/ * * * *")
@example("0 0 * * #2")
@example("0 0 * * l,L")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = cron(text)
    except InvalidCron:
        return
    assert cron(spec.expression) == spec
    assert spec.next_after(BEGIN) is not None
    assert spec.explain()


@pytest.mark.parametrize(
    ("tz", "problem"),
    [
        ("Europe/Roma", "did you mean 'Europe/Rome'?"),
        ("europe/rome", "did you mean 'Europe/Rome'?"),
        ("Rome", "did you mean 'Europe/Rome'?"),
        ("America/New York", "did you mean 'America/New_York'?"),
        ("Asia/Calcuta", "did you mean 'Asia/Calcutta'?"),
        ("right/Europe/Rome", "did you mean 'Europe/Rome'?"),
        ("CEST", "such as 'Europe/Rome' or 'UTC'"),
        ("../../etc/passwd", "such as 'Europe/Rome' or 'UTC'"),
        ("localtime", "such as 'Europe/Rome' or 'UTC'"),
        ("x" * 5000, "such as 'Europe/Rome' or 'UTC'"),
        ("a\0b", "such as 'Europe/Rome' or 'UTC'"),
        ("", "such as 'Europe/Rome' or 'UTC'"),
        (None, "such as 'Europe/Rome' or 'UTC'"),
        (2, "such as 'Europe/Rome' or 'UTC'"),
    ],
)
def test_a_zone_that_does_not_exist_suggests_the_nearest_name(tz: str, problem: str) -> None:
    with pytest.raises(InvalidOptions, match=r"^tz=.*: expected the name of a time zone") as caught:
        cron("* * * * *", tz=tz)
    assert str(caught.value).endswith(problem)


def test_the_hour_may_be_named_in_any_zone() -> None:
    spec = cron("0 9 * * mon-fri", tz="Europe/Rome")
    assert spec.next_after(datetime(2026, 1, 2, 12, tzinfo=UTC)) == datetime(2026, 1, 5, 8, tzinfo=UTC)
    assert spec.next_after(datetime(2026, 7, 1, tzinfo=UTC)) == datetime(2026, 7, 1, 7, tzinfo=UTC)


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(InvalidOptions, match="a datetime with a time zone"):
        cron("* * * * *").next_after(datetime(2026, 1, 1))


# --- bounds -----------------------------------------------------------------------------------------------------------------


def test_a_year_of_working_days_takes_no_time() -> None:
    spec, moment = cron("0 9 * * mon-fri", tz="Europe/Rome"), BEGIN
    began = time.process_time()
    found = some(spec, 261, moment)
    taken = time.process_time() - began
    assert found[-1] == datetime(2026, 12, 31, 8, tzinfo=UTC)
    assert taken < 0.1


@pytest.mark.parametrize(
    ("expression", "base", "expected"),
    [
        ("0 0 * 2 mon#5", datetime(2016, 3, 1, tzinfo=UTC), datetime(2044, 2, 29, tzinfo=UTC)),
        ("0 0 * 2 wed#5", datetime(2072, 2, 29, 12, tzinfo=UTC), None),
        ("0 0 29 2 *", datetime(2096, 3, 1, tzinfo=UTC), datetime(2104, 2, 29, tzinfo=UTC)),
    ],
)
def test_the_rarest_day_is_found_at_once(expression: str, base: datetime, expected: datetime | None) -> None:
    began = time.process_time()
    found = cron(expression, tz="America/New_York" if expected is None else "UTC").next_after(base)
    assert time.process_time() - began < 0.05
    assert found is not None
    assert found - base < timedelta(days=366 * 41)
    assert expected is None or found == expected


@pytest.mark.parametrize("tz", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_the_calendar_has_an_end(tz: str) -> None:
    spec = cron("0 0 1 1 *", tz=tz)
    assert spec.next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert cron("* * * * * *", tz=tz).next_after(datetime.max.replace(tzinfo=UTC, microsecond=0)) is None
    first = spec.next_after(datetime.min.replace(tzinfo=UTC))
    assert first is not None
    assert first.year <= 2


# --- words ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 * * mon-fri", "at 09:00 on Monday to Friday"),
        ("30 2,14 * * *", "at 02:30 and 14:30 every day"),
        ("@daily", "at 00:00 every day"),
        ("30 59 23 * * *", "at 23:59:30 every day"),
        ("* * * * *", "every minute"),
        ("* * * * * *", "every second"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("5 * * * *", "at minute 5 of every hour"),
        ("*/45 9-17 * * *", "at minutes 0 and 45 of hours 9 to 17 every day"),
        ("*/10 0-29 * * * *", "every 10 seconds in minutes 0 to 29 of every hour"),
        ("0 9-17 * * 1-5", "at the full hours 9 to 17 on Monday to Friday"),
        ("* 9 * * *", "every minute in hour 9"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 1,15,LW * *", "at 00:00 on days 1 and 15 and the last weekday of the month"),
        ("0 0 1 jan-mar *", "at 00:00 on day 1 of the month in January to March"),
        ("0 0 13 * fri", "at 00:00 on day 13 of the month and also on Friday"),
        ("0 0 */20 * mon", "at 00:00 on days 1 and 21 of the month, if it is Monday"),
        ("0 0 * * mon#2,friL", "at 00:00 on the second Monday and the last Friday of the month"),
        ("0 0 * * sat,0", "at 00:00 on Saturday and Sunday"),
        ("0 0 */2 * *", "at 00:00 on days 1, 3, 5 ... 31 of the month"),
    ],
)
def test_words(expression: str, words: str) -> None:
    assert cron(expression, tz="Europe/Rome").explain() == f"{words}, in Europe/Rome"


def test_a_zone_that_does_not_exist_is_compared_with_the_others_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may read hundreds of schedules in a zone that only another machine has."""
    looks: list[set[str]] = []

    def available() -> set[str]:
        looks.append({"Europe/Rome"})
        return looks[-1]

    monkeypatch.setattr("zoneinfo.available_timezones", available)
    for _ in range(3):
        with pytest.raises(InvalidOptions, match="did you mean 'Europe/Rome'"):
            cron("0 9 * * *", tz="Europe/Romee")
    assert len(looks) == 1
