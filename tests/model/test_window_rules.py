"""Debounces and throttles as people declare them: what is refused, and what brokers get of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nursery_tasks import App, Debounce, Throttle
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.windows import Window, check_debounce, check_throttle

LATER = datetime.now(UTC) + timedelta(hours=1)


def made_of(declared: Debounce | Throttle, **kwargs: Any) -> Window:
    return declared.for_job("save", (), kwargs, lambda: kwargs)


def test_windows_are_named_by_kind_name_and_key() -> None:
    assert made_of(Debounce(2)) == Window("debounce:save")
    assert made_of(Debounce(2, key="{document}", most=30), document=7) == Window("debounce:save 7", most_seconds=30.0)
    assert made_of(Debounce(2, name="all", key=lambda document: document[0]), document="xyz").name == "debounce:all x"
    assert made_of(Throttle(timedelta(minutes=1), key="{user}"), user="anna") == Window("throttle:save anna", 60.0)


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Debounce(0), "seconds=0: expected 0.001 seconds or more"),
    (lambda: Debounce("2"), "seconds='2': expected seconds as a number, or a timedelta"),  # type: ignore[arg-type]
    (lambda: Debounce(5, most=4), "most=4: expected 5 seconds or more: so long the first one waits anyway"),
    (lambda: Debounce(5, key="{"), "key='{': expected a template"),
    (lambda: Debounce(5, name="two words"), "name='two words': expected 1 to 200 characters without spaces"),
    (lambda: Throttle(-1), "seconds=-1: expected 0.001 seconds or more"),
    (lambda: Throttle(float("inf")), "seconds=inf: expected seconds as a number"),
    (lambda: Throttle(60, key=3), "key=3: expected a text such as"),  # type: ignore[arg-type]
    (lambda: check_debounce("debounce", 2), "debounce=2: expected Debounce(<seconds>), such as Debounce(2"),
    (lambda: check_debounce("debounce", Throttle(2)), "debounce=Throttle(2): expected Debounce(<seconds>)"),
    (lambda: check_throttle("throttle", "1/m"), "throttle='1/m': expected Throttle(<seconds>), such as Throttle(60"),
]


@pytest.mark.parametrize(("make", "problem"), WRONG)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        make()
    assert problem in str(caught.value)


TOGETHER: list[tuple[dict[str, Any], str]] = [
    ({"debounce": Debounce(2), "throttle": Throttle(2)}, "no throttle= beside debounce="),
    ({"debounce": Debounce(2), "key": "k"}, "no key= beside debounce=, which has one of its own: Debounce(..., key=...)"),
    ({"throttle": Throttle(2), "key": "k"}, "no key= beside throttle=, which has one of its own: Throttle(..., key=...)"),
    ({"debounce": Debounce(2), "delay": 5}, "delay=5.0: expected no delay= beside debounce="),
]


@pytest.mark.parametrize(("given", "problem"), TOGETHER)
def test_what_contradicts_each_other_is_refused_where_it_is_said(given: dict[str, Any], problem: str) -> None:
    app = App("memory:")
    with pytest.raises(InvalidOptions) as caught:

        @app.task(**given)
        async def save(document: str) -> None: ...

    assert problem in str(caught.value)
    first, second = given.items()
    plain = app.task(**dict([first]))(_touch)
    with pytest.raises(InvalidOptions) as caught:
        plain.options(**dict([second]))
    assert problem in str(caught.value)


async def _touch(document: str) -> None: ...


def test_a_moment_is_refused_beside_a_debounce_and_taken_beside_a_throttle() -> None:
    app = App("memory:")
    with pytest.raises(InvalidOptions, match="no at= beside debounce="):
        app.task(debounce=Debounce(2))(_touch).options(at=LATER)
    throttled = app.task(name="throttled", throttle=Throttle(2))(_touch).options(at=LATER, delay=1, id="mine")
    assert throttled.job("x").to_submission("id", 0.0, 1000).start_at == LATER.timestamp()


def test_a_key_must_name_parameters() -> None:
    app = App("memory:")
    with pytest.raises(InvalidOptions, match="names of parameters of _touch in the braces; it has document"):
        app.task(debounce=Debounce(2, key="{doc}"))(_touch)
    task = app.task(_touch)
    with pytest.raises(InvalidOptions, match="names of parameters of _touch in the braces; it has document"):
        task.options(throttle=Throttle(2, key="{doc}"))


def test_raw_tasks_and_schedules_have_none() -> None:
    app = App("memory:")
    with pytest.raises(InvalidOptions, match="None for a raw task: each message that others put in is a job"):
        app.task(raw=True, queue="raw", throttle=Throttle(2))(_touch)

    @app.task(debounce=Debounce(2))
    async def report() -> None: ...

    with pytest.raises(InvalidOptions, match=r"None in the job of a schedule.*\.options\(debounce=None\)"):
        report.job().to_template(1000)
    assert report.options(debounce=None).job().to_template(1000).window is None


def test_a_submission_carries_the_window_and_waits() -> None:
    app = App("memory:")
    save = app.task(debounce=Debounce(2, key="{document}", most=9))(_touch)

    def submission(task: Any) -> Submission:
        made: Submission = task.job("a").to_submission("id", 0.0, 1000)
        return made

    assert (submission(save).window, submission(save).delay_seconds) == (Window("debounce:_touch a", most_seconds=9.0), 2.0)
    plain = submission(save.options(debounce=None))
    assert (plain.window, plain.delay_seconds) == (None, 0.0)
    other = submission(save.options(debounce=None, throttle=Throttle(60)))
    assert (other.window, other.delay_seconds) == (Window("throttle:_touch", 60.0), 0.0)


def test_only_the_callers_of_a_job_that_stays_theirs_say_how_long_they_can_wait() -> None:
    app = App("memory:")

    def remaining(**given: Any) -> float | None:
        job = app.task(_touch).options(**given).job("a")
        payload = job.to_submission("id", 1e9, 1000, remaining_seconds=5.0).payload
        return app.registry.codec.decode_message(payload).remaining

    assert remaining() == remaining(throttle=Throttle(60)) == 5.0
    assert remaining(debounce=Debounce(2)) is None


def test_they_are_compared_and_shown_by_what_they_say() -> None:
    assert Debounce(2, key="{a}") == Debounce(2.0, key="{a}") != Debounce(2, key="{a}", most=9)
    assert hash(Throttle(2)) == hash(Throttle(2))
    assert Throttle(2) != Debounce(2)
    assert repr(Debounce(2, key="{a}", most=9)) == "Debounce(2, key='{a}', most=9)"
    assert repr(Throttle(60, name="n")) == "Throttle(60, name='n')"
