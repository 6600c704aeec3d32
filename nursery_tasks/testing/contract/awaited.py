"""Owned jobs whose owner is the delivery of another job, whose handler awaits them: they end with it."""

from __future__ import annotations

from ...brokers.protocol import OWNED_GRACE_SECONDS, Feature
from ...model.delivery import (
    LeaseState,
    Progressed,
    Released,
    Renewal,
    Retried,
    Started,
    Unresponsive,
)
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ...model.states import JobState
from .harness import ContractHarness, Topic
from .steps import (
    LEASE_SECONDS,
    awaited,
    claim,
    claim_one,
    ended,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    ids_of,
    job,
    owned,
    packed,
    settle,
    settle_stale,
    stored,
    submit,
    submit_and_claim,
    succeeded,
    sweep,
)

topic = Topic("awaited jobs")

HELD, ENDED = Renewal(LeaseState.HELD), Renewal(LeaseState.CANCEL, OWNER_ENDED)


@topic.check()
def end_of_a_job_cancels_what_it_owns(harness: ContractHarness) -> None:
    """When a job ends, in whatever state, the jobs that its delivery owns are cancelled."""
    for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
        broker = harness.open()
        name = f"{state}-"
        parent = submit_and_claim(broker, f"{name}parent")
        submit(broker, awaited(f"{name}held", parent), awaited(f"{name}waiting", parent), f"{name}detached")
        held = claim_one(broker, f"{name}held", limit=1)
        settle(broker, ended(parent, state))
        expect_cancelled(broker, f"{name}waiting", OWNER_ENDED)
        expect_equal(broker.renew([held], 15.0), [ENDED], "the renewal of a job whose owner has ended")
        settle(broker, Released(held))
        expect_cancelled(broker, f"{name}held", OWNER_ENDED)
        expect_claimable(broker, f"{name}detached")


@topic.check()
def retry_and_release_cancel_too(harness: ContractHarness) -> None:
    """When an attempt ends in a retry, or is given back, what it owned is cancelled before the next one can begin."""
    broker = harness.open()
    submit(broker, "retried", "released")
    retried, released = claim(broker)
    settle(broker, Started(retried), Started(released))
    submit(broker, awaited("a", retried), awaited("b", released))
    settle(broker, Retried(retried, 0, packed(JobState.FAILED)), Released(released))
    expect_cancelled(broker, "a", OWNER_ENDED)
    expect_cancelled(broker, "b", OWNER_ENDED)
    expect_equal(sorted(ids_of(claim(broker))), ["released", "retried"], "the jobs that can be claimed")


@topic.check()
def notes_cancel_nothing(harness: ContractHarness) -> None:
    """A start, a progress or an unresponsive handler is no end: what the delivery owns goes on."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, awaited("a", parent))
    settle(broker, Started(parent), Progressed(parent, b"1"), Unresponsive(parent))
    expect_equal(broker.renew([parent], 15.0), [HELD], "the renewal of the owner")
    expect_claimable(broker, "a")


@topic.check()
def only_its_own_children(harness: ContractHarness) -> None:
    """Jobs that were claimed in one call do not share what they own."""
    broker = harness.open()
    submit(broker, "p", "q")
    first, second = claim(broker)
    submit(broker, awaited("of-p", first), awaited("of-q", second))
    settle(broker, succeeded(first))
    expect_cancelled(broker, "of-p", OWNER_ENDED)
    expect_claimable(broker, "of-q")


@topic.check()
def grandchildren_wait_for_their_own_owner(harness: ContractHarness) -> None:
    """Only direct children are cancelled; a child that is held cancels its own when it ends."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, awaited("child", parent))
    child = claim_one(broker, "child")
    submit(broker, awaited("grandchild", child))
    settle(broker, succeeded(parent))
    expect_state(broker, JobState.READY, "grandchild")
    settle(broker, ended(child, JobState.CANCELLED))
    expect_cancelled(broker, "grandchild", OWNER_ENDED)


@topic.check()
def stale_settlements_cancel_nothing(harness: ContractHarness) -> None:
    """Who lost a job cannot cancel what its next attempt owns."""
    broker = harness.open()
    old = submit_and_claim(broker, "parent")
    settle(broker, Released(old))
    new = claim_one(broker, "parent")
    submit(broker, awaited("child", new))
    settle_stale(broker, succeeded(old), Released(old), Retried(old, 0))
    expect_claimable(broker, "child")


