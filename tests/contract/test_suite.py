"""The contract suite itself: it finds what is broken, leaves out what is not declared, and says both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import pytest
from broken_brokers import MUTANTS, LastInFirstOut

from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Feature
from nursery_tasks.model.delivery import Delivery
from nursery_tasks.testing.contract import Check, ContractHarness, ManualClock, Part, checks, run_check, run_contract

# Checks that take longer than all others together. They come last: most faults are found by one of the others.
SLOW = {
    "a_crash_costs_a_bounded_wait",
    "crowd_holds_nobody_up",
    "large_batches",
    "many_are_parked",
    "many_keys_all_get_their_turn",
    "threads_do_not_disturb_each_other",
}
SLOW_LAST = sorted(checks, key=lambda check: check.name in SLOW)


def harness_of(cls: type[MemoryBroker]) -> ContractHarness:
    clock = ManualClock()
    return ContractHarness(lambda: cls(clock=clock), clock=clock, hint_seconds=0.01)


@pytest.mark.parametrize("cls", MUTANTS, ids=lambda cls: cls.__name__)
def test_a_broken_broker_is_caught(cls: type[MemoryBroker]) -> None:
    results = (run_check(check, harness_of(cls)) for check in SLOW_LAST)  # no further than to the first that catches it
    assert any(isinstance(result.error, AssertionError) for result in results)


def test_the_slow_checks_exist() -> None:
    assert {check.name for check in checks} >= SLOW


def test_each_check_has_a_name_of_its_own_and_a_sentence() -> None:
    assert [name for name, count in Counter((check.topic, check.name) for check in checks).items() if count > 1] == []
    assert [check.name for check in checks if not check.sentence[0].isupper() or len(check.sentence) < 20] == []
    assert [sentence for sentence, count in Counter(check.sentence for check in checks).items() if count > 1] == []


def test_a_report_names_what_is_broken_and_why() -> None:
    report = run_contract(lambda: harness_of(LastInFirstOut))
    with pytest.raises(AssertionError, match="the broker breaks its contract") as caught:
        report.raise_if_broken()
    assert "broken    order: Jobs of a queue are claimed in the order of submission" in str(caught.value)
    assert "expected ['m', 'z', 'a', 'k', 'b'], got ['b', 'k', 'a', 'z', 'm']" in str(caught.value)


def test_a_report_names_what_was_left_out_and_why() -> None:
    report = run_contract(lambda: harness_of(MemoryBroker))
    report.raise_if_broken()
    assert {Feature.DURABLE, Feature.SHARED} >= set().union(*(result.check.needs for result in report.left_out)) - {
        Part.ADMIN,
        Part.ENDS,
        Part.EVENT_LOG,
        Feature.DELAYS,
        Feature.ONCE,
        Feature.WINDOWS,
        Part.LIMITS,
        Part.LOCKS,
        Part.OUTBOX,
        Part.PARKING,
        Part.PAUSES,
        Part.EVENT_LOG,
        Part.SCHEDULES,
        Part.STATES,
    }
    assert "the broker has no durable storage" in str(report)
    assert str(report).endswith(f"{len(report.kept)} kept, 0 broken, {len(report.left_out)} left out")


def test_without_a_clock_the_checks_of_time_are_left_out() -> None:
    report = run_contract(lambda: ContractHarness(MemoryBroker))
    report.raise_if_broken()
    assert {result.check.clock for result in report.left_out if result.why.startswith("the broker has no clock")} == {True}
    assert not any(result.check.clock for result in report.kept)


def test_an_error_from_the_broker_breaks_one_check_only() -> None:
    class Failing(MemoryBroker):
        def claim(
            self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
        ) -> list[Delivery]:
            raise ZeroDivisionError("no such thing")

    check = next(check for check in checks if check.name == "first_in_first_out")
    result = run_check(check, harness_of(Failing))
    assert result.verdict == "broken"
    assert result.why.startswith("ZeroDivisionError: no such thing (first_in_first_out, line ")


def test_the_harness_is_closed_and_cleaned_up_after_each_check() -> None:
    log: list[str] = []

    class Logging(MemoryBroker):
        def close(self) -> None:
            log.append("close")
            super().close()

    def fail(harness: ContractHarness) -> None:
        harness.open()
        raise AssertionError("as intended")

    check = Check("self-test", "fail", "It fails", frozenset(), False, fail)
    assert run_check(check, ContractHarness(Logging, clean_up=lambda: log.append("clean up"))).verdict == "broken"
    assert log == ["close", "close", "clean up"]  # one to read the features of, one of the check
