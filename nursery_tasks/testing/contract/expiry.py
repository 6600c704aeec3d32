"""Jobs that nobody wants any more when they were not started in time."""

from __future__ import annotations

from ...brokers.protocol import Feature
from ...model.delivery import Released, Retried, Started
from ...model.reasons import NOT_STARTED_IN_TIME
from ...model.states import JobState
from .harness import ContractHarness, Topic
from .steps import (
    claim_one,
    ended,
    expect,
    expect_claimable,
    expect_ended,
    expect_equal,
    expect_state,
    expect_swept,
    job,
    settle,
    submit,
    submit_and_claim,
    sweep,
)

topic = Topic("expiry")


@topic.check(clock=True)
def late_job_is_not_delivered(harness: ContractHarness) -> None:
    """A job past its time is not delivered, also before a sweep, and hides none of those behind it."""
    broker = harness.open()
    submit(broker, job("a", expires_seconds=10), job("b"), job("c", expires_seconds=30))
    harness.advance(10)
    expect_claimable(broker, "b", "c")


@topic.check(clock=True)
def late_job_expires(harness: ContractHarness) -> None:
    """A sweep ends a job past its time, with an outcome that says so."""
    broker = harness.open()
    submit(broker, job("a", expires_seconds=10), "b")
    harness.advance(9.5)
    expect_swept(broker)
    harness.advance(0.5)
    expect_swept(broker, expired=1)
    outcome = expect_ended(broker, "a", JobState.EXPIRED)
    expect_equal((outcome.reason, outcome.attempt), (NOT_STARTED_IN_TIME, 0), "reason and attempt in the outcome")
    expect_claimable(broker, "b")
    expect_swept(broker)


@topic.check(clock=True)
def job_in_time_is_delivered(harness: ContractHarness) -> None:
    """A job is delivered until its time is over, and the delivery says how much is left."""
    broker = harness.open()
    submit(broker, job("a", expires_seconds=10), "b")
    harness.advance(9.5)
    first, second = expect_claimable(broker, "a", "b")
    expect_equal((first.expires_in_seconds, second.expires_in_seconds), (0.5, None), "expires_in_seconds")
    harness.advance(1)
    settle(broker, Started(first))  # it was claimed in time: whether it is late now, the worker decides
    expect_swept(broker)


@topic.check(Feature.DELAYS, clock=True)
def time_counts_from_the_due_moment(harness: ContractHarness) -> None:
    """The time to expire counts from the moment from which the job may start."""
    broker = harness.open()
    submit(broker, job("a", delay_seconds=10, expires_seconds=5), job("b", delay_seconds=10, expires_seconds=5))
    harness.advance(12)
    expect_swept(broker, due=2)
    expect_equal(claim_one(broker, "a", limit=1).expires_in_seconds, 3, "expires_in_seconds")
    harness.advance(3)
    expect_claimable(broker)
    expect_swept(broker, expired=1)
    expect_state(broker, JobState.EXPIRED, "b")


@topic.check(Feature.DELAYS, clock=True)
def unswept_schedule_expires(harness: ContractHarness) -> None:
    """A scheduled job whose time came and went between two sweeps expires."""
    broker = harness.open()
    submit(broker, job("a", delay_seconds=10, expires_seconds=5))
    harness.advance(15)
    expect_equal(sweep(broker).expired, 1, "expired jobs of the sweep")
    expect_ended(broker, "a", JobState.EXPIRED)


@topic.check(clock=True)
def released_job_expires(harness: ContractHarness) -> None:
    """A job that was given back in vain expires at the same moment as before."""
    broker = harness.open()
    settle(broker, Released(submit_and_claim(broker, expires_seconds=20)))
    harness.advance(10)
    delivery = claim_one(broker, "a")
    expect_equal(delivery.expires_in_seconds, 10, "expires_in_seconds")
    settle(broker, Started(delivery), Released(delivery))
    harness.advance(10)
    expect_claimable(broker)
    expect_swept(broker, expired=1)


@topic.check(clock=True)
def retried_job_does_not_expire(harness: ContractHarness) -> None:
    """Once an attempt counts, a job does not expire."""
    broker = harness.open()
    settle(broker, Retried(submit_and_claim(broker, expires_seconds=10), 0))
    harness.advance(100)
    expect_swept(broker)
    expect_equal(claim_one(broker, "a").expires_in_seconds, None, "expires_in_seconds of a second attempt")


@topic.check(clock=True)
def crashed_job_does_not_expire(harness: ContractHarness) -> None:
    """Once a worker died with it, a job does not expire."""
    broker = harness.open()
    settle(broker, Started(submit_and_claim(broker, expires_seconds=20)))
    harness.advance(100)
    expect_swept(broker, returned=1)
    delivery = claim_one(broker, "a")
    expect_equal(delivery.expires_in_seconds, None, "expires_in_seconds after a crash")
    settle(broker, Started(delivery), Released(delivery))
    expect_swept(broker)
    expect_claimable(broker, "a")


@topic.check(clock=True)
def claimed_job_expires_after_its_return(harness: ContractHarness) -> None:
    """A job whose worker died before it started the job expires when its time is over."""
    broker = harness.open()
    submit_and_claim(broker, expires_seconds=20)
    harness.advance(100)
    sweep(broker)
    expect_claimable(broker)
    sweep(broker)
    expect_ended(broker, "a", JobState.EXPIRED)


@topic.check()
def worker_may_expire_a_job(harness: ContractHarness) -> None:
    """A worker that comes too late to start a job may end it as expired."""
    broker = harness.open()
    delivery = submit_and_claim(broker, expires_seconds=3600)
    expect((delivery.expires_in_seconds or 0) > 0, f"expires_in_seconds is {delivery.expires_in_seconds!r}")
    settle(broker, ended(delivery, JobState.EXPIRED))
    expect_ended(broker, "a", JobState.EXPIRED)