@topic.check()
def too_late_for_its_owner(harness: ContractHarness) -> None:
    """A job whose owner holds nothing any more is stored as cancelled: it never starts."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    settle(broker, Released(parent))
    again = claim_one(broker, "parent")
    submit(broker, awaited("late", parent), owned("made-up", b"x" * 16), owned("odd", b"?"), awaited("child", again))
    settle(broker, succeeded(again))
    submit(broker, awaited("later", again))
    for job_id in ("late", "made-up", "odd", "later"):
        expect_cancelled(broker, job_id, OWNER_GONE)
    expect_cancelled(broker, "child", OWNER_ENDED)
    expect_claimable(broker)


@topic.check(Feature.KEYS)
def late_job_does_not_take_a_key(harness: ContractHarness) -> None:
    """A job that is stored as cancelled leaves its key to the next one in the same batch."""
    broker = harness.open()
    receipts = broker.submit([owned("late", b"x" * 16, key="k"), job("next", key="k")])
    expect_equal([(receipt.id, receipt.created) for receipt in receipts], [("late", True), ("next", True)], "the receipts")
    expect_claimable(broker, "next")


@topic.check(clock=True)
def lost_owner_cancels_and_waits(harness: ContractHarness) -> None:
    """A job whose worker died is not tried again before what it owned has ended."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    settle(broker, Started(parent))
    submit(broker, awaited("held", parent), awaited("waiting", parent))
    held = claim_one(broker, "held", limit=1, lease_seconds=1_000)
    harness.advance(15)
    expect_swept(broker, orphaned=2)
    expect_cancelled(broker, "waiting", OWNER_ENDED)
    expect_state(broker, JobState.STARTED, "parent")
    expect_equal(broker.renew([held], 1_000), [ENDED], "the renewal of a job whose owner's worker died")
    expect_swept(broker)
    settle(broker, ended(held, JobState.CANCELLED))
    expect_swept(broker, returned=1)
    expect_equal(claim_one(broker, "parent").crashes, 1, "crashes")


@topic.check(clock=True)
def lost_owner_without_held_jobs_returns_at_once(harness: ContractHarness) -> None:
    """A job whose worker died returns in the same sweep when nobody holds what it owned."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, awaited("waiting", parent))
    harness.advance(15)
    expect_swept(broker, orphaned=1, returned=1)
    expect_claimable(broker, "parent")


@topic.check(clock=True)
def lost_owner_does_not_wait_for_ever(harness: ContractHarness) -> None:
    """After a grace a job whose worker died is taken back, though a job that it owned has not ended."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, awaited("stubborn", parent))
    stubborn = claim_one(broker, "stubborn", lease_seconds=1_000)
    harness.advance(LEASE_SECONDS)
    expect_swept(broker, orphaned=1)
    harness.advance(OWNED_GRACE_SECONDS - 0.5)
    expect_swept(broker)
    harness.advance(0.5)
    expect_swept(broker, returned=1)
    expect_claimable(broker, "parent")
    expect_equal(broker.renew([stubborn], 1_000), [ENDED], "the renewal of the stubborn one")


@topic.check(clock=True)
def waiting_owners_do_not_hold_up_others(harness: ContractHarness) -> None:
    """Jobs that wait for what they own take no part of a sweep's limit."""
    broker = harness.open()
    submit(broker, "p", "q")
    parents = claim(broker)
    submit(broker, *(awaited(f"of-{parent.id}", parent) for parent in parents))
    claim(broker, lease_seconds=1_000)
    submit(broker, "other")
    claim_one(broker, "other", lease_seconds=LEASE_SECONDS + 1)
    harness.advance(LEASE_SECONDS)
    expect_swept(broker, orphaned=2)
    harness.advance(1)
    broker.sweep(2)
    expect_state(broker, JobState.READY, "other")
    expect_state(broker, JobState.CLAIMED, "p", "q")


@topic.check(clock=True)
def lost_with_its_owner(harness: ContractHarness) -> None:
    """When one worker dies with a job and with what it owned, the latter is cancelled and the former tried again."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, awaited("child", parent))
    settle(broker, Started(parent), Started(claim_one(broker, "child")))
    harness.advance(15)
    for _ in range(2):
        broker.sweep(100)
    expect_cancelled(broker, "child", OWNER_ENDED)
    expect_equal(claim_one(broker, "parent").crashes, 1, "crashes")


@topic.check(clock=True)
def sweeps_of_lost_owners_are_bounded(harness: ContractHarness) -> None:
    """No job is tried again while a sweep's limit has left something of its last attempt alone."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, *(awaited(f"a{n}", parent) for n in range(5)))
    harness.advance(LEASE_SECONDS + OWNED_GRACE_SECONDS)
    while stored(broker, "parent").state is not JobState.READY:
        expect(sweep(broker, 2).orphaned > 0, "a sweep cancelled nothing and did not take the owner back")
    for number in range(5):
        expect_cancelled(broker, f"a{number}", OWNER_ENDED)
