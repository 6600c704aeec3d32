"""Leases: how long a worker is believed, and who is blamed when it dies."""

from __future__ import annotations

from ...model.delivery import CancelAnswer, Delivery, LeaseState, Released, Renewal, Retried, Started
from ...model.failure import Failure
from ...model.reasons import workers_died
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    admin,
    cancel,
    claim,
    claim_one,
    expect_cancelled,
    expect_claimable,
    expect_ended,
    expect_equal,
    expect_state,
    expect_swept,
    job,
    packed,
    record,
    settle,
    settle_stale,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("lease")

HELD = Renewal(LeaseState.HELD)
LOST = Renewal(LeaseState.LOST)


@topic.check(clock=True)
def lease_is_respected(harness: ContractHarness) -> None:
    """As long as its lease goes on, a job stays with its worker."""
    broker = harness.open()
    settle(broker, Started(submit_and_claim(broker)))
    harness.advance(14.5)
    expect_swept(broker)
    expect_state(broker, JobState.STARTED, "a")


@topic.check(clock=True)
def claimed_job_returns_without_blame(harness: ContractHarness) -> None:
    """A job that was only claimed when its worker died returns as if nothing had been."""
    broker = harness.open()
    submit(broker, job("a", max_crashes=1))
    for turn in range(3):
        delivery = claim_one(broker, "a")
        expect_equal((delivery.attempt, delivery.crashes, delivery.lapses), (1, 0, turn), "attempt, crashes and lapses")
        harness.advance(15)
        expect_swept(broker, returned=1)
        expect_state(broker, JobState.READY, "a")


@topic.check(clock=True)
def started_job_is_blamed(harness: ContractHarness) -> None:
    """A job that was started when its worker died returns with a crash, and the attempt counts."""
    broker = harness.open()
    settle(broker, Started(submit_and_claim(broker)))
    harness.advance(15)
    expect_swept(broker, returned=1)
    delivery = claim_one(broker, "a")
    expect_equal((delivery.attempt, delivery.crashes, delivery.lapses), (2, 1, 1), "attempt, crashes and lapses")


@topic.check(clock=True)
def last_crash_is_the_end(harness: ContractHarness) -> None:
    """A job that took its last worker down is dead, says why, and is not delivered again."""
    broker = harness.open()
    submit(broker, job("a", max_crashes=3), job("b", max_crashes=1))
    for _ in range(2):
        for delivery in claim(broker):
            settle(broker, Started(delivery))
        harness.advance(15)
        broker.sweep(100)
    expect_equal(expect_ended(broker, "b", JobState.DEAD).reason, workers_died(1), "the reason in the outcome of 'b'")
    settle(broker, Started(claim_one(broker, "a")))
    harness.advance(15)
    expect_swept(broker, died=1)
    outcome = expect_ended(broker, "a", JobState.DEAD)
    expect_equal((outcome.reason, outcome.attempt), (workers_died(3), 3), "reason and attempt in the outcome")
    expect_claimable(broker)


@topic.check(clock=True)
def neighbours_are_not_blamed(harness: ContractHarness) -> None:
    """When a job takes its worker down, those claimed beside it are not charged."""
    broker = harness.open()
    submit(broker, job("killer", max_crashes=2), *(job(f"beside-{n}", max_crashes=2) for n in range(3)))
    for _ in range(2):
        deliveries = {delivery.id: delivery for delivery in claim(broker)}
        settle(broker, Started(deliveries["killer"]))
        harness.advance(15)
        broker.sweep(100)
    expect_state(broker, JobState.DEAD, "killer")
    for delivery in expect_claimable(broker, "beside-0", "beside-1", "beside-2"):
        expect_equal((delivery.attempt, delivery.crashes), (1, 0), f"attempt and crashes of {delivery.id!r}")


@topic.check(clock=True)
def crashes_are_not_forgotten(harness: ContractHarness) -> None:
    """Crashes add up over retries and releases between them."""
    broker = harness.open()
    delivery = submit_and_claim(broker, max_crashes=2)
    settle(broker, Started(delivery))
    harness.advance(15)
    expect_swept(broker, returned=1)
    settle(broker, Retried(claim_one(broker, "a"), 0))
    settle(broker, Released(claim_one(broker, "a")))
    delivery = claim_one(broker, "a")
    expect_equal((delivery.attempt, delivery.crashes, delivery.lapses), (3, 1, 1), "attempt, crashes and lapses")
    settle(broker, Started(delivery))
    harness.advance(15)
    expect_swept(broker, died=1)


