"""Jobs of one ordering key, which start one at a time in the order of submission."""

from __future__ import annotations

from typing import Any

from ...brokers.needed import limits_of
from ...brokers.protocol import Broker, Feature
from ...model.delivery import CancelAnswer, Released, Retried, Started, Submission
from ...model.limits import Limit, no_room
from ...model.listing import LimitRecord
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import (
    QUEUE,
    admin,
    cancel,
    claim,
    claim_one,
    ended,
    expect_cancelled,
    expect_claimable,
    expect_ended,
    expect_equal,
    expect_state,
    expect_swept,
    ids_of,
    job,
    record,
    settle,
    submit,
    succeeded,
)

topic = Topic("ordering keys", Part.LIMITS)

KEY = Limit("order:t a", most=1, ordered=True)
OTHER = Limit("order:t b", most=1, ordered=True)
ONE = Limit("concurrency:one", most=1)
TWO = Limit("concurrency:two", most=1)


def in_order(job_id: str, *more: Limit, key: Limit = KEY, **changes: Any) -> Submission:
    return job(job_id, limits=(key, *more), **changes)


def submit_in_order(broker: Broker, job_ids: str, *more: Limit, **changes: Any) -> None:
    submit(broker, *[in_order(job_id, *more, **changes) for job_id in job_ids])


def expect_order(broker: Broker, job_ids: str) -> None:
    """Expect these jobs, one after the other, each when the one before has succeeded; and then nothing more."""
    for job_id in job_ids:
        settle(broker, succeeded(claim_one(broker, job_id)))
    expect_claimable(broker)
    expect_equal([each for each in limits_of(broker).list_limits(10) if each.name == KEY.name], [], "the limit after all")


@topic.check()
def one_after_the_other(harness: ContractHarness) -> None:
    """Jobs of one ordering key are held one at a time, in the order of submission, whatever claims ask for them."""
    broker = harness.open()
    submit_in_order(broker, "caeb")
    first = claim_one(broker, "c")
    expect_claimable(broker)
    expect_equal(ids_of(claim(broker, worker="another")), [], "what another worker gets")
    settle(broker, Started(first), ended(first, JobState.FAILED))
    expect_order(broker, "aeb")


@topic.check()
def keys_are_apart(harness: ContractHarness) -> None:
    """Keys have nothing to do with each other, nor with jobs that have none."""
    broker = harness.open()
    submit(broker, in_order("a1"), in_order("a2"), in_order("b1", key=OTHER), "plain", in_order("b2", key=OTHER))
    a1, b1, _ = expect_claimable(broker, "a1", "b1", "plain")
    settle(broker, succeeded(b1))
    claim_one(broker, "b2")
    settle(broker, succeeded(a1))
    claim_one(broker, "a2")


@topic.check(Feature.PRIORITIES)
def priorities_do_not_overtake(harness: ContractHarness) -> None:
    """A priority moves nobody up among those of a key; the first of them stands by its own among the other jobs."""
    broker = harness.open()
    submit(broker, in_order("low"), in_order("high", priority=9), in_order("last", priority=3), job("plain", priority=5))
    plain, low = expect_claimable(broker, "plain", "low")
    submit(broker, job("after", priority=5))
    settle(broker, succeeded(plain), succeeded(low))
    high, _ = expect_claimable(broker, "high", "after")
    submit(broker, job("middle", priority=5))
    settle(broker, succeeded(high))
    expect_claimable(broker, "middle", "last")


@topic.check()
def retry_keeps_the_turn(harness: ContractHarness) -> None:
    """A job that is retried or given back keeps its turn, and is the next of its key."""
    broker = harness.open()
    submit_in_order(broker, "abc")
    settle(broker, Retried(claim_one(broker, "a"), 0.0))
    settle(broker, Released(claim_one(broker, "a")))
    again = claim_one(broker, "a")
    expect_equal(again.attempt, 2, "the attempt")
    settle(broker, Started(again), Released(again))
    expect_order(broker, "abc")


@topic.check(Feature.DELAYS, clock=True)
def nobody_passes_while_it_is_away(harness: ContractHarness) -> None:
    """While the one with the turn waits for a retry or a delay of its release, nobody of its key starts."""
    broker = harness.open()
    submit(broker, in_order("a"), in_order("b"), "plain", in_order("other", key=OTHER))
    a, *_ = expect_claimable(broker, "a", "plain", "other")
    settle(broker, Retried(a, 10.0))
    expect_claimable(broker)
    harness.advance(9)
    broker.sweep(100)
    expect_claimable(broker)
    harness.advance(1)
    expect_swept(broker, due=1)
    settle(broker, Released(claim_one(broker, "a"), 10.0))
    expect_claimable(broker)
    harness.advance(10)
    broker.sweep(100)
    claims = claim(broker)
    expect_equal([each.id for each in claims if each.id in "ab"], ["a"], "who is next")
    settle(broker, succeeded(next(each for each in claims if each.id == "a")))
    claim_one(broker, "b")


