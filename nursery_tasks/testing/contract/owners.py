"""Owned jobs: they end with their owner, which is a lease or the delivery of another job."""

from __future__ import annotations

from typing import Any

from ...brokers.protocol import OWNED_GRACE_SECONDS, Broker, Feature
from ...model.delivery import (
    CancelAnswer,
    Delivery,
    LeaseState,
    Progressed,
    Released,
    Renewal,
    Retried,
    Started,
    Submission,
    Unresponsive,
)
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ...model.states import JobState
from .harness import ContractHarness, Topic
from .steps import (
    LEASE_SECONDS,
    admin,
    cancel,
    claim,
    claim_one,
    ended,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    job,
    packed,
    record,
    settle,
    settle_stale,
    stored,
    submit,
    submit_and_claim,
    succeeded,
    sweep,
)

topic = Topic("owners")

OWNER, OTHER = b"the owner's own id", b"another owner's id"
HELD, GONE, ENDED = Renewal(LeaseState.HELD), Renewal(LeaseState.CANCEL, OWNER_GONE), Renewal(LeaseState.CANCEL, OWNER_ENDED)


# --- leases ---------------------------------------------------------------------------------------


@topic.check(clock=True)
def lease_keeps_its_jobs(harness: ContractHarness) -> None:
    """The jobs of an owner go on as long as its lease does; each `hold` prolongs it from then on."""
    broker = harness.open()
    submit(broker, _leased("a"), _leased("b"))
    delivery = claim_one(broker, "a", limit=1, lease_seconds=1_000)
    for _ in range(3):
        harness.advance(14.5)
        expect_swept(broker)
        _hold(broker, 15.0, OWNER)
    expect_equal(broker.renew([delivery], 1_000), [HELD], "the renewal of an owned job")
    expect_state(broker, JobState.READY, "b")


@topic.check(clock=True)
def lease_over_cancels_its_jobs(harness: ContractHarness) -> None:
    """When an owner's lease is over a sweep cancels its jobs: those that wait at once, those that are held are told."""
    broker = harness.open()
    submit(broker, _leased("held"), _leased("waiting"), "detached", _leased("other", OTHER, 60))
    held = claim_one(broker, "held", limit=1, lease_seconds=60)
    harness.advance(14.5)
    expect_swept(broker)
    harness.advance(0.5)
    expect_swept(broker, orphaned=2)
    expect_cancelled(broker, "waiting", OWNER_GONE)
    expect_state(broker, JobState.CLAIMED, "held")
    expect_equal(broker.renew([held], 15.0), [GONE], "the renewal of a job whose owner is gone")
    settle(broker, Retried(held, 0))
    expect_cancelled(broker, "held", OWNER_GONE)
    expect_claimable(broker, "detached", "other")
    expect_swept(broker)


@topic.check(Feature.DELAYS, clock=True)
def scheduled_jobs_are_owned_too(harness: ContractHarness) -> None:
    """A scheduled job of an owner that is gone does not become ready, also when it is due by then."""
    broker = harness.open()
    submit(broker, _leased("due", delay_seconds=15), _leased("later", delay_seconds=60))
    harness.advance(15)
    expect_swept(broker, orphaned=2)
    expect_cancelled(broker, "due", OWNER_GONE)
    expect_cancelled(broker, "later", OWNER_GONE)


@topic.check()
def letting_go_cancels(harness: ContractHarness) -> None:
    """Letting go cancels the owner's jobs at once, and only its own; the lease is no more."""
    broker = harness.open()
    submit(broker, _leased("held"), _leased("waiting"), _leased("other", OTHER), "detached")
    held = claim_one(broker, "held", limit=1)
    _hold(broker, 0.0, OWNER)
    expect_cancelled(broker, "waiting", OWNER_GONE)
    expect_equal(broker.renew([held], 15.0), [GONE], "the renewal")
    expect_equal(broker.hold([OWNER], 15.0), [False], "the answer to holding what was let go")
    expect_claimable(broker, "other", "detached")


@topic.check(clock=True)
def unswept_lease_is_held(harness: ContractHarness) -> None:
    """An owner's lease that is over, and that nobody swept, can still be prolonged."""
    broker = harness.open()
    submit(broker, _leased("a"))
    harness.advance(60)
    _hold(broker, 15.0, OWNER)
    expect_swept(broker)
    expect_claimable(broker, "a")


