"""The way back for jobs that have ended."""

from __future__ import annotations

from ...brokers.protocol import Broker, Feature
from ...model.delivery import CancelAnswer, Progressed, Retried, Started
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    admin,
    cancel,
    claim_one,
    ended,
    expect_claimable,
    expect_ended,
    expect_equal,
    expect_state,
    expect_swept,
    job,
    record,
    settle,
    settle_stale,
    stored,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("requeue", Part.ADMIN)


@topic.check()
def unlucky_jobs_go_back(harness: ContractHarness) -> None:
    """Failed, cancelled, expired and dead jobs can be made ready again."""
    broker = harness.open()
    states = [JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED, JobState.DEAD]
    ids = [state.value for state in states]
    for state in states:
        settle(broker, ended(submit_and_claim(broker, state.value, payload=state.encode()), state))
    _requeue(broker, *ids)
    expect_state(broker, JobState.READY, *ids)
    for delivery in expect_claimable(broker, *ids):
        expect_equal((delivery.payload, delivery.attempt), (delivery.id.encode(), 1), "payload and attempt")


@topic.check()
def others_do_not(harness: ContractHarness) -> None:
    """A job that succeeded, has not ended or is unknown stays as it is."""
    broker = harness.open()
    settle(broker, succeeded(submit_and_claim(broker, "succeeded")))
    submit_and_claim(broker, "claimed")
    settle(broker, Started(submit_and_claim(broker, "started")))
    submit(broker, "ready")
    ids = ["succeeded", "claimed", "started", "ready", "ghost"]
    expect_equal(admin(broker).requeue(ids), [False] * 5, "the answers")
    for state in ids[:-1]:
        expect_state(broker, JobState(state), state)


@topic.check()
def answers_in_order(harness: ContractHarness) -> None:
    """A batch is answered in its order; the second of two equal ids finds the job ready."""
    broker = harness.open()
    for job_id in ("a", "b"):
        settle(broker, ended(submit_and_claim(broker, job_id), JobState.FAILED))
    expect_equal(admin(broker).requeue(["b", "ghost", "b", "a"]), [True, False, False, True], "the answers")
    expect_claimable(broker, "a", "b")


@topic.check()
def requeued_job_is_as_new(harness: ContractHarness) -> None:
    """A requeued job has no attempts, crashes, outcome, progress or cancel left."""
    broker = harness.open()
    settle(broker, Retried(submit_and_claim(broker), 0))
    delivery = claim_one(broker, "a")
    settle(broker, Started(delivery), Progressed(delivery, b"1"))
    cancel(broker, "a", CancelAnswer.REQUESTED)
    settle(broker, ended(delivery, JobState.CANCELLED))
    cursor = record(broker, "a").cursor
    _requeue(broker, "a")
    expect_equal(stored(broker, "a").outcome, None, "the outcome of a requeued job")
    found = record(broker, "a")
    expect_equal((found.attempts, found.crashes, found.cursor), (0, 0, cursor), "attempts, crashes and cursor")
    left = (found.outcome, found.progress, found.cancel_reason, found.started_at, found.ended_at, found.worker)
    expect_equal(left, (None,) * 6, "outcome, progress, cancel_reason, started_at, ended_at and worker")
    settle_stale(broker, succeeded(delivery))
    settle(broker, Retried(claim_one(broker, "a"), 0))
    expect_state(broker, JobState.READY, "a")


@topic.check(clock=True)
def dead_job_has_all_its_lives(harness: ContractHarness) -> None:
    """A dead job that is requeued may take as many workers down as before."""
    broker = harness.open()
    submit(broker, job("a", max_crashes=2))
    for _ in range(2):
        for _ in range(2):
            expect_state(broker, JobState.READY, "a")
            settle(broker, Started(claim_one(broker, "a")))
            harness.advance(15)
            broker.sweep(100)
        expect_ended(broker, "a", JobState.DEAD)
        _requeue(broker, "a")
    delivery = claim_one(broker, "a")
    expect_equal((delivery.crashes, delivery.lapses), (0, 0), "crashes and lapses")


@topic.check(clock=True)
def requeued_job_neither_expires_nor_is_dropped(harness: ContractHarness) -> None:
    """A requeued job does not expire, and what is left of its first end does not drop it."""
    broker = harness.open()
    submit(broker, job("a", expires_seconds=10, keep_seconds=60))
    harness.advance(10)
    expect_swept(broker, expired=1)
    _requeue(broker, "a")
    harness.advance(600)
    expect_swept(broker)
    delivery = claim_one(broker, "a")
    expect_equal((delivery.expires_in_seconds, delivery.waited_seconds), (None, 600), "expires and waited seconds")
    settle(broker, succeeded(delivery))
    harness.advance(59)
    expect_swept(broker)
    harness.advance(1)
    expect_swept(broker, dropped=1)


@topic.check(Feature.KEYS)
def key_may_be_gone(harness: ContractHarness) -> None:
    """A job whose key belongs to another one by now is not requeued; otherwise it has its key again."""
    broker = harness.open()
    settle(broker, ended(submit_and_claim(broker, "a", key="k"), JobState.FAILED))
    other = submit_and_claim(broker, "b", key="k")
    expect_equal(admin(broker).requeue(["a"]), [False], "the answer while another job has the key")
    expect_state(broker, JobState.FAILED, "a")
    settle(broker, ended(other, JobState.FAILED))
    expect_equal(admin(broker).requeue(["a", "b"]), [True, False], "the answers when the key is free")
    (receipt,) = broker.submit([job("c", key="k")])
    expect_equal((receipt.id, receipt.created), ("a", False), "the receipt for a third job with the key")


@topic.check(Part.ADMIN)
def paused_queue_keeps_it(harness: ContractHarness) -> None:
    """A job that is requeued into a paused queue waits there."""
    broker = harness.open()
    settle(broker, ended(submit_and_claim(broker), JobState.FAILED))
    admin(broker).pause("work")
    _requeue(broker, "a")
    expect_claimable(broker)


def _requeue(broker: Broker, *job_ids: str) -> None:
    expect_equal(admin(broker).requeue(job_ids), [True] * len(job_ids), f"the answers to a requeue of {list(job_ids)}")
