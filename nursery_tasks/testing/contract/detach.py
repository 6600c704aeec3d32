"""Owned jobs that somebody submits again as detached ones: from then on they outlive their owner."""

from __future__ import annotations

from ...brokers.protocol import Feature
from ...model.delivery import CancelAnswer, LeaseState, Renewal, Retried, Started
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    LEASE_SECONDS,
    OTHER_OWNER,
    OWNER,
    awaited,
    cancel,
    claim,
    claim_one,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    expect_unknown,
    job,
    leased,
    record,
    renew_owners,
    repeat,
    settle,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("detached jobs")


@topic.check()
def detached_repetition(harness: ContractHarness) -> None:
    """A detached submission of a known id takes the job away from its owner, whether it waits or is held; and no other."""
    broker = harness.open()
    submit(broker, *(leased(job_id) for job_id in ("claimed", "started", "waiting", "left")))
    claimed, started = claim(broker, 2)
    settle(broker, Started(started))
    repeat(broker, "waiting", "claimed", "started")
    renew_owners(broker, 0.0, OWNER)
    held = Renewal(LeaseState.HELD)
    expect_equal(broker.renew([claimed, started], 15.0), [held, held], "the renewals")
    expect_cancelled(broker, "left", OWNER_GONE)
    (delivery,) = expect_claimable(broker, "waiting")
    expect_equal(delivery.owned, False, "owned")


@topic.check(Feature.DELAYS, clock=True)
def scheduled_job_is_detached(harness: ContractHarness) -> None:
    """A scheduled job that was detached starts at its time, when the owner's lease has long been over."""
    broker = harness.open()
    submit(broker, leased("a", delay_seconds=60), leased("left", delay_seconds=60))
    repeat(broker, "a")
    harness.advance(15)
    expect_swept(broker, orphaned=1)
    harness.advance(45)
    expect_swept(broker, due=1)
    expect_claimable(broker, "a")


@topic.check(clock=True)
def unswept_lease_over_detaches(harness: ContractHarness) -> None:
    """A job can be detached as long as no sweep has found its owner's lease over."""
    broker = harness.open()
    submit(broker, leased("a"), leased("b"))
    harness.advance(60)
    repeat(broker, "a")
    expect_swept(broker, orphaned=1)
    expect_cancelled(broker, "b", OWNER_GONE)
    expect_claimable(broker, "a")


@topic.check()
def awaited_job_is_detached(harness: ContractHarness) -> None:
    """A job that was taken away from a delivery goes on when the delivery ends."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, awaited("a", parent), awaited("b", parent))
    repeat(broker, "a")
    settle(broker, succeeded(parent))
    expect_cancelled(broker, "b", OWNER_ENDED)
    expect_claimable(broker, "a")


@topic.check(clock=True)
def lost_owner_does_not_wait(harness: ContractHarness) -> None:
    """A job of a worker that died is tried again at once when all that it owned was detached, and nothing of it is told."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, awaited("child", parent))
    child = claim_one(broker, "child", lease_seconds=1_000)
    repeat(broker, "child")
    harness.advance(LEASE_SECONDS)
    expect_swept(broker, returned=1)
    expect_equal(broker.renew([child], 15.0), [Renewal(LeaseState.HELD)], "the renewal of the child")
    expect_claimable(broker, "parent")


@topic.check(Feature.KEYS)
def detached_repetition_of_a_key(harness: ContractHarness) -> None:
    """A detached submission detaches the job that has its key, too; one that has its id goes before that."""
    broker = harness.open()
    submit(broker, leased("a", key="k"), leased("b", key="l"), leased("c"))
    repeat(broker, job("x", key="k"), known="a")
    repeat(broker, job("c", key="l"))
    expect_unknown(broker, "x")
    renew_owners(broker, 0.0, OWNER)
    expect_cancelled(broker, "b", OWNER_GONE)
    expect_claimable(broker, "a", "c")


@topic.check()
def detached_in_one_batch(harness: ContractHarness) -> None:
    """In one batch a detached repetition follows an owned job, and an owned repetition does not take a detached job."""
    broker = harness.open()
    batch = [leased("a"), job("b"), job("a"), leased("b"), leased("c")]
    receipts = broker.submit(batch)
    wanted = [("a", True), ("b", True), ("a", False), ("b", False), ("c", True)]
    expect_equal([(receipt.id, receipt.created) for receipt in receipts], wanted, "the receipts")
    renew_owners(broker, 0.0, OWNER)
    expect_cancelled(broker, "c", OWNER_GONE)
    expect_claimable(broker, "a", "b")


@topic.check()
def detached_stays_detached(harness: ContractHarness) -> None:
    """Nobody gets a detached job back by submitting it with an owner once more, or may cancel it as its own."""
    broker = harness.open()
    submit(broker, leased("a"))
    repeat(broker, "a")
    repeat(broker, leased("a"), leased("a", OTHER_OWNER))
    for owner in (OWNER, OTHER_OWNER):
        cancel(broker, "a", CancelAnswer.UNKNOWN, owner=owner)
        renew_owners(broker, 0.0, owner)
    expect_equal(claim_one(broker, "a").owned, False, "owned")
    cancel(broker, "a", CancelAnswer.REQUESTED)


@topic.check()
def detaching_undoes_no_cancel(harness: ContractHarness) -> None:
    """A job that is being cancelled, or was, is not saved by a detached repetition."""
    broker = harness.open()
    submit(broker, leased("held"), leased("waiting"))
    held = claim_one(broker, "held", limit=1)
    renew_owners(broker, 0.0, OWNER)
    repeat(broker, "held", "waiting")
    expect_equal(broker.renew([held], 15.0), [Renewal(LeaseState.CANCEL, OWNER_GONE)], "the renewal")
    settle(broker, Retried(held, 0))
    expect_cancelled(broker, "held", OWNER_GONE)
    expect_cancelled(broker, "waiting", OWNER_GONE)


@topic.check(Part.ADMIN)
def record_follows_the_owner(harness: ContractHarness) -> None:
    """The record of a detached job has no owner any more; one that had ended before keeps what it shows."""
    broker = harness.open()
    submit(broker, leased("ended"), leased("a"))
    settle(broker, succeeded(claim_one(broker, "ended", limit=1)))
    repeat(broker, "ended", "a")
    expect_state(broker, JobState.SUCCEEDED, "ended")
    expect_equal([record(broker, job_id).owned for job_id in ("ended", "a")], [True, False], "owned")


@topic.check(Feature.DURABLE)
def detaching_outlives_the_broker(harness: ContractHarness) -> None:
    """A job that was detached is so after the broker was opened again."""
    broker = harness.open()
    submit(broker, leased("a"), leased("b"))
    repeat(broker, "a")
    broker = harness.reopen()
    renew_owners(broker, 0.0, OWNER)
    expect_cancelled(broker, "b", OWNER_GONE)
    expect_claimable(broker, "a")
