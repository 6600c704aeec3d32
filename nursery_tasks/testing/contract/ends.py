"""Jobs that end without a worker: who made the call hears of each, once, and nobody else does."""

from __future__ import annotations

from collections.abc import Sequence

from ...brokers.protocol import OWNED_GRACE_SECONDS, Broker, Feature
from ...model.delivery import CancelAnswer, Released, Retried, Started
from ...model.ended import Ended, cancelled, dead, expired
from ...model.limits import Limit, no_room
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from .harness import ContractHarness, Part, Topic
from .steps import (
    LEASE_SECONDS,
    OWNER,
    QUEUE,
    awaited,
    cancel,
    claim,
    claim_one,
    expect_equal,
    job,
    leased,
    renew_owners,
    settle,
    submit,
    submit_and_claim,
    succeeded,
    sweep,
)

topic = Topic("ends", Part.ENDS)

TASK = "tests.task"


class Hearer:
    """Hears of ends through one broker object."""

    def __init__(self, broker: Broker) -> None:
        assert broker.ends is not None  # the topic needs it
        self._heard: list[Ended] = []
        self.listener = broker.ends.hear(self._hear)

    def _hear(self, ended: Sequence[Ended]) -> None:
        self._heard += ended

    def expect(self, what: str, *wanted: Ended) -> None:
        """These, in whatever order, must have been told since the last look."""
        heard, self._heard = self._heard, []
        expect_equal(sorted(heard, key=_by_id), sorted(wanted, key=_by_id), f"the ends that are told of {what}")


def _by_id(ended: Ended) -> str:
    return ended.id


@topic.check()
def a_cancel_tells_what_it_ends(harness: ContractHarness) -> None:
    """A cancel tells of jobs that waited, once, with what is known of them, and not of those that a worker holds."""
    broker = harness.open()
    hearer = Hearer(broker)
    delivery = submit_and_claim(broker, "held")
    retried = submit_and_claim(broker, "retried")
    settle(broker, Started(retried), Retried(retried, 100.0))
    submit(broker, job("waits", task="other.task"), job("delayed", delay_seconds=100.0))
    for job_id in ("waits", "retried", "delayed"):
        cancel(broker, job_id, CancelAnswer.CANCELLED, None if job_id == "delayed" else "enough")
        cancel(broker, job_id, CancelAnswer.FINISHED)
    cancel(broker, "held", CancelAnswer.REQUESTED)
    hearer.expect(
        "cancels",
        cancelled("waits", QUEUE, "other.task", 0, None, "enough"),
        cancelled("retried", QUEUE, TASK, 1, "worker-1", "enough"),
        cancelled("delayed", QUEUE, TASK, 0, None, None),
    )
    settle(broker, succeeded(delivery))
    hearer.expect("what a worker has ended")


@topic.check()
def a_job_that_goes_back_to_its_end_is_told(harness: ContractHarness) -> None:
    """A retry or a release that ends a job, because somebody has cancelled it, tells of that; others tell nothing."""
    broker = harness.open()
    hearer = Hearer(broker)
    first, second = submit_and_claim(broker, "a"), submit_and_claim(broker, "b")
    cancel(broker, "a", CancelAnswer.REQUESTED, "enough")
    cancel(broker, "b", CancelAnswer.REQUESTED, "enough")
    settle(broker, Started(first), Retried(first, 0.0), Released(second))
    hearer.expect(
        "cancelled jobs that go back",
        cancelled("a", QUEUE, TASK, 1, "worker-1", "enough"),
        cancelled("b", QUEUE, TASK, 0, None, "enough"),
    )
    third = submit_and_claim(broker, "c")
    settle(broker, Released(third))
    hearer.expect("a job that goes back")


