"""The order of claims: queue by queue, within one by priority, then by submission."""

from __future__ import annotations

from ...brokers.protocol import CRASH_STEP, Broker, Feature
from ...model.delivery import Released, Retried, Started
from .harness import ContractHarness, Topic
from .steps import claim, claim_one, expect, expect_claimable, expect_equal, ids_of, job, settle, submit

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
    """Jobs of a worker that died, and that had not started, stand before those that were submitted after them."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    claim(broker, 2)
    _lose(harness, broker)
    expect_claimable(broker, "a", "b", "c")


@topic.check(Feature.PLACES, clock=True)
def fewest_crashes_first(harness: ContractHarness) -> None:
    """A job that was started when its worker died stands behind its neighbours, and behind those that are submitted soon."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    settle(broker, *(Started(delivery) for delivery in claim(broker, 2)))
    _lose(harness, broker)
    submit(broker, "d")
    c, d, a, _ = expect_claimable(broker, "c", "d", "a", "b")
    settle(broker, Released(c), Released(d), Started(a))
    _lose(harness, broker)
    expect_equal(_claim_one_by_one(broker), ["c", "d", "b", "a"], "the order of claims")


@topic.check(Feature.PLACES, clock=True)
def a_crash_costs_a_bounded_wait(harness: ContractHarness) -> None:
    """A job that was started when its worker died does not wait behind more than the next thousand submissions."""
    broker = harness.open()
    submit(broker, "a")
    settle(broker, Started(claim_one(broker, "a")))
    _lose(harness, broker)
    submit(broker, *(f"b{number}" for number in range(CRASH_STEP + 10)))
    order = _claim_one_by_one(broker, 10)
    expect_equal(order[: CRASH_STEP - 10], [f"b{number}" for number in range(CRASH_STEP - 10)], "the first of them")
    expect("a" in order[: CRASH_STEP + 5], "the job that has a crash waits behind all that were submitted later")


@topic.check(Feature.PLACES, Feature.PRIORITIES, clock=True)
def a_crash_does_not_change_the_priority(harness: ContractHarness) -> None:
    """A job that was started when its worker died stays before those of a lower priority."""
    broker = harness.open()
    submit(broker, job("a", priority=1), "b")
    settle(broker, Started(claim_one(broker, "a", limit=1)))
    _lose(harness, broker)
    expect_claimable(broker, "a", "b")


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


def _lose(harness: ContractHarness, broker: Broker) -> None:
    """Let the workers die that hold something."""
    harness.advance(60)
    broker.sweep(100)


def _claim_one_by_one(broker: Broker, limit: int = 1) -> list[str]:
    order: list[str] = []
    while deliveries := claim(broker, limit):
        order += ids_of(deliveries)
    return order