@topic.check(clock=True)
def death_keeps_the_turn(harness: ContractHarness) -> None:
    """When its worker died, the job is the next of its key, however often; nobody of the key starts before its end."""
    broker = harness.open()
    submit(broker, in_order("a", max_crashes=3), in_order("b"))
    claim_one(broker, "a")
    for crash in range(3):
        harness.advance(15)
        expect_claimable(broker)
        expect_swept(broker, returned=1)
        again = claim_one(broker, "a")
        expect_equal(again.crashes, crash, "crashes")
        expect_claimable(broker)
        settle(broker, Started(again))
    harness.advance(15)
    expect_swept(broker, died=1)
    expect_ended(broker, "a", JobState.DEAD)
    expect_order(broker, "b")


@topic.check(Part.ADMIN, clock=True)
def expired_one_waits_for_its_turn_again(harness: ContractHarness) -> None:
    """One that expired while it had the turn, and is run again by hand, takes the turn as others do."""
    broker = harness.open()
    submit(broker, in_order("a", expires_seconds=30.0))
    claim_one(broker, "a")
    harness.advance(30)
    expect_swept(broker, returned=1)
    expect_claimable(broker)
    expect_swept(broker, expired=1)
    expect_equal(admin(broker).requeue(["a"]), [True], "the answer to the requeue")
    submit(broker, in_order("b"))
    expect_order(broker, "ab")


@topic.check(Feature.PLACES, clock=True)
def crashed_one_is_behind_others_and_before_its_key(harness: ContractHarness) -> None:
    """A job that was running when its worker died goes behind other jobs, and not behind those of its key."""
    broker = harness.open()
    submit(broker, in_order("a"), in_order("b"), "plain")
    a, plain = expect_claimable(broker, "a", "plain")
    settle(broker, Started(a), Released(plain))
    harness.advance(15)
    expect_swept(broker, returned=1)
    _, a = expect_claimable(broker, "plain", "a")
    settle(broker, succeeded(a))
    claim_one(broker, "b")


@topic.check()
def cancel_in_line(harness: ContractHarness) -> None:
    """One that waits for its turn can be cancelled, and those behind it move up."""
    broker = harness.open()
    submit_in_order(broker, "abcd")
    a = claim_one(broker, "a")
    expect_claimable(broker)
    cancel(broker, "b", CancelAnswer.CANCELLED)
    cancel(broker, "d", CancelAnswer.CANCELLED)
    expect_claimable(broker)
    settle(broker, succeeded(a))
    expect_order(broker, "c")


@topic.check()
def cancel_of_the_first(harness: ContractHarness) -> None:
    """A cancel of the one that runs gives the turn on when it has ended, and not before; of one that came back, at once."""
    broker = harness.open()
    submit_in_order(broker, "abcd")
    a = claim_one(broker, "a")
    cancel(broker, "a", CancelAnswer.REQUESTED)
    expect_claimable(broker)
    settle(broker, Retried(a, 0.0))
    expect_cancelled(broker, "a", "not needed")
    settle(broker, Released(claim_one(broker, "b")))
    ear = Ear(harness, broker, "work")
    cancel(broker, "b", CancelAnswer.CANCELLED)
    ear.wait_for("work", QUEUE, "the cancel of the one that had the turn")
    ear.listener.close()
    expect_order(broker, "cd")


@topic.check(Feature.DELAYS, clock=True)
def cancel_of_one_that_is_away(harness: ContractHarness) -> None:
    """A cancel of the one with the turn, while it waits for its retry, gives the turn on."""
    broker = harness.open()
    submit_in_order(broker, "ab")
    settle(broker, Retried(claim_one(broker, "a"), 60.0))
    expect_claimable(broker)
    cancel(broker, "a", CancelAnswer.CANCELLED)
    expect_order(broker, "b")


@topic.check()
def end_is_told(harness: ContractHarness) -> None:
    """The end of the one with the turn is hinted at as work in the queue of the next."""
    broker = harness.open()
    submit_in_order(broker, "ab")
    a = claim_one(broker, "a")
    expect_claimable(broker)
    ear = Ear(harness, broker, "work")
    settle(broker, succeeded(a))
    ear.wait_for("work", QUEUE, "the end of the one that had the turn")
    ear.listener.close()


