"""Owned jobs whose owner is a lease: they end with it. `awaited.py` has those that a delivery owns."""

from __future__ import annotations

from ...brokers.protocol import Feature
from ...model.delivery import (
    CancelAnswer,
    LeaseState,
    Renewal,
    Retried,
    Started,
)
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    OTHER_OWNER,
    OWNER,
    admin,
    awaited,
    cancel,
    claim,
    claim_one,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    leased,
    record,
    renew_owners,
    settle,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("owners")

HELD, GONE = Renewal(LeaseState.HELD), Renewal(LeaseState.CANCEL, OWNER_GONE)


@topic.check(clock=True)
def lease_keeps_its_jobs(harness: ContractHarness) -> None:
    """The jobs of an owner go on as long as its lease does; each `hold` prolongs it from then on."""
    broker = harness.open()
    submit(broker, leased("a"), leased("b"))
    delivery = claim_one(broker, "a", limit=1, lease_seconds=1_000)
    for _ in range(3):
        harness.advance(14.5)
        expect_swept(broker)
        renew_owners(broker, 15.0, OWNER)
    expect_equal(broker.renew([delivery], 1_000), [HELD], "the renewal of an owned job")
    expect_state(broker, JobState.READY, "b")


@topic.check(clock=True)
def lease_over_cancels_its_jobs(harness: ContractHarness) -> None:
    """When an owner's lease is over a sweep cancels its jobs: those that wait at once, those that are held are told."""
    broker = harness.open()
    submit(broker, leased("held"), leased("waiting"), "detached", leased("other", OTHER_OWNER, 60))
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
    submit(broker, leased("due", delay_seconds=15), leased("later", delay_seconds=60))
    harness.advance(15)
    expect_swept(broker, orphaned=2)
    expect_cancelled(broker, "due", OWNER_GONE)
    expect_cancelled(broker, "later", OWNER_GONE)


@topic.check()
def letting_go_cancels(harness: ContractHarness) -> None:
    """Letting go cancels the owner's jobs at once, and only its own; the lease is no more."""
    broker = harness.open()
    submit(broker, leased("held"), leased("waiting"), leased("other", OTHER_OWNER), "detached")
    held = claim_one(broker, "held", limit=1)
    renew_owners(broker, 0.0, OWNER)
    expect_cancelled(broker, "waiting", OWNER_GONE)
    expect_equal(broker.renew([held], 15.0), [GONE], "the renewal")
    expect_equal(broker.renew_owners([OWNER], 15.0), [False], "the answer to holding what was let go")
    expect_claimable(broker, "other", "detached")


@topic.check(clock=True)
def unswept_lease_is_held(harness: ContractHarness) -> None:
    """An owner's lease that is over, and that nobody swept, can still be prolonged."""
    broker = harness.open()
    submit(broker, leased("a"))
    harness.advance(60)
    renew_owners(broker, 15.0, OWNER)
    expect_swept(broker)
    expect_claimable(broker, "a")


@topic.check(clock=True)
def swept_lease_is_gone(harness: ContractHarness) -> None:
    """A lease that was swept cannot be prolonged; a submission makes it anew, and the old jobs stay cancelled."""
    broker = harness.open()
    submit(broker, leased("old"))
    harness.advance(15)
    expect_swept(broker, orphaned=1)
    expect_equal(broker.renew_owners([OWNER], 15.0), [False], "the answer to holding a swept lease")
    submit(broker, leased("new"))
    expect_cancelled(broker, "old", OWNER_GONE)
    renew_owners(broker, 15.0, OWNER)
    harness.advance(14)
    expect_swept(broker)
    expect_claimable(broker, "new")


@topic.check()
def unknown_owners(harness: ContractHarness) -> None:
    """Holding is answered in order, False for owners without a lease, and makes none."""
    broker = harness.open()
    submit(broker, leased("a"), leased("b", OTHER_OWNER))
    expect_equal(broker.renew_owners([OTHER_OWNER, b"nobody", OWNER], 15.0), [True, False, True], "the answers")
    expect_equal(broker.renew_owners([b"nobody"], 15.0), [False], "the second answer")
    expect_equal(broker.renew_owners([b"nobody", OTHER_OWNER], 0.0), [False, True], "the answers to letting go")
    expect_equal(broker.renew_owners([], 15.0), [], "the answer to nothing")
    expect_claimable(broker, "a")


@topic.check(clock=True)
def submission_prolongs_the_lease(harness: ContractHarness) -> None:
    """Each submission prolongs its owner's lease, also one that repeats an id; none cuts it short."""
    broker = harness.open()
    submit(broker, leased("a"))
    harness.advance(10)
    (receipt,) = broker.submit([leased("a")])
    expect(not receipt.created, "a repeated id was stored")
    harness.advance(10)
    expect_swept(broker)
    submit(broker, leased("b", seconds=1))
    harness.advance(4)
    expect_swept(broker)
    harness.advance(1)
    expect_swept(broker, orphaned=2)


