"""Limits as people declare them: what is refused, and what brokers get of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nursery_tasks import App, Concurrency, RateLimit
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.limits import Limit, check_limits, gate_of, limits_for_job

RATES = [
    ("10/s", 0.1, 2),
    ("1/s", 1.0, 1),
    ("5/s", 0.2, 2),
    ("1000/s", 0.001, 101),
    ("100/m", 0.6, 2),
    ("60/m", 1.0, 1),
    ("5/h", 720.0, 1),
    ("2/d", 43_200.0, 1),
    ("3/10s", 10 / 3, 1),
]


def made_of(*limits: Concurrency | RateLimit, **kwargs: Any) -> tuple[Limit, ...]:
    return limits_for_job(limits, "send", (), kwargs, lambda: kwargs)


@pytest.mark.parametrize(("rate", "interval", "burst"), RATES)
def test_a_rate_is_an_interval_and_a_burst(rate: str, interval: float, burst: int) -> None:
    declared = RateLimit(rate)
    [limit] = made_of(declared)
    assert declared.burst == burst
    assert limit.interval_seconds == pytest.approx(interval)
    assert limit.tolerance_seconds == pytest.approx((burst - 1) * interval)


def test_a_burst_can_be_given() -> None:
    [limit] = made_of(RateLimit("5/h", burst=5))
    assert limit.tolerance_seconds == 4 * 720.0


def test_limits_are_named_by_kind_name_and_key() -> None:
    limits = made_of(
        Concurrency(3),
        Concurrency(1, key="{user}-{account.id}", name="accounts"),
        RateLimit("10/s"),
        RateLimit("100/m", key=lambda user, account: len(user)),
        user="anna",
        account=type("Account", (), {"id": 7}),
    )
    assert [limit.name for limit in limits] == [
        "concurrency:send",
        "concurrency:accounts anna-7",
        "rate/s:send",
        "rate/m:send 4",
    ]


def test_jobs_wait_together_under_the_same_rule_only() -> None:
    rules = [limit.rule for limit in made_of(Concurrency(3), RateLimit("10/s", burst=1))]
    assert rules == ["3", "0.1/0.0"]
    [strict] = made_of(Concurrency(3, excess="reject"))
    assert gate_of(strict, "mails") == "3! mails concurrency:send"


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Concurrency(0), "most=0: expected a whole number from 1"),
    (lambda: Concurrency(True), "most=True"),
    (lambda: Concurrency(2.5), "most=2.5"),  # type: ignore[arg-type]
    (lambda: Concurrency(1, excess="drop"), "excess='drop': expected 'wait' or 'reject'"),  # type: ignore[arg-type]
    (lambda: Concurrency(1, name="two words"), "name='two words': expected 1 to 200 characters without spaces"),
    (lambda: Concurrency(1, key=3), "key=3: expected a text such as"),  # type: ignore[arg-type]
    (lambda: Concurrency(1, key=""), "key='': expected a template"),
    (lambda: Concurrency(1, key="{user"), "key='{user': expected a template such as '{user}' .expected '}'"),
    (lambda: Concurrency(1, key="{}"), "key='{}': expected names of parameters in the braces"),
    (lambda: Concurrency(1, key="{0}"), "key='{0}': expected names of parameters in the braces"),
    (lambda: RateLimit("ten a second"), "rate='ten a second': expected a number and a time, such as '10/s'"),
    (lambda: RateLimit("0/s"), "rate='0/s'"),
    (lambda: RateLimit("5/0s"), "rate='5/0s'"),
    (lambda: RateLimit("5"), "rate='5'"),
    (lambda: RateLimit(5), "rate=5"),  # type: ignore[arg-type]
    (lambda: RateLimit("5/s", burst=0), "burst=0: expected a whole number from 1"),
    (lambda: check_limits("limits", "10/s"), "limits='10/s': expected a list of Concurrency"),
    (lambda: check_limits("limits", [3]), "limits=3: expected a list of Concurrency"),
    (lambda: check_limits("limits", [Concurrency(1)] * 2), "concurrency occurs twice"),
    (lambda: check_limits("limits", [RateLimit("1/s"), RateLimit("2/s")]), "rate/s occurs twice"),
    (lambda: check_limits("limits", [Concurrency(1, name=f"n{n}") for n in range(9)]), "at most 8 limits"),
]


@pytest.mark.parametrize(("make", "problem"), WRONG)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        make()
    assert problem.replace("'{user}' .", "'{user}' (") in str(caught.value)


def test_one_limit_needs_no_list() -> None:
    assert check_limits("limits", Concurrency(2)) == (Concurrency(2),)
    assert check_limits("limits", [RateLimit("1/s"), RateLimit("2/m")]) == (RateLimit("1/s"), RateLimit("2/m"))
    assert Concurrency(2) != Concurrency(3)
    assert hash(RateLimit("1/s")) == hash(RateLimit("1/s"))
    assert repr(Concurrency(2, key="{a}", excess="reject")) == "Concurrency(2, key='{a}', excess='reject')"
    assert repr(RateLimit("10/s")) == "RateLimit('10/s', burst=2)"


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (lambda user: None, "a text or a whole number for each job of send, and not None"),
        (lambda user: True, "and not True"),
        (lambda: "x", "something that can be made of the arguments of send: TypeError"),
        (lambda user: user * 100, "a key of at most 200 printable characters"),
        (lambda user: "a\nb", r"and not 'a\nb'"),
        ("{user.age}", "something that can be made of the arguments of send: AttributeError"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_when_the_job_is_submitted(key: Any, problem: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        made_of(Concurrency(1, key=key), user="anna")
    assert problem in str(caught.value)


def test_two_keys_that_come_out_alike_are_refused() -> None:
    with pytest.raises(InvalidOptions, match="limits with different names for each job of send"):
        made_of(Concurrency(1, key="{a}"), Concurrency(2, key="{b}"), a=1, b=1)


def test_a_key_names_parameters_of_the_task() -> None:
    app = App("memory:")
    with pytest.raises(InvalidOptions, match=r"names of parameters of send in the braces; it has user, size"):

        @app.task(limits=[Concurrency(1, key="{usr}")])
        def send(user: str, size: int = 3) -> None: ...

    @app.task(name="send")
    def other(user: str, size: int = 3) -> None: ...

    with pytest.raises(InvalidOptions, match="names of parameters of send"):
        other.options(limits=Concurrency(1, key="{usr}"))


def test_a_key_is_made_of_all_arguments_also_of_defaults() -> None:
    app = App("memory:")

    @app.task(limits=[Concurrency(1, key="{user}/{size}"), RateLimit("1/s", key=lambda user, size=4: size)])
    def send(user: str, size: int = 3) -> None: ...

    def names(job: Any) -> list[str]:
        return [limit.name for limit in job.to_submission("id", 0.0, 1000).limits]

    assert names(send.job("anna")) == ["concurrency:send anna/3", "rate/s:send 4"]
    assert names(send.job(size=5, user="bert")) == ["concurrency:send bert/5", "rate/s:send 5"]
    assert names(send.options(limits=[Concurrency(2)]).job("anna")) == ["concurrency:send"]
    assert names(send.options(limits=[]).job("anna")) == []
    assert names(app.job("send", "anna")) == ["concurrency:send anna/3", "rate/s:send 4"]
