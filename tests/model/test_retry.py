"""When a failed attempt is followed by another one, and after how long."""

from __future__ import annotations

import math
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nursery_tasks import Backoff, Retry
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.retry import RetryRule, members_of, qualified_name

seconds = st.floats(min_value=0, max_value=1e9)
fractions = st.floats(min_value=0, max_value=1, exclude_max=True)
attempts = st.integers(min_value=1, max_value=10_000)
backoffs = st.builds(Backoff, base=seconds, factor=st.floats(min_value=0, max_value=1e6), cap=seconds, jitter=st.booleans())


class Transient(OSError):
    pass


# --- waits -------------------------------------------------------------------------------------------------------------------


@given(backoffs, attempts, fractions)
def test_no_wait_is_negative_or_longer_than_the_cap(backoff: Backoff, attempt: int, fraction: float) -> None:
    assert 0 <= backoff.wait_seconds(attempt, fraction) <= backoff.cap


@given(backoffs, attempts, fractions)
def test_jitter_only_ever_makes_a_wait_shorter(backoff: Backoff, attempt: int, fraction: float) -> None:
    steady = msgspec.structs.replace(backoff, jitter=False)
    assert backoff.wait_seconds(attempt, fraction) <= steady.wait_seconds(attempt, fraction)


@given(backoffs, attempts)
def test_waits_grow_with_a_factor_of_one_or_more(backoff: Backoff, attempt: int) -> None:
    steady = msgspec.structs.replace(backoff, jitter=False, factor=max(1.0, backoff.factor))
    assert steady.wait_seconds(attempt, 0) <= steady.wait_seconds(attempt + 1, 0)


def test_the_default_wait_doubles_from_one_second_up_to_ten_minutes() -> None:
    steady = Backoff(jitter=False)
    assert [steady.wait_seconds(attempt, 0) for attempt in (1, 2, 3, 4, 10, 11, 99_999)] == [1, 2, 4, 8, 512, 600, 600]


def test_full_jitter_is_a_part_of_the_wait() -> None:
    assert Backoff(base=10).wait_seconds(1, 0.25) == 2.5


@given(st.lists(seconds, min_size=1), attempts)
def test_the_last_of_a_sequence_of_waits_repeats(waits: list[float], attempt: int) -> None:
    rule = Retry(10**9, wait=waits).to_rule()
    assert rule.wait_seconds(attempt, 0.5) == waits[min(attempt, len(waits)) - 1]


def test_waits_come_as_numbers_timedeltas_and_sequences_of_both() -> None:
    assert Retry(wait=3).to_rule().waits == (3.0,)
    assert Retry(wait=timedelta(minutes=1)).to_rule().waits == (60.0,)
    assert Retry(wait=(1, timedelta(seconds=2))).to_rule().waits == (1.0, 2.0)
    assert Retry(wait=Backoff(base=7)).to_rule().backoff == Backoff(base=7)


# --- how often ---------------------------------------------------------------------------------------------------------------


@given(attempts, attempts)
def test_a_limit_counts_the_first_attempt_too(limit: int, attempt: int) -> None:
    assert Retry(limit).to_rule().allows(attempt) == (attempt < limit)


@given(attempts)
def test_none_is_no_limit(attempt: int) -> None:
    assert Retry(None).to_rule().allows(attempt)


# --- after which errors ------------------------------------------------------------------------------------------------------


def test_without_a_filter_any_exception_counts_but_no_exit() -> None:
    rule = Retry().to_rule()
    assert rule.matches(ValueError())
    assert not rule.matches(SystemExit())
    assert not rule.matches(KeyboardInterrupt())


def test_a_class_stands_for_its_subclasses() -> None:
    rule = Retry(on=OSError).to_rule()
    assert rule.matches(Transient())
    assert rule.matches(ConnectionResetError())
    assert not rule.matches(ValueError())


