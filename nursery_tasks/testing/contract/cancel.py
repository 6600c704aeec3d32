"""Cancelling: a job that waits never starts, one that is held is told."""

from __future__ import annotations

from ...brokers.protocol import Feature
from ...model.delivery import CancelAnswer, LeaseState, Released, Renewal, Retried, Started
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    OTHER_OWNER,
    OWNER,
    awaited,
    cancel,
    claim,
    claim_one,
    expect_cancelled,
    expect_claimable,
    expect_ended,
    expect_equal,
    expect_state,
    expect_swept,
    expect_unknown,
    job,
    leased,
    packed,
    record,
    settle,
    settle_stale,
    stored,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("cancel")


@topic.check()
def waiting_job_never_starts(harness: ContractHarness) -> None:
    """A job that waits is cancelled at once, says why, and is never delivered."""
    broker = harness.open()
    submit(broker, "a", "b")
    cancel(broker, "a", CancelAnswer.CANCELLED, "too late")
    expect_cancelled(broker, "a", "too late")
    expect_equal(expect_ended(broker, "a", JobState.CANCELLED).attempt, 0, "the attempt in the outcome")
    expect_claimable(broker, "b")


@topic.check(Feature.DELAYS, clock=True)
def scheduled_job_never_starts(harness: ContractHarness) -> None:
    """A scheduled job is cancelled at once and does not become ready at its time."""
    broker = harness.open()
    submit(broker, job("a", delay_seconds=10))
    cancel(broker, "a", CancelAnswer.CANCELLED, None)
    expect_cancelled(broker, "a", None)
    harness.advance(20)
    expect_swept(broker)
    expect_claimable(broker)


@topic.check()
def held_job_is_told(harness: ContractHarness) -> None:
    """A job that a worker holds stays with it; each renewal says that it should be cancelled, and why."""
    broker = harness.open()
    submit(broker, "claimed", "started")
    deliveries = claim(broker)
    settle(broker, Started(deliveries[1]))
    for delivery, state in zip(deliveries, (JobState.CLAIMED, JobState.STARTED), strict=True):
        cancel(broker, delivery.id, CancelAnswer.REQUESTED, "stop")
        expect_state(broker, state, delivery.id)
        for _ in range(2):
            expect_equal(broker.renew([delivery], 15.0), [Renewal(LeaseState.CANCEL, "stop")], "the renewal")


@topic.check()
def cancel_before_the_start(harness: ContractHarness) -> None:
    """A cancel of a claimed job is not forgotten when the job is started."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    cancel(broker, "a", CancelAnswer.REQUESTED, "stop")
    settle(broker, Started(delivery))
    expect_equal(broker.renew([delivery], 15.0), [Renewal(LeaseState.CANCEL, "stop")], "the renewal")
    settle(broker, Retried(delivery, 0))
    expect_cancelled(broker, "a", "stop")


@topic.check()
def outcome_wins(harness: ContractHarness) -> None:
    """A job that ends before it was told has the outcome that it came to."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    cancel(broker, "a", CancelAnswer.REQUESTED)
    settle(broker, succeeded(delivery))
    expect_equal(stored(broker, "a").outcome, succeeded(delivery).outcome, "the outcome")
    expect_state(broker, JobState.SUCCEEDED, "a")


@topic.check()
def first_reason_stays(harness: ContractHarness) -> None:
    """The reason of the first cancel counts, also when it had none."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    cancel(broker, "a", CancelAnswer.REQUESTED, "first")
    cancel(broker, "a", CancelAnswer.REQUESTED, "second")
    cancel(broker, "b", CancelAnswer.REQUESTED, None)
    cancel(broker, "b", CancelAnswer.REQUESTED, "second")
    wanted = [Renewal(LeaseState.CANCEL, "first"), Renewal(LeaseState.CANCEL, None)]
    expect_equal(broker.renew([first, second], 15.0), wanted, "the renewals")
    settle(broker, Released(first), Released(second))
    expect_cancelled(broker, "a", "first")
    expect_cancelled(broker, "b", None)


@topic.check()
def retry_of_a_cancelled_job(harness: ContractHarness) -> None:
    """A job that somebody asked to cancel is cancelled instead of retried, and its outcome counts the attempt."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, Started(delivery))
    cancel(broker, "a", CancelAnswer.REQUESTED, "stop")
    settle(broker, Retried(delivery, 30, packed(JobState.FAILED)))
    expect_cancelled(broker, "a", "stop")
    expect_equal(expect_ended(broker, "a", JobState.CANCELLED).attempt, 1, "the attempt in the outcome")
    settle_stale(broker, Retried(delivery, 30))
    expect_claimable(broker)


