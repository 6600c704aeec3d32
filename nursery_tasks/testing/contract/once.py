"""Jobs whose handlers are never started twice."""

from __future__ import annotations

from typing import Any

from ...brokers.protocol import Broker, Feature
from ...model.delivery import CancelAnswer, Delivery, Released, Retried, Started
from ...model.failure import Failure
from ...model.reasons import LOST_OR_GIVEN_BACK, once_over
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
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
    job,
    packed,
    settle,
    settle_stale,
    submit,
    succeeded,
)

topic = Topic("at most once", Feature.ONCE)

REASON = once_over(LOST_OR_GIVEN_BACK)


def claimed(broker: Broker, *job_ids: str, **changes: Any) -> list[Delivery]:
    """Submit and claim such jobs."""
    submit(broker, *[job(job_id, once=True, **changes) for job_id in job_ids])
    return expect_claimable(broker, *job_ids)


def expect_over(broker: Broker, job_id: str) -> None:
    """Expect a job that is dead because it had started."""
    outcome = expect_ended(broker, job_id, JobState.DEAD)
    expect_equal((outcome.reason, outcome.attempt), (REASON, 1), f"reason and attempt in the outcome of {job_id!r}")
    expect_claimable(broker)


@topic.check()
def it_is_said_to_the_worker(harness: ContractHarness) -> None:
    """A delivery says whether its job is delivered at most once; to its end it goes like any other."""
    broker = harness.open()
    submit(broker, job("a", once=True), "b")
    a, b = expect_claimable(broker, "a", "b")
    expect_equal((a.once, b.once), (True, False), "what the deliveries say")
    settle(broker, Started(a), succeeded(a), ended(b, JobState.FAILED))
    expect_state(broker, JobState.SUCCEEDED, "a")


@topic.check(clock=True)
def started_and_lost_is_dead(harness: ContractHarness) -> None:
    """A job that is delivered at most once is dead when its lease is over after its start, and says why."""
    broker = harness.open()
    a, b = claimed(broker, "a", "b", max_crashes=5)
    settle(broker, Started(a, promised=True), Started(b))
    harness.advance(15)
    expect_swept(broker, died=2)
    expect_over(broker, "a")
    expect_over(broker, "b")
    settle_stale(broker, succeeded(a), Released(b))


@topic.check(clock=True)
def claimed_and_lost_goes_back(harness: ContractHarness) -> None:
    """One that was only claimed goes back when its lease is over, and when it is given back."""
    broker = harness.open()
    claimed(broker, "a", max_crashes=1)
    harness.advance(15)
    expect_swept(broker, returned=1)
    settle(broker, Released(claim_one(broker, "a")))
    again = claim_one(broker, "a")
    expect_equal((again.attempt, again.crashes, again.once), (1, 0, True), "the attempt, the crashes, and what it is")


@topic.check()
def started_does_not_go_back(harness: ContractHarness) -> None:
    """One that is given back after its start is dead, also in one call with others and with its start."""
    broker = harness.open()
    a, b = claimed(broker, "a", "b")
    submit(broker, "plain")
    [plain] = expect_claimable(broker, "plain")
    settle(broker, Started(a))
    settle(broker, Released(a), Released(plain))
    settle(broker, Started(b), Released(b))
    expect_equal([each.id for each in claim(broker)], ["plain"], "what can be claimed")
    expect_over(broker, "a")
    expect_over(broker, "b")


@topic.check()
def it_is_not_retried(harness: ContractHarness) -> None:
    """One whose attempt failed is not tried again, whatever the worker says: it is dead, with the error."""
    broker = harness.open()
    a, b = claimed(broker, "a", "b")
    failure = packed(JobState.FAILED, error=Failure("ValueError", "no such file"))
    settle(broker, Started(a))
    settle(broker, Retried(a, 0.0, failure), Retried(b, 0.0))
    for job_id, error in (("a", Failure("ValueError", "no such file")), ("b", None)):
        expect_over(broker, job_id)
        expect_equal(expect_ended(broker, job_id, JobState.DEAD).error, error, f"the error of {job_id!r}")


@topic.check(Feature.DELAYS, clock=True)
def no_delay_saves_it(harness: ContractHarness) -> None:
    """A delay of a release or a retry changes nothing in that."""
    broker = harness.open()
    a, b = claimed(broker, "a", "b")
    settle(broker, Started(a))
    settle(broker, Released(a, 5.0), Retried(b, 5.0))
    harness.advance(6)
    expect_swept(broker)
    expect_over(broker, "a")
    expect_over(broker, "b")


@topic.check(clock=True)
def a_cancel_wins(harness: ContractHarness) -> None:
    """One that somebody asked to cancel is cancelled, where it would be dead otherwise."""
    broker = harness.open()
    for delivery in claimed(broker, "a", "b", "c"):
        settle(broker, Started(delivery))
        cancel(broker, delivery.id, CancelAnswer.REQUESTED)
        if delivery.id == "a":
            settle(broker, Released(delivery))
        elif delivery.id == "b":
            settle(broker, Retried(delivery, 0.0))
    harness.advance(15)
    expect_swept(broker, returned=1)
    for job_id in "abc":
        expect_cancelled(broker, job_id, "not needed")
        expect_equal(expect_ended(broker, job_id, JobState.CANCELLED).attempt, 1, f"the attempt of {job_id!r}")


@topic.check(Part.ADMIN)
def a_person_may_decide_anew(harness: ContractHarness) -> None:
    """A requeue is a new decision: the job may be started once more, and only once."""
    broker = harness.open()
    [a] = claimed(broker, "a")
    settle(broker, Started(a))
    settle(broker, Released(a))
    expect_over(broker, "a")
    expect_equal(admin(broker).requeue(["a"]), [True], "the answer to the requeue")
    again = claim_one(broker, "a")
    expect_equal((again.attempt, again.once), (1, True), "the attempt, and what it is")
    settle(broker, Released(again))
    again = claim_one(broker, "a")
    settle(broker, Started(again), Released(again))
    expect_over(broker, "a")


@topic.check(Feature.DURABLE)
def it_outlives_the_broker(harness: ContractHarness) -> None:
    """What was said of it when it was submitted holds after the broker is opened again."""
    broker = harness.open()
    [a] = claimed(broker, "a")
    settle(broker, Started(a, promised=True))
    broker = harness.reopen()
    settle(broker, Released(a))
    expect_over(broker, "a")
