"""Heartbeats: which workers there are."""

from __future__ import annotations

import msgspec

from ...brokers.protocol import Broker
from ...model.listing import WorkerRecord
from .harness import ContractHarness, Part, Topic
from .steps import admin, expect_equal

topic = Topic("workers", Part.ADMIN)


@topic.check()
def workers_are_listed_by_name(harness: ContractHarness) -> None:
    """Workers are listed by name, as they described themselves."""
    broker = harness.open()
    described = [_worker("b", queues=("x", "y"), slots=8, running=("job-1",)), _worker("a", processed=17)]
    for worker in described:
        admin(broker).beat(worker, 60)
    expect_equal(_list(broker), sorted(described, key=lambda worker: worker.name), "the workers")


@topic.check()
def last_heartbeat_counts(harness: ContractHarness) -> None:
    """A heartbeat replaces the one before."""
    broker = harness.open()
    admin(broker).beat(_worker("a", processed=1), 60)
    admin(broker).beat(_worker("a", processed=2), 60)
    expect_equal(_list(broker), [_worker("a", processed=2)], "the workers")


@topic.check()
def worker_says_goodbye(harness: ContractHarness) -> None:
    """A heartbeat with no time left removes the worker, also one that nobody knows."""
    broker = harness.open()
    for name in ("a", "b"):
        admin(broker).beat(_worker(name), 60)
    admin(broker).beat(_worker("a"), 0)
    admin(broker).beat(_worker("ghost"), 0)
    expect_equal(_list(broker), [_worker("b")], "the workers")


@topic.check(clock=True)
def silent_worker_is_gone(harness: ContractHarness) -> None:
    """A worker is listed until the time of its last heartbeat is over."""
    broker = harness.open()
    admin(broker).beat(_worker("a"), 10)
    admin(broker).beat(_worker("b"), 10)
    harness.advance(9)
    admin(broker).beat(_worker("b"), 10)
    expect_equal(_list(broker), [_worker("a"), _worker("b")], "the workers after 9 s")
    harness.advance(1)
    expect_equal(_list(broker), [_worker("b")], "the workers after 10 s")


@topic.check(clock=True)
def heartbeat_is_dated_by_the_broker(harness: ContractHarness) -> None:
    """The moment of the last heartbeat is on the broker's clock."""
    broker = harness.open()
    admin(broker).beat(_worker("a", seen_at=1.0), 60)
    harness.advance(5)
    (found,) = admin(broker).list_workers()
    expect_equal(harness.now() - found.seen_at, 5, "seconds since the last heartbeat")


def _worker(name: str, **more: object) -> WorkerRecord:
    return msgspec.structs.replace(WorkerRecord(name=name, node="node-1", pid=4711, backend="trio"), **more)


def _list(broker: Broker) -> list[WorkerRecord]:
    return [msgspec.structs.replace(worker, seen_at=0.0) for worker in admin(broker).list_workers()]
