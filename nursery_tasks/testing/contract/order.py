"""The order of claims: queue by queue, within one by priority, then by submission."""

from __future__ import annotations

from ...brokers.protocol import Broker, Feature
from ...model.delivery import Released, Retried, Started
from .harness import ContractHarness, Topic
from .steps import claim, claim_one, expect_claimable, expect_equal, ids_of, job, settle, submit

topic = Topic("order")


@topic.check()
def first_in_first_out(harness: ContractHarness) -> None:
    """Jobs of a queue are claimed in the order of submission, whatever their ids are."""
    broker = harness.open()
    submit(broker, "m", "z")
    submit(broker, "a", "k")
    submit(broker, "b")
    expect_claimable(broker, "m", "z", "a", "k", "b")


@topic.check()
def order_over_many_claims(harness: ContractHarness) -> None:
    """Small claims give the same order as one large claim."""
    broker = harness.open()
    wanted = [f"a{n}" for n in (5, 3, 9, 1, 7, 0, 8, 2, 6, 4)]
    submit(broker, *wanted)
    expect_equal(_claim_one_by_one(broker), wanted, "the order of ten claims")


@topic.check()
def queues_in_given_order(harness: ContractHarness) -> None:
    """The queues of a claim are emptied in the order in which they are named."""
    broker = harness.open()
    submit(broker, job("a1", queue="a"), job("b1", queue="b"), job("a2", queue="a"), job("b2", queue="b"))
    expect_claimable(broker, "b1", "b2", "a1", "a2", queues=["b", "a"])


@topic.check(Feature.PRIORITIES)
def higher_priority_first(harness: ContractHarness) -> None:
    """Within a queue a higher priority goes first; equal ones in the order of submission."""
    broker = harness.open()
    submit(broker, *(job(f"a{n}", priority=priority) for n, priority in enumerate((0, 5, 9, 5, 0, 1))))
    expect_equal(_claim_one_by_one(broker), ["a2", "a1", "a3", "a5", "a0", "a4"], "the order of claims")


@topic.check(Feature.PRIORITIES)
def late_high_priority_overtakes(harness: ContractHarness) -> None:
    """A job of higher priority overtakes those that wait already."""
    broker = harness.open()
    submit(broker, "a", "b")
    claim_one(broker, "a", limit=1)
    submit(broker, job("urgent", priority=1))
    expect_claimable(broker, "urgent", "b")


@topic.check(Feature.PRIORITIES)
def queue_order_before_priority(harness: ContractHarness) -> None:
    """The order of the queues counts before the priority."""
    broker = harness.open()
    submit(broker, job("a", queue="a"), job("b", queue="b", priority=9))
    expect_claimable(broker, "a", "b", queues=["a", "b"])


@topic.check(Feature.PLACES)
def released_job_keeps_its_place(harness: ContractHarness) -> None:
    """A job that was released stands before those that were submitted after it."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    settle(broker, Released(claim_one(broker, "a", limit=1)))
    expect_claimable(broker, "a", "b", "c")


@topic.check(Feature.PLACES)
def retried_job_keeps_its_place(harness: ContractHarness) -> None:
    """A job that is retried at once stands before those that were submitted after it."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    first, second = claim(broker, 2)
    settle(broker, Retried(second, 0), Retried(first, 0))
    expect_claimable(broker, "a", "b", "c")


@topic.check(Feature.PLACES, clock=True)
def returned_jobs_keep_their_place(harness: ContractHarness) -> None:
    """Jobs of a worker that died stand before those that were submitted after them."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    first, _ = claim(broker, 2)
    settle(broker, Started(first))
    harness.advance(60)
    broker.sweep(100)
    expect_claimable(broker, "a", "b", "c")


@topic.check(Feature.PLACES, Feature.DELAYS, clock=True)
def due_job_keeps_its_place(harness: ContractHarness) -> None:
    """A job that became due stands before those that were submitted after it."""
    broker = harness.open()
    submit(broker, job("late", delay_seconds=10))
    submit(broker, "a")
    harness.advance(10)
    submit(broker, "b")
    broker.sweep(100)
    expect_claimable(broker, "late", "a", "b")


def _claim_one_by_one(broker: Broker) -> list[str]:
    order: list[str] = []
    while deliveries := claim(broker, 1):
        order += ids_of(deliveries)
    return order