@topic.check(clock=True)
def a_sweep_tells_what_it_ends(harness: ContractHarness) -> None:
    """A sweep tells of jobs that expired, that are dead with their worker, and that were cancelled while that one died."""
    broker = harness.open()
    hearer = Hearer(broker)
    submit(broker, job("late", expires_seconds=1.0))
    for job_id in ("dies", "is cancelled", "goes on"):
        delivery = submit_and_claim(broker, job_id, queue=job_id, max_crashes=2 if job_id == "goes on" else 1)
        settle(broker, Started(delivery))
    cancel(broker, "is cancelled", CancelAnswer.REQUESTED, "enough")
    harness.advance(LEASE_SECONDS + 1.0)
    sweep(broker)
    hearer.expect(
        "a sweep",
        expired("late", QUEUE, TASK),
        dead("dies", "dies", TASK, 1, "worker-1", 1, once=False),
        cancelled("is cancelled", "is cancelled", TASK, 1, "worker-1", "enough"),
    )
    sweep(broker)
    hearer.expect("a sweep that has nothing to do")


@topic.check(clock=True)
def what_ends_with_its_owner_is_told(harness: ContractHarness) -> None:
    """Jobs that end with their owner are told to who lets it go, whose sweep finds it gone, or who settles its job."""
    broker = harness.open()
    hearer = Hearer(broker)
    submit(broker, leased("let go", OWNER), leased("left", b"another"))
    renew_owners(broker, 0.0, OWNER)
    hearer.expect("an owner that is let go", cancelled("let go", QUEUE, TASK, 0, None, OWNER_GONE))
    harness.advance(LEASE_SECONDS + 1.0)
    sweep(broker)
    hearer.expect("an owner whose lease is over", cancelled("left", QUEUE, TASK, 0, None, OWNER_GONE))
    parent = submit_and_claim(broker, "parent")
    submit(broker, awaited("child", parent, queue="children"))
    settle(broker, succeeded(parent))
    hearer.expect("a job that is awaited no more", cancelled("child", "children", TASK, 0, None, OWNER_ENDED))
    submit(broker, awaited("orphan", parent))
    hearer.expect("a job that comes too late", cancelled("orphan", QUEUE, TASK, 0, None, OWNER_GONE))
    lost = submit_and_claim(broker, "lost")
    submit(broker, awaited("lost child", lost, queue="children"))
    harness.advance(LEASE_SECONDS + OWNED_GRACE_SECONDS + 1.0)
    sweep(broker)
    hearer.expect("a delivery whose lease is over", cancelled("lost child", "children", TASK, 0, None, OWNER_ENDED))


@topic.check(Part.LIMITS)
def a_claim_tells_what_a_limit_rejects(harness: ContractHarness) -> None:
    """A claim tells of jobs for which a limit has no room and that are not to wait."""
    broker = harness.open()
    hearer = Hearer(broker)
    one = (Limit("concurrency:x", most=1, rejects=True),)
    submit(broker, job("first", limits=one), job("second", limits=one))
    claim_one(broker, "first")
    claim(broker)
    hearer.expect("a claim", cancelled("second", QUEUE, TASK, 0, None, no_room("concurrency:x")))


@topic.check(Feature.ONCE)
def a_start_that_was_the_last_is_told(harness: ContractHarness) -> None:
    """A job that is delivered at most once and given back after its start is dead, and that is told."""
    broker = harness.open()
    hearer = Hearer(broker)
    delivery = submit_and_claim(broker, "a", once=True)
    settle(broker, Started(delivery), Released(delivery))
    hearer.expect("a job that had started", dead("a", QUEUE, TASK, 1, "worker-1", 0, once=True))


@topic.check(Feature.SHARED)
def only_the_one_who_made_the_call_is_told(harness: ContractHarness) -> None:
    """An end is told through the broker object whose call it was, and to nobody else, nor after a close."""
    broker, other = harness.open(), harness.open()
    hearer, elsewhere = Hearer(broker), Hearer(other)
    submit(broker, "a", "b")
    cancel(other, "a", CancelAnswer.CANCELLED, None)
    elsewhere.expect("its own call", cancelled("a", QUEUE, TASK, 0, None, None))
    hearer.expect("another's call")
    elsewhere.listener.close()
    cancel(broker, "b", CancelAnswer.CANCELLED, None)
    elsewhere.expect("a call after its close")
    hearer.expect("its own call", cancelled("b", QUEUE, TASK, 0, None, None))
