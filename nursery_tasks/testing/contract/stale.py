"""Tokens: who lost a job cannot write to it any more."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...brokers.protocol import Broker
from ...model.delivery import (
    Delivery,
    LeaseState,
    Progressed,
    Released,
    Renewal,
    Retried,
    Settlement,
    Started,
    Unresponsive,
)
from ...model.states import JobState
from .harness import ContractHarness, Topic
from .steps import (
    claim,
    claim_one,
    expect,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_unknown,
    settle,
    settle_stale,
    stored,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("stale tokens")

EVERY_SETTLEMENT: list[Callable[[Delivery], Settlement]] = [
    Started,
    lambda delivery: Progressed(delivery, b"99"),
    lambda delivery: succeeded(delivery, b'"from the wrong worker"'),
    lambda delivery: Retried(delivery, 0),
    Released,
    Unresponsive,
]


@topic.check()
def nothing_after_the_end(harness: ContractHarness) -> None:
    """When a job has ended, nothing that its worker says changes it."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, succeeded(delivery))
    _expect_stale(broker, delivery)
    expect_equal(stored(broker, "a").outcome, succeeded(delivery).outcome, "the outcome")
    expect_claimable(broker)


@topic.check()
def nothing_after_a_release(harness: ContractHarness) -> None:
    """Who gave a job back holds it no more, neither before nor after the next claim."""
    broker = harness.open()
    old = submit_and_claim(broker)
    settle(broker, Released(old))
    _expect_stale(broker, old)
    expect_state(broker, JobState.READY, "a")
    new = claim_one(broker, "a")
    _expect_stale(broker, old)
    expect_state(broker, JobState.CLAIMED, "a")
    settle(broker, succeeded(new))


@topic.check()
def nothing_after_a_retry(harness: ContractHarness) -> None:
    """Who sent a job into its next attempt holds it no more."""
    broker = harness.open()
    old = submit_and_claim(broker)
    settle(broker, Retried(old, 0))
    _expect_stale(broker, old)
    new = claim_one(broker, "a")
    settle(broker, Started(new))
    _expect_stale(broker, old)
    expect_state(broker, JobState.STARTED, "a")


@topic.check(clock=True)
def nothing_after_a_lost_lease(harness: ContractHarness) -> None:
    """A worker that slept through its lease cannot overwrite the one that replaced it."""
    broker = harness.open()
    old = submit_and_claim(broker)
    settle(broker, Started(old))
    harness.advance(60)
    broker.sweep(100)
    _expect_stale(broker, old)
    expect_state(broker, JobState.READY, "a")
    new = claim_one(broker, "a", worker="worker-2")
    settle(broker, Started(new))
    _expect_stale(broker, old)
    expect_state(broker, JobState.STARTED, "a")
    settle(broker, succeeded(new))
    _expect_stale(broker, old)
    expect_equal(stored(broker, "a").outcome, succeeded(new).outcome, "the outcome")


@topic.check()
def token_of_another_job(harness: ContractHarness) -> None:
    """The token of one job does not open another one."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    expect(first.token != second.token, "two deliveries of one claim must not have the same token: it may own jobs")
    _expect_stale(broker, msgspec.structs.replace(first, token=second.token))
    expect_state(broker, JobState.CLAIMED, "a", "b")


@topic.check()
def guessed_tokens(harness: ContractHarness) -> None:
    """Neither an empty nor a made-up token opens a job, whether it waits or is held."""
    broker = harness.open()
    held = submit_and_claim(broker, "held")
    submit(broker, "waiting")
    for token in (b"", b"\0" * 16, b"x"):
        for job_id in ("held", "waiting"):
            _expect_stale(broker, msgspec.structs.replace(held, id=job_id, token=token))
    expect_state(broker, JobState.CLAIMED, "held")
    expect_state(broker, JobState.READY, "waiting")


@topic.check()
def unknown_job(harness: ContractHarness) -> None:
    """Settling a job that the broker does not know is stale, and does not make it known."""
    broker = harness.open()
    _expect_stale(broker, Delivery("ghost", "work", "tests.task", b"", b"0" * 16))
    expect_unknown(broker, "ghost")


def _expect_stale(broker: Broker, delivery: Delivery) -> None:
    settle_stale(broker, *(settlement(delivery) for settlement in EVERY_SETTLEMENT))
    expect_equal(broker.renew([delivery], 15.0), [Renewal(LeaseState.LOST)], "the answer to a stale renewal")
