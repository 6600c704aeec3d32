"""Jobs that come back from a worker: released, or retried after an attempt that failed."""

from __future__ import annotations

from ...brokers.protocol import Feature
from ...model.delivery import Released, Retried, Started
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    claim_one,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    job,
    packed,
    record,
    settle,
    stored,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("release and retry")


@topic.check()
def release_is_no_attempt(harness: ContractHarness) -> None:
    """A release does not count as an attempt, whether the job had been started or not."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, Released(delivery))
    expect_state(broker, JobState.READY, "a")
    delivery = claim_one(broker, "a")
    expect_equal(delivery.attempt, 1, "the attempt after a release before the start")
    settle(broker, Started(delivery), Released(delivery))
    expect_equal(claim_one(broker, "a").attempt, 1, "the attempt after a release from started")


@topic.check()
def release_keeps_earlier_attempts(harness: ContractHarness) -> None:
    """A release takes back its own attempt and no earlier one."""
    broker = harness.open()
    settle(broker, Retried(submit_and_claim(broker), 0))
    delivery = claim_one(broker, "a")
    settle(broker, Started(delivery), Released(delivery))
    delivery = claim_one(broker, "a")
    expect_equal(delivery.attempt, 2, "the attempt")
    settle(broker, Released(delivery))
    expect_equal(claim_one(broker, "a").attempt, 2, "the attempt")


@topic.check(Feature.DELAYS, clock=True)
def release_with_delay(harness: ContractHarness) -> None:
    """A job that is released with a delay is scheduled until then."""
    broker = harness.open()
    settle(broker, Released(submit_and_claim(broker), 30))
    expect_state(broker, JobState.SCHEDULED, "a")
    harness.advance(29)
    expect_swept(broker)
    expect_claimable(broker)
    harness.advance(1)
    expect_swept(broker, due=1)
    expect_equal(claim_one(broker, "a").attempt, 1, "the attempt")


@topic.check()
def retry_counts(harness: ContractHarness) -> None:
    """Each retry is one attempt more, whether the start was settled or not; the payload stays."""
    broker = harness.open()
    payload = b'{"task":"tests.task","a-field-of-a-later-version":1}'
    delivery = submit_and_claim(broker, payload=payload)
    for attempt in range(1, 6):
        expect_equal((delivery.attempt, delivery.payload), (attempt, payload), "attempt and payload")
        if attempt % 2:
            settle(broker, Started(delivery))
        settle(broker, Retried(delivery, 0))
        expect_state(broker, JobState.READY, "a")
        delivery = claim_one(broker, "a")
    settle(broker, succeeded(delivery))
    expect_state(broker, JobState.SUCCEEDED, "a")


@topic.check(Feature.DELAYS, clock=True)
def retry_with_delay(harness: ContractHarness) -> None:
    """A job that is retried after a wait is not delivered before."""
    broker = harness.open()
    settle(broker, Retried(submit_and_claim(broker), 2.5))
    expect_state(broker, JobState.SCHEDULED, "a")
    harness.advance(2)
    expect_swept(broker)
    expect_claimable(broker)
    harness.advance(0.5)
    expect_swept(broker, due=1)
    expect_equal(claim_one(broker, "a").attempt, 2, "the attempt")


@topic.check()
def failure_is_no_outcome(harness: ContractHarness) -> None:
    """The failure of an attempt is not the outcome of the job."""
    broker = harness.open()
    settle(broker, Retried(submit_and_claim(broker), 0, packed(JobState.FAILED, reason="attempt 1")))
    expect_equal(stored(broker, "a").outcome, None, "the outcome of a job that is retried")
    settle(broker, Started(claim_one(broker, "a")))
    expect_equal(stored(broker, "a").outcome, None, "the outcome of a job that runs again")


@topic.check(Part.ADMIN)
def last_failure_is_shown(harness: ContractHarness) -> None:
    """The record of a job shows the failure of its last attempt, until its outcome takes the place."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    for attempt in (1, 2):
        failure = packed(JobState.FAILED, reason=f"attempt {attempt}")
        settle(broker, Retried(delivery, 0, failure))
        expect_equal(record(broker, "a").outcome, failure, "the failure in the record")
        delivery = claim_one(broker, "a")
    settle(broker, succeeded(delivery))
    expect_equal(record(broker, "a").outcome, succeeded(delivery).outcome, "the outcome in the record")


@topic.check(Part.ADMIN, Feature.DELAYS, clock=True)
def due_moment_follows_the_return(harness: ContractHarness) -> None:
    """The record tells when a job that came back may start again."""
    broker = harness.open()
    submit(broker, job("a"))
    harness.advance(4)
    settle(broker, Retried(claim_one(broker, "a"), 6))
    found = record(broker, "a")
    expect_equal(found.due_at - found.created_at, 10, "due_at, in seconds after the submission")
