"""Jobs that only start so many in a time."""

from __future__ import annotations

from ...model.delivery import Released, Retried
from ...model.limits import Limit, no_room
from ...model.listing import LimitRecord
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .limits import ONE, limited, list_limits
from .steps import (
    LEASE_SECONDS,
    QUEUE,
    claim,
    claim_one,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_swept,
    ids_of,
    settle,
    submit,
    succeeded,
    sweep,
)

topic = Topic("rates", Part.LIMITS)

SECOND = Limit("rate/s:each", interval_seconds=1.0)  # one a second
BURST = Limit("rate/s:burst", interval_seconds=1.0, tolerance_seconds=2.0)  # one a second, three after a pause


@topic.check(clock=True)
def starts_are_spaced(harness: ContractHarness) -> None:
    """Jobs with a rate are claimed one after the other, an interval apart, whether or not the earlier ones have ended."""
    broker = harness.open()
    submit(broker, *[limited(name, SECOND) for name in "abc"], "plain")
    expect_claimable(broker, "a", "plain")
    harness.advance(0.5)
    expect_claimable(broker)
    harness.advance(0.5)
    expect_claimable(broker, "b")
    harness.advance(1)
    expect_claimable(broker, "c")


@topic.check(clock=True)
def burst_goes_at_once(harness: ContractHarness) -> None:
    """After a pause as many as the burst says go at once, however long the pause was, and then the rate holds."""
    broker = harness.open()
    submit(broker, *[limited(name, BURST) for name in "abcdefghij"])
    expect_claimable(broker, "a", "b", "c")
    harness.advance(1)
    expect_claimable(broker, "d")
    harness.advance(1_000)
    expect_claimable(broker, "e", "f", "g")
    harness.advance(2)
    expect_claimable(broker, "h", "i")


@topic.check(clock=True)
def long_run_keeps_the_rate(harness: ContractHarness) -> None:
    """Claims at any moments get in all what the rate and the burst allow, no more and no less."""
    broker = harness.open()
    submit(broker, *[limited(f"job-{n}", BURST) for n in range(60)])
    total, passed = 0, 0.0
    for step in (0.0, 0.25, 0.5, 0.125, 1.0, 0.75, 2.0, 0.375, 1.5, 0.5, 2.0, 0.25, 1.75, 0.5, 0.5):
        harness.advance(step)
        passed += step
        total += len(claim(broker))
        expect_equal(total, 3 + int(passed), f"jobs that were claimed in {passed:g} s")


@topic.check(clock=True)
def sweep_says_when_there_is_room(harness: ContractHarness) -> None:
    """A sweep says when the next rate has room, and hints at work when it has."""
    broker = harness.open()
    submit(broker, limited("a", SECOND), limited("b", SECOND))
    expect_equal(sweep(broker).next_room_seconds, None, "next_room_seconds when nobody waits")
    ear = Ear(harness, broker, "work", "due")
    claim_one(broker, "a")
    ear.wait_for("due", QUEUE, "a claim that found a rate used up")
    harness.advance(0.25)
    expect_equal(sweep(broker).next_room_seconds, 0.75, "next_room_seconds")
    ear.forget()
    harness.advance(0.75)
    expect_equal(sweep(broker).next_room_seconds, None, "next_room_seconds when there is room")
    ear.wait_for("work", QUEUE, "a sweep that found room in a rate")
    claim_one(broker, "b")


@topic.check(clock=True)
def excess_of_a_rate_is_rejected(harness: ContractHarness) -> None:
    """A rate that rejects cancels what comes too soon."""
    broker = harness.open()
    strict = Limit("rate/s:strict", interval_seconds=1.0, tolerance_seconds=1.0, rejects=True)
    submit(broker, *[limited(name, strict) for name in "abc"])
    expect_claimable(broker, "a", "b")
    expect_cancelled(broker, "c", no_room(strict.name))
    harness.advance(1)
    submit(broker, limited("d", strict), limited("e", strict))
    expect_claimable(broker, "d")
    expect_cancelled(broker, "e", no_room(strict.name))


@topic.check(clock=True)
def rate_counts_claims(harness: ContractHarness) -> None:
    """Each claim counts: a retry again, and a release gives nothing back."""
    broker = harness.open()
    submit(broker, limited("a", SECOND))
    settle(broker, Retried(claim_one(broker, "a"), 0))
    expect_claimable(broker)
    harness.advance(1)
    settle(broker, Released(claim_one(broker, "a")))
    expect_claimable(broker)
    harness.advance(1)
    claim_one(broker, "a")


@topic.check(clock=True)
def lost_lease_counts_again(harness: ContractHarness) -> None:
    """What comes back from a worker that died counts again when it is claimed again."""
    broker = harness.open()
    slow = Limit("rate/m:slow", interval_seconds=60.0)
    submit(broker, limited("a", slow), limited("b", slow))
    claim_one(broker, "a")
    harness.advance(LEASE_SECONDS + 1)
    expect_swept(broker, returned=1)
    expect_claimable(broker)
    harness.advance(45)
    claim_one(broker, "a")
    expect_claimable(broker)


@topic.check(clock=True)
def rates_and_places_are_taken_together(harness: ContractHarness) -> None:
    """A job that has no room in one of its limits uses up nothing of its rates."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("both", SECOND, ONE), limited("b", SECOND))
    a, _ = expect_claimable(broker, "a", "b")
    harness.advance(1)
    expect_claimable(broker)
    submit(broker, limited("c", SECOND))
    claim_one(broker, "c")
    settle(broker, succeeded(a))
    expect_claimable(broker)
    harness.advance(1)
    claim_one(broker, "both")


@topic.check(clock=True)
def several_rates_hold_together(harness: ContractHarness) -> None:
    """Of several rates each holds."""
    broker = harness.open()
    slow = Limit("rate/m:each", interval_seconds=10.0, tolerance_seconds=10.0)
    submit(broker, *[limited(f"job-{n}", SECOND, slow) for n in range(5)])
    found: list[tuple[float, str]] = []
    for second in range(25):
        found += [(second, job_id) for job_id in ids_of(claim(broker, lease_seconds=100))]
        harness.advance(1)
    expect_equal(found, [(0, "job-0"), (1, "job-1"), (10, "job-2"), (20, "job-3")], "when which job was claimed")


@topic.check(Part.ADMIN, clock=True)
def listing_shows_the_rate(harness: ContractHarness) -> None:
    """The limits show who waits for a rate and when it has room; a rate that nobody waits for is not shown."""
    broker = harness.open()
    submit(broker, limited("a", SECOND), limited("b", SECOND))
    claim_one(broker, "a")
    expect_claimable(broker)
    expect_equal(list_limits(broker), [LimitRecord(name=SECOND.name, waiting=1, opens_at=harness.now() + 1)], "the limits")
    harness.advance(1)
    claim_one(broker, "b")
    expect_equal(list_limits(broker), [], "the limits")


@topic.check(clock=True)
def rate_goes_on_after_a_pause(harness: ContractHarness) -> None:
    """A rate goes on after a pause of any length, and its state does not grow."""
    broker = harness.open()
    for round_ in range(5):
        submit(broker, limited(f"a{round_}", SECOND), limited(f"b{round_}", SECOND))
        settle(broker, succeeded(claim_one(broker, f"a{round_}")))
        harness.advance(1)
        settle(broker, succeeded(claim_one(broker, f"b{round_}")))
        harness.advance(100_000)
        sweep(broker)
    expect(list_limits(broker) == [], "no limit may be left when nobody waits and nothing is held")
