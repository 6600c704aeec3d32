"""Submitting again: ids, and keys that unfinished jobs of one task may have only once."""

from __future__ import annotations

from collections.abc import Callable

from ...brokers.protocol import Broker, Feature
from ...model.delivery import CancelAnswer, Delivery, Receipt, Released, Retried, Started, Submission
from ...model.states import JobState
from .harness import ContractHarness, Topic
from .steps import (
    cancel,
    claim_one,
    ended,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    expect_unknown,
    job,
    settle,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("ids and keys")


@topic.check()
def known_id_is_not_stored(harness: ContractHarness) -> None:
    """A job whose id waits already is not stored again; the first one stays as it was."""
    broker = harness.open()
    submit(broker, job("a", payload=b"first"))
    _expect_receipts(broker, [job("a", payload=b"second", queue="other")], ("a", False))
    (delivery,) = expect_claimable(broker, "a", queues=["other", "work"])
    expect_equal(delivery.payload, b"first", "the payload")


@topic.check()
def id_twice_in_a_batch(harness: ContractHarness) -> None:
    """The second of two equal ids in one batch is a repetition."""
    broker = harness.open()
    batch = [job("a", payload=b"first"), job("b"), job("a", payload=b"second")]
    _expect_receipts(broker, batch, ("a", True), ("b", True), ("a", False))
    first, _ = expect_claimable(broker, "a", "b")
    expect_equal(first.payload, b"first", "the payload")


@topic.check()
def held_and_ended_ids_are_known(harness: ContractHarness) -> None:
    """An id is known while the job is held, and as long as its outcome is kept."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    _expect_receipts(broker, [job("a")], ("a", False))
    settle(broker, Started(delivery))
    _expect_receipts(broker, [job("a")], ("a", False))
    settle(broker, succeeded(delivery))
    _expect_receipts(broker, [job("a")], ("a", False))
    expect_state(broker, JobState.SUCCEEDED, "a")
    expect_claimable(broker)


@topic.check(clock=True)
def dropped_id_is_new(harness: ContractHarness) -> None:
    """An id may be used again once the outcome has been kept for its time."""
    broker = harness.open()
    settle(broker, succeeded(submit_and_claim(broker, keep_seconds=60)))
    harness.advance(60)
    expect_swept(broker, dropped=1)
    expect_unknown(broker, "a")
    submit(broker, "a")
    expect_equal(claim_one(broker, "a").attempt, 1, "the attempt")


@topic.check(Feature.KEYS)
def key_of_a_waiting_job(harness: ContractHarness) -> None:
    """While a job waits, another one of the same task with its key is not stored; the receipt names the first."""
    broker = harness.open()
    submit(broker, job("a", key="k", payload=b"first"))
    _expect_receipts(broker, [job("b", key="k", payload=b"second", queue="other")], ("a", False))
    expect_unknown(broker, "b")
    expect_claimable(broker, "a", queues=["other", "work"])


@topic.check(Feature.KEYS)
def keys_belong_to_a_task(harness: ContractHarness) -> None:
    """Jobs of different tasks, with different keys, or without one, do not get in each other's way."""
    broker = harness.open()
    submit(broker, job("a", key="k"), job("b", key="k", task="tests.other"), job("c", key="K"), "d", "e")
    expect_claimable(broker, "a", "b", "c", "d", "e")


@topic.check(Feature.KEYS)
def key_twice_in_a_batch(harness: ContractHarness) -> None:
    """The second of two equal keys in one batch is a repetition."""
    broker = harness.open()
    batch = [job("a", key="k"), job("b", key="k"), job("c", key="other"), job("a", key="other")]
    _expect_receipts(broker, batch, ("a", True), ("a", False), ("c", True), ("a", False))
    expect_claimable(broker, "a", "c")


@topic.check(Feature.KEYS)
def key_of_a_held_job(harness: ContractHarness) -> None:
    """A job keeps its key while it is held, released and retried, until it ends."""
    broker = harness.open()
    delivery = submit_and_claim(broker, key="k")
    back: list[Callable[[Delivery], Released | Retried]] = [Released, lambda delivery: Retried(delivery, 0)]
    for give_back in back:
        _expect_receipts(broker, [job("b", key="k")], ("a", False))
        settle(broker, Started(delivery))
        _expect_receipts(broker, [job("b", key="k")], ("a", False))
        settle(broker, give_back(delivery))
        _expect_receipts(broker, [job("b", key="k")], ("a", False))
        delivery = claim_one(broker, "a")
    settle(broker, succeeded(delivery))
    submit(broker, job("b", key="k"))
    _expect_receipts(broker, [job("c", key="k")], ("b", False))


@topic.check(Feature.KEYS)
def every_end_frees_the_key(harness: ContractHarness) -> None:
    """A key is free when its job has failed, or was cancelled."""
    broker = harness.open()
    settle(broker, ended(submit_and_claim(broker, key="k"), JobState.FAILED))
    submit(broker, job("b", key="k"))
    cancel(broker, "b", CancelAnswer.CANCELLED)
    submit(broker, job("c", key="k"))
    expect_claimable(broker, "c")


@topic.check(Feature.KEYS, clock=True)
def time_frees_the_key(harness: ContractHarness) -> None:
    """A key is free when its job has expired, or is dead."""
    broker = harness.open()
    submit(broker, job("a", key="k", expires_seconds=10))
    harness.advance(10)
    expect_swept(broker, expired=1)
    settle(broker, Started(submit_and_claim(broker, "b", key="k", max_crashes=1)))
    harness.advance(15)
    expect_swept(broker, died=1)
    submit(broker, job("c", key="k"))


@topic.check(Feature.KEYS, Feature.DELAYS, clock=True)
def scheduled_job_has_its_key(harness: ContractHarness) -> None:
    """A scheduled job has its key, before and after it is due."""
    broker = harness.open()
    submit(broker, job("a", key="k", delay_seconds=10))
    _expect_receipts(broker, [job("b", key="k")], ("a", False))
    harness.advance(10)
    expect_swept(broker, due=1)
    _expect_receipts(broker, [job("b", key="k")], ("a", False))


def _expect_receipts(broker: Broker, batch: list[Submission], *wanted: tuple[str, bool]) -> None:
    expect_equal(broker.submit(batch), [Receipt(*each) for each in wanted], "the receipts")