@topic.check(clock=True)
def swept_lease_is_gone(harness: ContractHarness) -> None:
    """A lease that was swept cannot be prolonged; a submission makes it anew, and the old jobs stay cancelled."""
    broker = harness.open()
    submit(broker, _leased("old"))
    harness.advance(15)
    expect_swept(broker, orphaned=1)
    expect_equal(broker.hold([OWNER], 15.0), [False], "the answer to holding a swept lease")
    submit(broker, _leased("new"))
    expect_cancelled(broker, "old", OWNER_GONE)
    _hold(broker, 15.0, OWNER)
    harness.advance(14)
    expect_swept(broker)
    expect_claimable(broker, "new")


@topic.check()
def unknown_owners(harness: ContractHarness) -> None:
    """Holding is answered in order, False for owners without a lease, and makes none."""
    broker = harness.open()
    submit(broker, _leased("a"), _leased("b", OTHER))
    expect_equal(broker.hold([OTHER, b"nobody", OWNER], 15.0), [True, False, True], "the answers")
    expect_equal(broker.hold([b"nobody"], 15.0), [False], "the second answer")
    expect_equal(broker.hold([b"nobody", OTHER], 0.0), [False, True], "the answers to letting go")
    expect_equal(broker.hold([], 15.0), [], "the answer to nothing")
    expect_claimable(broker, "a")


@topic.check(clock=True)
def submission_prolongs_the_lease(harness: ContractHarness) -> None:
    """Each submission prolongs its owner's lease, also one that repeats an id; none cuts it short."""
    broker = harness.open()
    submit(broker, _leased("a"))
    harness.advance(10)
    (receipt,) = broker.submit([_leased("a")])
    expect(not receipt.created, "a repeated id was stored")
    harness.advance(10)
    expect_swept(broker)
    submit(broker, _leased("b", seconds=1))
    harness.advance(4)
    expect_swept(broker)
    harness.advance(1)
    expect_swept(broker, orphaned=2)


@topic.check(clock=True)
def repetition_does_not_change_hands(harness: ContractHarness) -> None:
    """A job that is known keeps its owner, or none, whoever submits its id again."""
    broker = harness.open()
    submit(broker, _leased("mine"), "nobody's")
    receipts = broker.submit([_leased("mine", OTHER, 60), _leased("nobody's")])
    expect_equal([receipt.created for receipt in receipts], [False, False], "whether repetitions were stored")
    harness.advance(15)
    expect_swept(broker, orphaned=1)
    expect_cancelled(broker, "mine", OWNER_GONE)
    expect_claimable(broker, "nobody's")


@topic.check(clock=True)
def sweeps_of_owners_are_bounded(harness: ContractHarness) -> None:
    """Sweeps with a limit cancel an owner's jobs over several calls, say that there is more, and revive nothing meanwhile."""
    broker = harness.open()
    submit(broker, *(_leased(f"a{n}") for n in range(7)))
    harness.advance(15)
    swept = broker.sweep(3)
    expect(swept.orphaned >= 3 and swept.more, f"the first sweep says {swept}")
    expect_equal(broker.hold([OWNER], 15.0), [False], "the answer to holding a lease that is being swept")
    for _ in range(10):
        if not broker.sweep(3).more:
            break
    for number in range(7):
        expect_cancelled(broker, f"a{number}", OWNER_GONE)


@topic.check(clock=True)
def new_lease_does_not_save_the_old_jobs(harness: ContractHarness) -> None:
    """When a lease is made anew while a sweep has not reached all its jobs, the old ones are cancelled all the same."""
    broker = harness.open()
    submit(broker, *(_leased(f"old-{n}") for n in range(5)))
    harness.advance(15)
    broker.sweep(2)
    submit(broker, _leased("new"))
    broker.sweep(100)
    for number in range(5):
        expect_cancelled(broker, f"old-{number}", OWNER_GONE)
    expect_claimable(broker, "new")


@topic.check(clock=True)
def told_jobs_are_not_counted_again(harness: ContractHarness) -> None:
    """What somebody has asked to cancel before is not told again by a sweep, and keeps its reason."""
    broker = harness.open()
    submit(broker, _leased("a"))
    held = claim_one(broker, "a", lease_seconds=1_000)
    cancel(broker, "a", CancelAnswer.REQUESTED, "first")
    harness.advance(15)
    expect_swept(broker)
    expect_equal(broker.renew([held], 1_000), [Renewal(LeaseState.CANCEL, "first")], "the renewal")