@topic.check()
def release_of_a_cancelled_job(harness: ContractHarness) -> None:
    """A job that somebody asked to cancel is cancelled instead of given back, started or not."""
    broker = harness.open()
    submit(broker, "claimed", "started")
    claimed, started = claim(broker)
    settle(broker, Started(started))
    broker.cancel(["claimed", "started"], "stop")
    settle(broker, Released(claimed), Released(started, 30))
    expect_cancelled(broker, "claimed", "stop")
    expect_cancelled(broker, "started", "stop")
    expect_equal(expect_ended(broker, "started", JobState.CANCELLED).attempt, 0, "the attempt in the outcome")
    expect_claimable(broker)


@topic.check()
def cancel_after_the_end(harness: ContractHarness) -> None:
    """A cancel after the end changes nothing and says so."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, succeeded(delivery))
    cancel(broker, "a", CancelAnswer.FINISHED)
    expect_equal(stored(broker, "a").outcome, succeeded(delivery).outcome, "the outcome")


@topic.check()
def cancel_of_an_unknown_job(harness: ContractHarness) -> None:
    """A cancel of an unknown id says so and has no effect on a later job with this id."""
    broker = harness.open()
    cancel(broker, "a", CancelAnswer.UNKNOWN)
    expect_unknown(broker, "a")
    submit(broker, "a")
    delivery = claim_one(broker, "a")
    expect_equal(broker.renew([delivery], 15.0), [Renewal(LeaseState.HELD)], "the renewal")


@topic.check()
def answers_in_order(harness: ContractHarness) -> None:
    """The answers to a batch of cancels have its order; the second of two equal ids sees what the first one did."""
    broker = harness.open()
    submit(broker, "ended", "held", "waiting")
    first, _ = claim(broker, 2)
    settle(broker, succeeded(first))
    answers = broker.cancel(["waiting", "ghost", "held", "ended", "waiting", "held"], "stop")
    wanted = ["cancelled", "unknown", "requested", "finished", "finished", "requested"]
    expect_equal([answer.value for answer in answers], wanted, "the answers")


@topic.check()
def cancel_for_an_owner(harness: ContractHarness) -> None:
    """With an owner, its jobs are cancelled as they would be without one: those of a lease, and those of a delivery."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, leased("held"), awaited("awaited", parent), leased("waiting"))
    held = claim_one(broker, "held", limit=1)
    wanted = [CancelAnswer.CANCELLED, CancelAnswer.REQUESTED]
    expect_equal(broker.cancel(["waiting", "held"], "stop", OWNER), wanted, "the answers to the lease")
    cancel(broker, "awaited", CancelAnswer.CANCELLED, "stop", parent.token)
    expect_cancelled(broker, "waiting", "stop")
    expect_cancelled(broker, "awaited", "stop")
    expect_equal(broker.renew([held], 15.0), [Renewal(LeaseState.CANCEL, "stop")], "the renewal")


@topic.check()
def cancel_for_an_owner_spares_others(harness: ContractHarness) -> None:
    """With an owner, jobs that are detached or belong to others are left alone; the answer is the one for unknown jobs."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, "detached", leased("other", OTHER_OWNER), awaited("awaited", parent), leased("mine"))
    detached = claim_one(broker, "detached", limit=1)
    ids = ["parent", "detached", "other", "ghost", "awaited"]
    for owner in (OWNER, b"nobody", b""):
        expect_equal(broker.cancel(ids, "stop", owner), [CancelAnswer.UNKNOWN] * 5, f"the answers to {owner!r}")
    cancel(broker, "mine", CancelAnswer.UNKNOWN, "stop", parent.token)
    held = [Renewal(LeaseState.HELD)] * 2
    expect_equal(broker.renew([parent, detached], 15.0), held, "the renewals")
    expect_claimable(broker, "other", "awaited", "mine")


@topic.check()
def cancel_for_an_owner_leaves_ends_alone(harness: ContractHarness) -> None:
    """With an owner, a job that has ended counts as unknown, also when an equal id before it in the batch has ended it."""
    broker = harness.open()
    submit(broker, leased("ended"), leased("waiting"))
    delivery = claim_one(broker, "ended", limit=1)
    settle(broker, succeeded(delivery))
    answers = broker.cancel(["ended", "waiting", "waiting"], "stop", OWNER)
    expect_equal([answer.value for answer in answers], ["unknown", "cancelled", "unknown"], "the answers")
    expect_equal(stored(broker, "ended").outcome, succeeded(delivery).outcome, "the outcome")


@topic.check(Part.ADMIN)
def cancel_is_recorded(harness: ContractHarness) -> None:
    """The record shows the reason from the request on; it is empty where none was given."""
    broker = harness.open()
    submit(broker, "a", "b", "c", "d")
    claim(broker, 2)
    broker.cancel(["a", "c"], "stop")
    broker.cancel(["b"], None)
    reasons = [record(broker, job_id).cancel_reason for job_id in "abcd"]
    expect_equal(reasons, ["stop", "", "stop", None], "the reasons")
