"""Cron expressions, beside another reader of them: in UTC the two must find the same."""

from __future__ import annotations

from datetime import UTC, datetime

import cronsim
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nursery_tasks.errors import InvalidCron
from nursery_tasks.scheduling import cron


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ordered = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.builds("{}/{}".format, st.one_of(st.just("*"), ordered.filter(lambda r: len(set(r.split("-"))) > 1)), number)
    one = st.one_of(number.map(str), ordered, step.filter(lambda item: not item.endswith("/0")))
    return st.one_of(st.just("*"), one, st.lists(one, min_size=2, max_size=3).map(",".join))


WEEKDAY = st.one_of(field(0, 6), st.builds("{}#{}".format, st.integers(0, 6), st.integers(1, 5)), st.just("5L"))
DAY = st.one_of(field(1, 28), st.sampled_from(["L", "LW", "31"]))
LINES = st.builds("{} {} {} {} {} {}".format, field(0, 59), field(0, 59), field(0, 23), DAY, field(1, 12), WEEKDAY)


@given(LINES, st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1)))
@example("0 0 0 */8 * 0#5", datetime(2000, 1, 1))
@example("0 0 0 * 2 1#5", datetime(2016, 3, 1))
@example("59 59 23 31 12 *", datetime(2026, 12, 31, 23, 59, 59))
def test_another_reader_finds_the_same(line: str, base: datetime) -> None:
    try:
        expected = next(cronsim.CronSim(line, base), None)  # a base without a zone: about zones the two differ
    except cronsim.CronSimError:
        expected = None
    if expected is None:  # it looks at 50 years, which is enough
        with pytest.raises(InvalidCron, match="no such day ever comes"):
            cron(line)
    else:
        assert cron(line).next_after(base.replace(tzinfo=UTC)) == expected.replace(tzinfo=UTC)