@topic.check()
def letting_go_leaves_ends_alone(harness: ContractHarness) -> None:
    """A job that has ended when its owner lets go stays as it is, and so does one that ends before it is told."""
    broker = harness.open()
    submit(broker, _leased("a"), _leased("b"))
    first, second = claim(broker)
    settle(broker, succeeded(first))
    _hold(broker, 0.0, OWNER)
    settle(broker, succeeded(second))
    expect_state(broker, JobState.SUCCEEDED, "a", "b")


# --- deliveries -----------------------------------------------------------------------------------


@topic.check()
def end_of_a_job_cancels_what_it_owns(harness: ContractHarness) -> None:
    """When a job ends, in whatever state, the jobs that its delivery owns are cancelled."""
    for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
        broker = harness.open()
        name = f"{state}-"
        parent = submit_and_claim(broker, f"{name}parent")
        submit(broker, _awaited(f"{name}held", parent), _awaited(f"{name}waiting", parent), f"{name}detached")
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
    submit(broker, _awaited("a", retried), _awaited("b", released))
    settle(broker, Retried(retried, 0, packed(JobState.FAILED)), Released(released))
    expect_cancelled(broker, "a", OWNER_ENDED)
    expect_cancelled(broker, "b", OWNER_ENDED)
    expect_claimable(broker, "retried", "released")


@topic.check()
def notes_cancel_nothing(harness: ContractHarness) -> None:
    """A start, a progress or an unresponsive handler is no end: what the delivery owns goes on."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, _awaited("a", parent))
    settle(broker, Started(parent), Progressed(parent, b"1"), Unresponsive(parent))
    expect_equal(broker.renew([parent], 15.0), [HELD], "the renewal of the owner")
    expect_claimable(broker, "a")


@topic.check()
def only_its_own_children(harness: ContractHarness) -> None:
    """Jobs that were claimed in one call do not share what they own."""
    broker = harness.open()
    submit(broker, "p", "q")
    first, second = claim(broker)
    submit(broker, _awaited("of-p", first), _awaited("of-q", second))
    settle(broker, succeeded(first))
    expect_cancelled(broker, "of-p", OWNER_ENDED)
    expect_claimable(broker, "of-q")


@topic.check()
def grandchildren_wait_for_their_own_owner(harness: ContractHarness) -> None:
    """Only direct children are cancelled; a child that is held cancels its own when it ends."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, _awaited("child", parent))
    child = claim_one(broker, "child")
    submit(broker, _awaited("grandchild", child))
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
    submit(broker, _awaited("child", new))
    settle_stale(broker, succeeded(old), Released(old), Retried(old, 0))
    expect_claimable(broker, "child")


@topic.check()
def too_late_for_its_owner(harness: ContractHarness) -> None:
    """A job whose owner holds nothing any more is stored as cancelled: it never starts."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    settle(broker, Released(parent))
    again = claim_one(broker, "parent")
    submit(broker, _awaited("late", parent), _owned("made-up", b"x" * 16), _owned("odd", b"?"), _awaited("child", again))
    settle(broker, succeeded(again))
    submit(broker, _awaited("later", again))
    for job_id in ("late", "made-up", "odd", "later"):
        expect_cancelled(broker, job_id, OWNER_GONE)
    expect_cancelled(broker, "child", OWNER_ENDED)
    expect_claimable(broker)


@topic.check(Feature.KEYS)
def late_job_does_not_take_a_key(harness: ContractHarness) -> None:
    """A job that is stored as cancelled leaves its key to the next one in the same batch."""
    broker = harness.open()
    receipts = broker.submit([_owned("late", b"x" * 16, key="k"), job("next", key="k")])
    expect_equal([(receipt.id, receipt.created) for receipt in receipts], [("late", True), ("next", True)], "the receipts")
    expect_claimable(broker, "next")


@topic.check(clock=True)
def lost_owner_cancels_and_waits(harness: ContractHarness) -> None:
    """A job whose worker died is not tried again before what it owned has ended."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    settle(broker, Started(parent))
    submit(broker, _awaited("held", parent), _awaited("waiting", parent))
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
    submit(broker, _awaited("waiting", parent))
    harness.advance(15)
    expect_swept(broker, orphaned=1, returned=1)
    expect_claimable(broker, "parent")


