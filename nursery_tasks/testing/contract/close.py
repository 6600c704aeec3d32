"""Closing, keeping and sharing: the broker as an object and as a place."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...brokers.protocol import Broker, Feature
from ...errors import BrokerClosed
from ...model.delivery import CancelAnswer, LeaseState, Renewal, Started
from ...model.event_log import EventBatch
from ...model.listing import JobFilter
from ...model.schedule import ScheduleChange
from ...model.states import JobState
from .harness import PROTOCOLS, ContractHarness, Part, Topic
from .hints import Ear
from .steps import (
    admin,
    cancel,
    claim,
    claim_one,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    job,
    record,
    settle,
    stored,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("close and keep")


@topic.check()
def broker_describes_itself(harness: ContractHarness) -> None:
    """A broker has a name, says whether it blocks, and declares its features."""
    broker = harness.open()
    expect(bool(broker.name) and isinstance(broker.name, str), f"name is {broker.name!r}")
    expect(isinstance(broker.blocking, bool), f"blocking is {broker.blocking!r}")
    strange = [feature for feature in broker.features if not isinstance(feature, Feature)]
    expect(isinstance(broker.features, frozenset) and not strange, f"features is {broker.features!r}")
    expect(isinstance(broker, Broker), "it does not have all methods of Broker")


@topic.check()
def parts_are_whole(harness: ContractHarness) -> None:
    """Each part of a broker has all of its methods."""
    broker = harness.open()
    for part, protocol in PROTOCOLS.items():
        found = getattr(broker, part)
        expect(found is None or isinstance(found, protocol), f"{part} does not have all methods of {protocol.__name__}")


@topic.check()
def nothing_after_close(harness: ContractHarness) -> None:
    """Every call after the close raises BrokerClosed; closing again does nothing."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    broker.close()
    broker.close()
    calls: dict[str, Callable[[], object]] = {
        "submit": lambda: broker.submit([job("b")]),
        "claim": lambda: claim(broker),
        "settle": lambda: broker.settle([Started(delivery)]),
        "renew": lambda: broker.renew([delivery], 15.0),
        "cancel": lambda: broker.cancel(["a"], None),
        "outcomes": lambda: broker.outcomes(["a"]),
        "sweep": lambda: broker.sweep(10),
        "listen": lambda: broker.listen(["work"], lambda hint: None),
    }
    if (people := broker.admin) is not None:
        calls["job"] = lambda: people.job("a")
        calls["list_jobs"] = lambda: people.list_jobs(JobFilter(), 10)
        calls["list_queues"] = people.list_queues
    if (schedules := broker.schedules) is not None:
        calls["list_schedules"] = lambda: schedules.list_schedules(10)
        calls["find_schedules"] = lambda: schedules.find_schedules(["a"])
        calls["look_at_schedules"] = lambda: schedules.look_at_schedules(10)
        calls["change_schedules"] = lambda: schedules.change_schedules([ScheduleChange("a", 0, None, b"")])
        calls["fire"] = lambda: schedules.fire(ScheduleChange("a", 0, None, b"", (job("c"),)))
    if (log := broker.event_log) is not None:
        calls["append"] = lambda: log.append(EventBatch(writer="w", sequence=1, count=1, body=b""), 60.0, 10)
        calls["read"] = lambda: log.read(0, 10)
    for name, call in calls.items():
        try:
            call()
        except BrokerClosed:
            continue
        raise AssertionError(f"{name}() after the close must raise BrokerClosed")


@topic.check()
def close_leaves_no_threads(harness: ContractHarness) -> None:
    """A closed broker leaves no threads behind, and its listeners hear nothing more."""
    before = set(threading.enumerate())
    broker = harness.open()
    ear = Ear(harness, broker)
    submit(broker, "a")
    ear.wait_for("work", "work", "a submission")
    broker.close()
    ear.forget()
    left = [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]
    for thread in left:
        thread.join(5)
    expect_equal([thread.name for thread in left if thread.is_alive()], [], "threads after the close")
    ear.listener.close()
    expect(not ear.heard, f"a listener of a closed broker heard {ear.heard}")