@topic.check(clock=True)
def error_of_a_dead_job(harness: ContractHarness) -> None:
    """The outcome of a dead job carries the error of the last attempt that failed before."""
    broker = harness.open()
    failure = packed(JobState.FAILED, error=Failure("ValueError", "no such file"))
    settle(broker, Retried(submit_and_claim(broker, max_crashes=1), 0, failure))
    settle(broker, Started(claim_one(broker, "a")))
    harness.advance(15)
    expect_swept(broker, died=1)
    outcome = expect_ended(broker, "a", JobState.DEAD)
    expect_equal(outcome.error and outcome.error.text, "no such file", "the error in the outcome")


@topic.check(clock=True)
def unswept_lease_is_held(harness: ContractHarness) -> None:
    """A lease that is over, and that nobody swept, can still be renewed and settled."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    harness.advance(60)
    expect_equal(broker.renew([first], 15.0), [HELD], "the renewal")
    settle(broker, succeeded(second))
    expect_swept(broker)
    expect_state(broker, JobState.CLAIMED, "a")


@topic.check(clock=True)
def renewal_counts_from_now(harness: ContractHarness) -> None:
    """A renewal gives the lease from now on: longer or shorter than it was."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    harness.advance(10)
    expect_equal(broker.renew([first], 15.0), [HELD], "a longer renewal")
    expect_equal(broker.renew([second], 1.0), [HELD], "a shorter renewal")
    harness.advance(1)
    expect_swept(broker, returned=1)
    expect_state(broker, JobState.READY, "b")
    harness.advance(13.5)
    expect_swept(broker)
    harness.advance(0.5)
    expect_swept(broker, returned=1)
    expect_state(broker, JobState.READY, "a")


@topic.check(clock=True)
def lease_is_ended_by_its_token(harness: ContractHarness) -> None:
    """Whoever knows id, token and address of a delivery can report its start and end its lease, with the same blame."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    known = [Delivery(each.id, "", "", b"", each.token, lapses=1, address=each.address) for each in claim(broker)]
    stale = Delivery("a", "", "", b"", b"0" * 16, lapses=1, address=known[0].address)
    settle(broker, Started(known[1]))
    settle_stale(broker, Started(stale))
    expect_equal(broker.renew([known[0], known[1], stale], 0.0), [HELD, HELD, LOST], "the renewals")
    expect_swept(broker, returned=2)
    expect_state(broker, JobState.CLAIMED, "c")
    crashes = {delivery.id: delivery.crashes for delivery in claim(broker)}
    expect_equal(crashes, {"a": 0, "b": 1}, "the crashes")


@topic.check()
def renewals_in_order(harness: ContractHarness) -> None:
    """Renewals are answered in their order, lost ones in their place."""
    broker = harness.open()
    submit(broker, "a", "b", "c", "d")
    first, second, third, fourth = claim(broker)
    settle(broker, Started(first), succeeded(second), Released(fourth))
    cancel(broker, "c", CancelAnswer.REQUESTED, "stop")
    ghost = Delivery("ghost", "work", "tests.task", b"", b"0" * 16)
    wanted = [HELD, LOST, Renewal(LeaseState.CANCEL, "stop"), LOST, LOST]
    expect_equal(broker.renew([first, second, third, ghost, fourth], 15.0), wanted, "the renewals")


@topic.check(clock=True)
def one_return_per_loss(harness: ContractHarness) -> None:
    """A lost lease is swept once."""
    broker = harness.open()
    submit(broker, "a")
    settle(broker, Started(claim_one(broker, "a")))
    harness.advance(100)
    expect_swept(broker, returned=1)
    expect_swept(broker)
    expect_equal(claim_one(broker, "a").crashes, 1, "crashes")


@topic.check(clock=True)
def cancelled_job_does_not_return(harness: ContractHarness) -> None:
    """A job that somebody asked to cancel is cancelled when its worker dies, started or not."""
    broker = harness.open()
    submit(broker, "claimed", job("started", max_crashes=1))
    _, started = claim(broker)
    settle(broker, Started(started))
    cancel(broker, "claimed", CancelAnswer.REQUESTED, "first")
    cancel(broker, "started", CancelAnswer.REQUESTED, None)
    harness.advance(15)
    expect_swept(broker, returned=2)
    expect_cancelled(broker, "claimed", "first")
    expect_cancelled(broker, "started", None)
    expect_claimable(broker)


@topic.check(Part.ADMIN, clock=True)
def crashes_are_recorded(harness: ContractHarness) -> None:
    """The record tells attempts, crashes and the last worker."""
    broker = harness.open()
    submit(broker, "a")
    settle(broker, Started(claim_one(broker, "a", worker="worker-9")))
    harness.advance(15)
    expect_swept(broker, returned=1)
    found = record(broker, "a")
    expect_equal((found.attempts, found.crashes, found.worker), (1, 1, "worker-9"), "attempts, crashes and worker")
    expect_equal([queue.depth for queue in admin(broker).list_queues()], [1], "the depth of the queue")