@topic.check(clock=True)
def lost_owner_does_not_wait_for_ever(harness: ContractHarness) -> None:
    """After a grace a job whose worker died is taken back, though a job that it owned has not ended."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, _awaited("stubborn", parent))
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
    submit(broker, *(_awaited(f"of-{parent.id}", parent) for parent in parents))
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
    submit(broker, _awaited("child", parent))
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
    submit(broker, *(_awaited(f"a{n}", parent) for n in range(5)))
    harness.advance(LEASE_SECONDS + OWNED_GRACE_SECONDS)
    while stored(broker, "parent").state is not JobState.READY:
        expect(sweep(broker, 2).orphaned > 0, "a sweep cancelled nothing and did not take the owner back")
    for number in range(5):
        expect_cancelled(broker, f"a{number}", OWNER_ENDED)


# --- what a worker and a person see ----------------------------------------------------------------


@topic.check()
def delivery_says_whether_it_is_owned(harness: ContractHarness) -> None:
    """A delivery tells whether the job has an owner."""
    broker = harness.open()
    submit(broker, "detached", _leased("leased"))
    parent, leased = claim(broker)
    submit(broker, _awaited("awaited", parent))
    expect_equal([parent.owned, leased.owned, claim_one(broker, "awaited").owned], [False, True, True], "owned")


@topic.check(clock=True)
def delivery_tells_its_age(harness: ContractHarness) -> None:
    """A delivery tells how long ago the job was submitted, over all its attempts."""
    broker = harness.open()
    submit(broker, "a")
    harness.advance(7)
    delivery = claim_one(broker, "a")
    expect_equal(delivery.age_seconds, 7.0, "the age at the first claim")
    settle(broker, Retried(delivery, 0))
    harness.advance(5)
    delivery = claim_one(broker, "a")
    expect_equal((delivery.age_seconds, delivery.waited_seconds), (12.0, 5.0), "age and waiting time at the second claim")


@topic.check(Feature.LISTING)
def record_shows_the_owner(harness: ContractHarness) -> None:
    """The record tells whether a job has an owner, also after its end."""
    broker = harness.open()
    submit(broker, "detached", _leased("leased"))
    _hold(broker, 0.0, OWNER)
    expect_equal([record(broker, each).owned for each in ("detached", "leased")], [False, True], "owned")
    expect_equal(record(broker, "leased").cancel_reason, OWNER_GONE, "the reason in the record")


@topic.check(Feature.LISTING, clock=True)
def requeued_job_is_detached(harness: ContractHarness) -> None:
    """A requeued job has no owner any more, and its age begins anew."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, _leased("a"), _awaited("b", parent))
    _hold(broker, 0.0, OWNER)
    settle(broker, Started(parent))
    cancel(broker, "b", CancelAnswer.CANCELLED)
    harness.advance(5)
    expect_equal(admin(broker).requeue(["a", "b"]), [True, True], "the answers to the requeue")
    submit(broker, _leased("new"))
    harness.advance(2)
    _hold(broker, 0.0, OWNER)
    settle(broker, succeeded(parent))
    for delivery in expect_claimable(broker, "a", "b"):
        expect_equal((delivery.owned, delivery.age_seconds), (False, 2.0), f"owned and age of {delivery.id!r}")


@topic.check(Feature.DURABLE, clock=True)
def owners_outlive_the_broker(harness: ContractHarness) -> None:
    """Leases and what they own are still known after the broker was opened again."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, _leased("a"), _awaited("b", parent))
    broker = harness.reopen()
    _hold(broker, 15.0, OWNER)
    settle(broker, succeeded(parent))
    expect_cancelled(broker, "b", OWNER_ENDED)
    harness.advance(15)
    expect_swept(broker, orphaned=1)


def _owned(job_id: str, owner: bytes, seconds: float = 0.0, **changes: Any) -> Submission:
    return job(job_id, owner=owner, owner_seconds=seconds, **changes)


def _leased(job_id: str, owner: bytes = OWNER, seconds: float = 15.0, **changes: Any) -> Submission:
    return _owned(job_id, owner, seconds, **changes)


def _awaited(job_id: str, by: Delivery, **changes: Any) -> Submission:
    return _owned(job_id, by.token, **changes)


def _hold(broker: Broker, seconds: float, *owners: bytes) -> None:
    expect_equal(broker.hold(owners, seconds), [True] * len(owners), "the answers to holding leases")