@topic.check(clock=True)
def expiry_in_line(harness: ContractHarness) -> None:
    """One that waits for its turn expires in its time, and holds nobody up when it is late."""
    broker = harness.open()
    submit(broker, in_order("a"), in_order("b", expires_seconds=10), in_order("c"), in_order("d", expires_seconds=10))
    a = claim_one(broker, "a", lease_seconds=100)
    harness.advance(10)
    settle(broker, succeeded(a))
    c = claim_one(broker, "c", lease_seconds=100)
    expect_swept(broker, expired=2)
    expect_ended(broker, "b", JobState.EXPIRED)
    settle(broker, succeeded(c))
    expect_order(broker, "")


@topic.check(clock=True)
def expiry_of_the_first(harness: ContractHarness) -> None:
    """One that has its turn, was given back before its first attempt and expires, gives the turn on."""
    broker = harness.open()
    submit(broker, in_order("a", expires_seconds=10), in_order("b"))
    settle(broker, Released(claim_one(broker, "a")))
    harness.advance(10)
    expect_claimable(broker)
    expect_swept(broker, expired=1)
    expect_order(broker, "b")


@topic.check(Feature.DELAYS, clock=True)
def delayed_job_takes_its_place_when_it_is_ready(harness: ContractHarness) -> None:
    """A delayed job holds nobody up; once it is ready it stands in the order of submission."""
    broker = harness.open()
    submit(broker, in_order("later", delay_seconds=5), in_order("a"), in_order("b"))
    a = claim_one(broker, "a")
    harness.advance(5)
    expect_swept(broker, due=1)
    expect_claimable(broker)
    settle(broker, Retried(a, 0.0))
    a = claim_one(broker, "a")  # it has its turn
    settle(broker, succeeded(a))
    settle(broker, succeeded(claim_one(broker, "later")))
    expect_order(broker, "b")


@topic.check(Part.ADMIN)
def purge_leaves_no_key_stuck(harness: ContractHarness) -> None:
    """A purge takes those in line and the one with the turn while it waits, and nothing is left of them."""
    broker = harness.open()
    submit(broker, in_order("a"), in_order("b"), in_order("c", queue="other"))
    settle(broker, Released(claim_one(broker, "a")))
    expect_claimable(broker, queues=("other",))
    expect_equal(admin(broker).purge(QUEUE, frozenset({JobState.READY})), 2, "purged jobs")
    [c] = expect_claimable(broker, "c", queues=("other",))
    settle(broker, succeeded(c))
    expect_order(broker, "")


@topic.check(Part.ADMIN, Feature.DELAYS, clock=True)
def purge_of_one_that_is_away(harness: ContractHarness) -> None:
    """A purge of the one with the turn, while it waits for its retry, gives the turn on."""
    broker = harness.open()
    submit_in_order(broker, "ab")
    settle(broker, Retried(claim_one(broker, "a"), 60.0))
    expect_claimable(broker)
    expect_equal(admin(broker).purge(QUEUE, frozenset({JobState.SCHEDULED})), 1, "purged jobs")
    expect_order(broker, "b")


@topic.check(Part.ADMIN)
def requeued_one_goes_to_the_end(harness: ContractHarness) -> None:
    """A job that a person puts back stands behind all that wait, in the order in which they are put back."""
    broker = harness.open()
    submit_in_order(broker, "abcde")
    settle(broker, ended(claim_one(broker, "a"), JobState.FAILED))
    settle(broker, ended(claim_one(broker, "b"), JobState.FAILED))
    c = claim_one(broker, "c")
    cancel(broker, "d", CancelAnswer.CANCELLED)
    expect_equal(admin(broker).requeue(["b", "d", "a"]), [True, True, True], "the answers to the requeue")
    submit_in_order(broker, "f")
    expect_claimable(broker)
    settle(broker, succeeded(c))
    expect_order(broker, "ebdaf")


@topic.check()
def turn_is_taken_before_other_limits(harness: ContractHarness) -> None:
    """The first of a key that has no room in another limit keeps its turn and waits for that; nobody of the key overtakes."""
    broker = harness.open()
    submit(broker, job("x", limits=(ONE,)), in_order("a", ONE), in_order("b"), in_order("c", key=OTHER))
    x, c = expect_claimable(broker, "x", "c")
    expect_claimable(broker)
    settle(broker, succeeded(c))
    expect_claimable(broker)
    settle(broker, succeeded(x))
    a = claim_one(broker, "a")
    settle(broker, Retried(a, 0.0))
    submit(broker, job("y", limits=(ONE,)))
    a = claim_one(broker, "a", limit=1)
    settle(broker, succeeded(a))
    expect_claimable(broker, "b", "y")


