"""Jobs that may not start yet."""

from __future__ import annotations

from ...brokers.protocol import Feature
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    claim,
    expect,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    ids_of,
    job,
    record,
    settle,
    submit,
    succeeded,
    sweep,
)

topic = Topic("delay", Feature.DELAYS)


@topic.check()
def delayed_job_waits(harness: ContractHarness) -> None:
    """A job with a delay is scheduled and is not delivered."""
    broker = harness.open()
    submit(broker, job("a", delay_seconds=3600))
    expect_state(broker, JobState.SCHEDULED, "a")
    expect_swept(broker)
    expect_claimable(broker)


@topic.check(clock=True)
def delayed_job_is_delivered_when_due(harness: ContractHarness) -> None:
    """A delayed job is not delivered before its time, and is after the first sweep from then on."""
    broker = harness.open()
    submit(broker, job("a", delay_seconds=10))
    harness.advance(9.5)
    expect_swept(broker)
    expect_claimable(broker)
    harness.advance(0.5)
    expect_swept(broker, due=1)
    expect_state(broker, JobState.READY, "a")
    expect_claimable(broker, "a")


@topic.check(clock=True)
def moment_wins_over_delay(harness: ContractHarness) -> None:
    """A job with a moment starts then, whatever its delay is; one whose moment has passed is ready at once."""
    broker = harness.open()
    now = harness.now()
    submit(
        broker,
        job("later", start_at=now + 20, delay_seconds=1),
        job("past", start_at=now - 20, delay_seconds=30),
        job("now", start_at=now),
    )
    expect_equal(ids_of(claim(broker, lease_seconds=600)), ["past", "now"], "the jobs that can be claimed at once")
    harness.advance(19)
    expect_swept(broker)
    harness.advance(1)
    expect_swept(broker, due=1)
    expect_claimable(broker, "later")


@topic.check(clock=True)
def next_due_moment_is_told(harness: ContractHarness) -> None:
    """A sweep says how long it is until the next scheduled job is due."""
    broker = harness.open()
    expect_equal(sweep(broker).next_due_seconds, None, "next_due_seconds of an empty broker")
    submit(broker, "ready", job("b", delay_seconds=30), job("a", delay_seconds=12))
    expect_equal(sweep(broker).next_due_seconds, 12, "next_due_seconds")
    harness.advance(10)
    expect_equal(sweep(broker).next_due_seconds, 2, "next_due_seconds 10 s later")
    harness.advance(2)
    expect_equal(sweep(broker).next_due_seconds, 18, "next_due_seconds after the first was due")
    broker.cancel(["b"], None)
    expect_equal(sweep(broker).next_due_seconds, None, "next_due_seconds after the other one was cancelled")


@topic.check(clock=True)
def due_jobs_in_portions(harness: ContractHarness) -> None:
    """Due jobs that are more than the sweep's limit come in several sweeps, and all of them do."""
    broker = harness.open()
    submit(broker, *(job(f"a{n}", delay_seconds=1 + n / 10) for n in range(50)))
    harness.advance(10)
    first = sweep(broker, 10)
    expect(0 < first.due < 50, f"a sweep of about 10 made {first.due} of 50 jobs ready")
    expect(first.more, "a sweep that left due jobs must say that there is more")
    due, sweeps = first.due, 1
    while due < 50 and sweeps < 60:
        due += sweep(broker, 10).due
        sweeps += 1
    expect_equal(due, 50, f"jobs made ready by {sweeps} sweeps")
    expect_equal(len(claim(broker)), 50, "jobs that can be claimed")


@topic.check(Part.ADMIN, clock=True)
def due_moment_is_recorded(harness: ContractHarness) -> None:
    """The record tells from when on the job may start, or might have."""
    broker = harness.open()
    submit(broker, job("a", delay_seconds=10), job("b", start_at=harness.now() + 20), job("c"))
    found = [record(broker, job_id) for job_id in ("a", "b", "c")]
    expect_equal([each.due_at - each.created_at for each in found], [10, 20, 0], "due_at after created_at")


@topic.check(Feature.PRIORITIES, clock=True)
def due_jobs_have_their_priority(harness: ContractHarness) -> None:
    """A job that became due is claimed by its priority."""
    broker = harness.open()
    submit(broker, job("low", delay_seconds=1), job("high", delay_seconds=2, priority=9), "plain")
    harness.advance(2)
    expect_swept(broker, due=2)
    deliveries = claim(broker)
    expect_equal(ids_of(deliveries), ["high", "low", "plain"], "the order")
    settle(broker, *(succeeded(delivery) for delivery in deliveries))