def test_never_wins_over_on() -> None:
    rule = Retry(on=OSError, never=(FileNotFoundError,)).to_rule()
    assert rule.matches(PermissionError())
    assert not rule.matches(FileNotFoundError())


def test_a_group_counts_when_each_of_its_leaves_does() -> None:
    rule = Retry(on=OSError).to_rule()
    assert rule.matches(ExceptionGroup("", [Transient(), ExceptionGroup("", [TimeoutError()])]))
    assert not rule.matches(ExceptionGroup("", [Transient(), ValueError()]))


def test_a_rule_may_name_groups_themselves() -> None:
    assert Retry(on=ExceptionGroup).to_rule().matches(ExceptionGroup("", [ValueError()]))
    assert not Retry(never=ExceptionGroup).to_rule().matches(ExceptionGroup("", [ValueError()]))


def test_a_group_with_an_exit_in_it_does_not_count() -> None:
    assert not Retry().to_rule().matches(BaseExceptionGroup("", [ValueError(), SystemExit()]))


def test_only_groups_have_members() -> None:
    assert members_of(ValueError()) == ()
    assert len(members_of(ExceptionGroup("", [ValueError(), KeyError()]))) == 2


# --- as data -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [Retry(), Retry(None, on=(OSError, ValueError), never=KeyError, wait=[1, 2]), Retry(2, wait=Backoff(base=3, jitter=False))],
    ids=["default", "filters", "backoff"],
)
def test_a_rule_survives_the_wire(policy: Retry) -> None:
    rule = policy.to_rule()
    assert msgspec.json.decode(msgspec.json.encode(rule), type=RetryRule) == rule
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(rule), type=RetryRule) == rule


@pytest.mark.parametrize(
    "rule",
    [b'{"attempts":0}', b'{"waits":[]}', b'{"waits":[-1]}', b'{"backoff":{"base":-1}}', b'{"backoff":{"factor":-2}}'],
    ids=["no attempts", "no waits", "a negative wait", "a negative base", "a negative factor"],
)
def test_a_rule_that_makes_no_sense_is_found_while_it_is_decoded(rule: bytes) -> None:
    with pytest.raises(msgspec.ValidationError, match="expected"):
        msgspec.json.decode(rule, type=RetryRule)


def test_names_of_classes_hold_the_module_unless_they_are_built_in() -> None:
    assert qualified_name(ValueError) == "ValueError"
    assert qualified_name(Transient) == f"{__name__}.Transient"


# --- mistakes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
def test_a_number_of_attempts_is_a_whole_number_from_one(limit: object) -> None:
    with pytest.raises(InvalidOptions, match="expected 1 or more, or None for no limit"):
        Retry(limit)  # type: ignore[arg-type]


def test_an_empty_filter_is_a_mistake() -> None:
    with pytest.raises(InvalidOptions, match="leave it out to retry after any"):
        Retry(on=())


@pytest.mark.parametrize("on", ["ValueError", [ValueError()], [int], 3])
def test_filters_are_exception_classes(on: object) -> None:
    with pytest.raises(InvalidOptions, match=r"^on=.*: expected exception classes, such as OSError$"):
        Retry(on=on)  # type: ignore[arg-type]


@pytest.mark.parametrize("wait", [(), "soon", [], -1, [1, -1], math.nan])
def test_waits_are_seconds(wait: object) -> None:
    with pytest.raises(InvalidOptions, match=r"^wait="):
        Retry(wait=wait)  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [{"base": -1}, {"cap": math.nan}, {"factor": -2}, {"factor": math.inf}])
def test_a_backoff_has_finite_numbers_from_zero(numbers: dict[str, float]) -> None:
    with pytest.raises(InvalidOptions, match="expected"):
        Backoff(**numbers)  # type: ignore[arg-type]


def test_a_policy_says_in_words_what_it_is() -> None:
    assert str(Retry(3)) == "retry up to 3 attempts"
    assert str(Retry(None)) == "retry without limit"