@topic.check()
def cancel_while_it_waits_for_another_limit(harness: ContractHarness) -> None:
    """One that has its turn and waits for another limit gives the turn on when it is cancelled."""
    broker = harness.open()
    submit(broker, job("x", limits=(ONE,)), in_order("a", ONE, TWO), in_order("b"))
    claim_one(broker, "x")
    expect_claimable(broker)
    cancel(broker, "a", CancelAnswer.CANCELLED)
    expect_order(broker, "b")


@topic.check()
def several_limits_after_the_turn(harness: ContractHarness) -> None:
    """With several other limits it waits for each of them, and gives those back when it is retried, but not the turn."""
    broker = harness.open()
    submit(broker, job("x", limits=(ONE,)), job("y", limits=(TWO,)), in_order("a", ONE, TWO), in_order("b", ONE, TWO))
    x, y = expect_claimable(broker, "x", "y")
    expect_claimable(broker)
    settle(broker, succeeded(x))
    expect_claimable(broker)
    settle(broker, succeeded(y))
    settle(broker, Retried(claim_one(broker, "a"), 0.0))
    submit(broker, job("z", limits=(TWO,)))
    a = claim_one(broker, "a", limit=1)
    expect_claimable(broker)  # `z` and `b` wait for it
    settle(broker, succeeded(a))
    [first] = claim(broker, 1)
    expect_equal(first.id, "b", "the older one of those that want the same limit")
    settle(broker, succeeded(first))
    settle(broker, succeeded(claim_one(broker, "z")))
    expect_order(broker, "")


@topic.check()
def refused_one_gives_the_turn_on(harness: ContractHarness) -> None:
    """One that another of its limits rejects ends, and the next of its key has the turn."""
    broker = harness.open()
    strict = Limit("concurrency:strict", most=1, rejects=True)
    submit(broker, job("x", limits=(strict,)), in_order("a", strict), in_order("b"), in_order("c", strict))
    _, b = expect_claimable(broker, "x", "b")
    expect_cancelled(broker, "a", no_room(strict.name))
    settle(broker, succeeded(b))
    expect_claimable(broker)
    expect_cancelled(broker, "c", no_room(strict.name))


@topic.check()
def one_at_a_time_over_all_queues(harness: ContractHarness) -> None:
    """A key is one over all queues and tasks: who has the turn in one of them holds up the others."""
    broker = harness.open()
    submit(broker, in_order("a"), in_order("b", queue="other", task="another"))
    a = claim_one(broker, "a", queues=("other", QUEUE)[::-1])
    expect_claimable(broker, queues=("other", QUEUE))
    settle(broker, Retried(a, 0.0))
    expect_claimable(broker, queues=("other",))
    settle(broker, succeeded(claim_one(broker, "a")))
    claim_one(broker, "b", queues=("other",))


@topic.check(Part.ADMIN)
def people_see_who_waits(harness: ContractHarness) -> None:
    """Listings say what those in line wait for, and how many they are; who has the turn waits for nothing."""
    broker = harness.open()
    submit_in_order(broker, "abc")
    settle(broker, Released(claim_one(broker, "a")))
    expect_equal(limits_of(broker).list_limits(10), [LimitRecord(name=KEY.name, running=1, waiting=2)], "the limits")
    a = claim_one(broker, "a")
    expect_claimable(broker)
    waits = [record(broker, job_id).waits_for for job_id in "abc"]
    expect_equal(waits, [None, KEY.name, KEY.name], "what they wait for")
    settle(broker, succeeded(a))
    expect_equal(limits_of(broker).list_limits(10), [LimitRecord(name=KEY.name, running=0, waiting=2)], "the limits")


@topic.check(Feature.DURABLE)
def turns_outlive_the_broker(harness: ContractHarness) -> None:
    """Who has the turn, and the order of those behind, hold after the broker is opened again."""
    broker = harness.open()
    submit_in_order(broker, "abc")
    settle(broker, Retried(claim_one(broker, "a"), 0.0))
    broker = harness.reopen()
    a = claim_one(broker, "a")
    expect_claimable(broker)
    broker = harness.reopen()
    settle(broker, succeeded(a))
    expect_order(broker, "bc")


@topic.check(Part.PARKING)
def parked_one_keeps_the_turn(harness: ContractHarness) -> None:
    """One that is parked keeps its turn, and goes on where a worker knows it."""
    broker = harness.open()
    submit_in_order(broker, "ab")
    settle(broker, Released(claim_one(broker, "a"), 600.0, "t1"))
    expect_claimable(broker)
    expect_state(broker, JobState.SCHEDULED, "a")
    settle(broker, succeeded(claim_one(broker, "a", names=("t1",))))
    expect_order(broker, "b")