@topic.check(clock=True)
def repetition_does_not_change_hands(harness: ContractHarness) -> None:
    """A job that is known keeps its owner, or none, when another owner submits its id again."""
    broker = harness.open()
    submit(broker, leased("mine"), "nobody's")
    receipts = broker.submit([leased("mine", OTHER_OWNER, 60), leased("nobody's")])
    expect_equal([receipt.created for receipt in receipts], [False, False], "whether repetitions were stored")
    harness.advance(15)
    expect_swept(broker, orphaned=1)
    expect_cancelled(broker, "mine", OWNER_GONE)
    expect_claimable(broker, "nobody's")


@topic.check(clock=True)
def sweeps_of_owners_are_bounded(harness: ContractHarness) -> None:
    """Sweeps with a limit cancel an owner's jobs over several calls, say that there is more, and revive nothing meanwhile."""
    broker = harness.open()
    submit(broker, *(leased(f"a{n}") for n in range(7)))
    harness.advance(15)
    swept = broker.sweep(3)
    expect(swept.orphaned >= 3 and swept.more, f"the first sweep says {swept}")
    expect_equal(broker.renew_owners([OWNER], 15.0), [False], "the answer to holding a lease that is being swept")
    for _ in range(10):
        if not broker.sweep(3).more:
            break
    for number in range(7):
        expect_cancelled(broker, f"a{number}", OWNER_GONE)


@topic.check(clock=True)
def new_lease_does_not_save_the_old_jobs(harness: ContractHarness) -> None:
    """When a lease is made anew while a sweep has not reached all its jobs, the old ones are cancelled all the same."""
    broker = harness.open()
    submit(broker, *(leased(f"old-{n}") for n in range(5)))
    harness.advance(15)
    broker.sweep(2)
    submit(broker, leased("new"))
    broker.sweep(100)
    for number in range(5):
        expect_cancelled(broker, f"old-{number}", OWNER_GONE)
    expect_claimable(broker, "new")


@topic.check(clock=True)
def told_jobs_are_not_counted_again(harness: ContractHarness) -> None:
    """What somebody has asked to cancel before is not told again by a sweep, and keeps its reason."""
    broker = harness.open()
    submit(broker, leased("a"))
    held = claim_one(broker, "a", lease_seconds=1_000)
    cancel(broker, "a", CancelAnswer.REQUESTED, "first")
    harness.advance(15)
    expect_swept(broker)
    expect_equal(broker.renew([held], 1_000), [Renewal(LeaseState.CANCEL, "first")], "the renewal")


@topic.check()
def letting_go_leaves_ends_alone(harness: ContractHarness) -> None:
    """A job that has ended when its owner lets go stays as it is, and so does one that ends before it is told."""
    broker = harness.open()
    submit(broker, leased("a"), leased("b"))
    first, second = claim(broker)
    settle(broker, succeeded(first))
    renew_owners(broker, 0.0, OWNER)
    settle(broker, succeeded(second))
    expect_state(broker, JobState.SUCCEEDED, "a", "b")


# --- what a worker and a person see ---------------------------------------------------------------


@topic.check()
def delivery_says_whether_it_is_owned(harness: ContractHarness) -> None:
    """A delivery tells whether the job has an owner."""
    broker = harness.open()
    submit(broker, "detached", leased("leased"))
    parent, lent = claim(broker)
    submit(broker, awaited("awaited", parent))
    expect_equal([parent.owned, lent.owned, claim_one(broker, "awaited").owned], [False, True, True], "owned")


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


@topic.check(Part.ADMIN)
def record_shows_the_owner(harness: ContractHarness) -> None:
    """The record tells whether a job has an owner, also after its end."""
    broker = harness.open()
    submit(broker, "detached", leased("leased"))
    renew_owners(broker, 0.0, OWNER)
    expect_equal([record(broker, each).owned for each in ("detached", "leased")], [False, True], "owned")
    expect_equal(record(broker, "leased").cancel_reason, OWNER_GONE, "the reason in the record")


@topic.check(Part.ADMIN, clock=True)
def requeued_job_is_detached(harness: ContractHarness) -> None:
    """A requeued job has no owner any more, and its age begins anew."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, leased("a"), awaited("b", parent))
    renew_owners(broker, 0.0, OWNER)
    settle(broker, Started(parent))
    cancel(broker, "b", CancelAnswer.CANCELLED)
    harness.advance(5)
    expect_equal(admin(broker).requeue(["a", "b"]), [True, True], "the answers to the requeue")
    submit(broker, leased("new"))
    harness.advance(2)
    renew_owners(broker, 0.0, OWNER)
    settle(broker, succeeded(parent))
    for delivery in expect_claimable(broker, "a", "b"):
        expect_equal((delivery.owned, delivery.age_seconds), (False, 2.0), f"owned and age of {delivery.id!r}")


@topic.check(Feature.DURABLE, clock=True)
def owners_outlive_the_broker(harness: ContractHarness) -> None:
    """Leases and what they own are still known after the broker was opened again."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, leased("a"), awaited("b", parent))
    broker = harness.reopen()
    renew_owners(broker, 15.0, OWNER)
    settle(broker, succeeded(parent))
    expect_cancelled(broker, "b", OWNER_ENDED)
    harness.advance(15)
    expect_swept(broker, orphaned=1)