@topic.check(Feature.DURABLE)
def jobs_survive(harness: ContractHarness) -> None:
    """Jobs outlive a close: waiting ones in their order, held ones with their tokens, ended ones."""
    broker = harness.open()
    submit(broker, "ended", "started", "claimed", "a", "b")
    done, started, claimed = claim(broker, 3)
    settle(broker, succeeded(done), Started(started))
    broker = harness.reopen()
    expect_state(broker, JobState.SUCCEEDED, "ended")
    expect_state(broker, JobState.STARTED, "started")
    expect_state(broker, JobState.CLAIMED, "claimed")
    expect_claimable(broker, "a", "b")
    settle(broker, succeeded(started), succeeded(claimed))
    expect_state(broker, JobState.SUCCEEDED, "started", "claimed")


@topic.check(Feature.DURABLE)
def marks_survive(harness: ContractHarness) -> None:
    """Cancel marks, keys and outcomes outlive a close."""
    broker = harness.open()
    done = submit_and_claim(broker, "done", payload=b"\xff\x00")
    settle(broker, succeeded(done))
    held = submit_and_claim(broker, "held", key="k")
    cancel(broker, "held", CancelAnswer.REQUESTED, "stop")
    submit(broker, "waiting")
    cancel(broker, "waiting", CancelAnswer.CANCELLED, "too late")
    broker = harness.reopen()
    expect_equal(stored(broker, "done").outcome, succeeded(done).outcome, "the outcome")
    expect_equal(broker.renew([held], 15.0), [Renewal(LeaseState.CANCEL, "stop")], "the renewal")
    expect_cancelled(broker, "waiting", "too late")
    if Feature.KEYS in broker.features:
        (receipt,) = broker.submit([job("other", key="k")])
        expect_equal((receipt.id, receipt.created), ("held", False), "the receipt for a second job with the key")


@topic.check(Feature.DURABLE, Feature.DELAYS, clock=True)
def schedule_survives(harness: ContractHarness) -> None:
    """A schedule, an expiry and a lease go on over a close."""
    broker = harness.open()
    submit_and_claim(broker, "held")
    submit(broker, job("later", delay_seconds=10), job("late", expires_seconds=10))
    broker = harness.reopen()
    harness.advance(9)
    expect_swept(broker)
    harness.advance(1)
    expect_swept(broker, due=1, expired=1)
    harness.advance(5)
    expect_swept(broker, returned=1)
    expect_claimable(broker, "held", "later")


@topic.check(Feature.DURABLE, Part.ADMIN)
def pause_survives(harness: ContractHarness) -> None:
    """A paused queue is paused after a close, until somebody resumes it."""
    broker = harness.open()
    submit(broker, "a")
    admin(broker).pause("work")
    broker = harness.reopen()
    expect_claimable(broker)
    admin(broker).resume("work")
    expect_claimable(harness.reopen(), "a")


@topic.check(Feature.DURABLE, Part.ADMIN)
def cursors_survive(harness: ContractHarness) -> None:
    """Cursors go on growing after a close, also when the last job is gone."""
    broker = harness.open()
    submit(broker, "a", "b")
    last = record(broker, "b").cursor
    admin(broker).purge("work", frozenset({JobState.READY}))
    broker = harness.reopen()
    submit(broker, "c")
    expect(record(broker, "c").cursor > last, "a cursor was given twice")


@topic.check(Feature.SHARED)
def two_connections_see_the_same(harness: ContractHarness) -> None:
    """What one connection does, another one to the same place sees at once."""
    here, there = harness.open(), harness.open()
    submit(here, "a", "b")
    first = claim_one(there, "a", limit=1)
    expect_equal(claim_one(here, "b").id, "b", "the other job")
    cancel(here, "a", CancelAnswer.REQUESTED, "stop")
    expect_equal(there.renew([first], 15.0), [Renewal(LeaseState.CANCEL, "stop")], "the renewal")
    settle(there, succeeded(first))
    expect_state(here, JobState.SUCCEEDED, "a")


@topic.check(Feature.SHARED)
def hints_cross(harness: ContractHarness) -> None:
    """What happens on one connection is a hint on another one."""
    here, there = harness.open(), harness.open()
    ear = Ear(harness, there)
    delivery = submit_and_claim(here)
    ear.wait_for("work", "work", "a submission on another connection")
    cancel(here, "a", CancelAnswer.REQUESTED)
    ear.wait_for("cancel", "a", "a cancel on another connection")
    settle(here, succeeded(delivery))
    ear.wait_for("outcome", "a", "an end on another connection")
