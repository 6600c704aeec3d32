"""Parked jobs: a worker that does not know a task gives its job back for workers that do."""

from __future__ import annotations

from ...brokers.needed import parking_of
from ...brokers.protocol import PARKED_LOOKS, Broker, Feature
from ...model.delivery import CancelAnswer, Delivery, Finished, Released, Retried, Started
from ...model.limits import Limit, no_room
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import (
    QUEUE,
    admin,
    cancel,
    claim,
    claim_one,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    ids_of,
    job,
    leased,
    packed,
    record,
    repeat,
    settle,
    submit,
    submit_and_claim,
)

topic = Topic("parked jobs", Part.PARKING, Feature.DELAYS)

NAMES = ("known",)
GRACE = 600.0


def park(broker: Broker, *deliveries: Delivery, name: str = "known", seconds: float = GRACE) -> None:
    settle(broker, *(Released(delivery, seconds, name) for delivery in deliveries))


@topic.check()
def it_is_known_whether_any_is(harness: ContractHarness) -> None:
    """A broker says whether a job of some queues is parked under a name."""
    broker = harness.open()
    parking = parking_of(broker)
    submit(broker, "a", "b")
    park(broker, claim_one(broker, "a", limit=1))
    expect_equal(parking.is_parked([QUEUE, "other"], ("unknown", "known")), True, "the answer for its name and queue")
    expect_equal(parking.is_parked([QUEUE], ("unknown",)), False, "the answer for another name")
    expect_equal(parking.is_parked(["other"], NAMES), False, "the answer for another queue")
    claim_one(broker, "a", limit=1, names=NAMES)
    expect_equal(parking.is_parked([QUEUE], NAMES), False, "the answer when it was claimed")


@topic.check(clock=True)
def only_who_knows_the_name_gets_it(harness: ContractHarness) -> None:
    """A job that is parked under a name is only given to a claim that has the name, and at once."""
    broker = harness.open()
    submit(broker, "a")
    park(broker, claim_one(broker, "a"))
    expect_state(broker, JobState.SCHEDULED, "a")
    expect_claimable(broker)
    expect_equal(claim(broker, names=("other", "know", "known ")), [], "a claim with other names")
    delivery = claim_one(broker, "a", names=("other", "known"))
    expect_equal((delivery.attempt, delivery.crashes, delivery.lapses), (1, 0, 0), "attempt, crashes and lapses")
    expect_equal((delivery.parked, delivery.payload), (None, b'{"task":"tests.task"}'), "parked and payload")
    held = record(broker, "a")
    expect_equal(
        held.due_at < held.created_at + GRACE / 2, True, "the job was due when it was claimed, and not after its parking"
    )
    settle(broker, Finished(delivery, JobState.SUCCEEDED, packed()))
    harness.advance(GRACE)
    expect_swept(broker)


@topic.check(clock=True)
def anybody_gets_it_after_the_delay(harness: ContractHarness) -> None:
    """When the delay of a parked job is over anybody gets it, and hears under which name it was parked."""
    broker = harness.open()
    submit(broker, "a")
    park(broker, claim_one(broker, "a"))
    harness.advance(GRACE - 1)
    expect_swept(broker)
    expect_claimable(broker)
    harness.advance(1)
    expect_swept(broker, due=1)
    expect_state(broker, JobState.READY, "a")
    expect_equal(claim_one(broker, "a").parked, "known", "the name under which it was parked")


@topic.check(clock=True)
def name_counts_until_a_sweep_has_come(harness: ContractHarness) -> None:
    """A parked job whose delay is over, and that no sweep has made ready yet, has waited since its delay was over."""
    broker = harness.open()
    submit(broker, "a")
    park(broker, claim_one(broker, "a"), seconds=10.0)
    due = harness.now() + 10
    harness.advance(12)
    expect_equal(claim_one(broker, "a", names=NAMES).waited_seconds, 2.0, "how long it has waited")
    expect_equal(record(broker, "a").due_at, due, "when it was due")


@topic.check(clock=True)
def other_returns_forget_the_name(harness: ContractHarness) -> None:
    """After any other return the name is forgotten."""
    broker = harness.open()
    for job_id in ("released", "retried", "lost"):
        submit(broker, job_id)
        park(broker, claim_one(broker, job_id), seconds=1.0)
        harness.advance(1)
        expect_swept(broker, due=1)
        delivery = claim_one(broker, job_id)
        if job_id == "released":
            settle(broker, Released(delivery, 5.0))
        elif job_id == "retried":
            settle(broker, Retried(delivery, 5.0))
        if job_id != "lost":
            expect_equal(claim(broker, names=NAMES), [], f"a claim of the job that was {job_id}, by name")
        harness.advance(15)
        expect_swept(broker, **({"returned": 1} if job_id == "lost" else {"due": 1}))
        delivery = claim_one(broker, job_id)
        expect_equal(delivery.parked, None, f"the name of the job that was {job_id}")
        settle(broker, Finished(delivery, JobState.SUCCEEDED, packed()))


@topic.check()
def without_a_delay_it_is_ready(harness: ContractHarness) -> None:
    """A release with a name and no delay is a plain release."""
    broker = harness.open()
    submit(broker, "a")
    park(broker, claim_one(broker, "a"), seconds=0.0)
    expect_state(broker, JobState.READY, "a")
    expect_equal(claim_one(broker, "a").parked, None, "the name")


@topic.check(Feature.PRIORITIES)
def it_stands_in_its_place(harness: ContractHarness) -> None:
    """For a claim that knows it, a parked job stands in its place among the ready ones, and is parked again if not taken."""
    broker = harness.open()
    submit(broker, "a", "b", "c", job("high", priority=1))
    high, a, b, _ = claim(broker)
    park(broker, high, b)
    park(broker, a, name="other")
    submit(broker, "d", job("higher", priority=2))
    expect_equal(ids_of(claim(broker, 1, names=("known", "other"))), ["higher"], "the first claim")
    expect_state(broker, JobState.SCHEDULED, "high", "a", "b")
    expect_equal(ids_of(claim(broker, 2, names=("known", "other"))), ["high", "a"], "the second claim")
    expect_claimable(broker, "d")
    expect_equal(ids_of(claim(broker, names=("known", "other"))), ["b"], "the last claim")


@topic.check()
def names_of_other_queues(harness: ContractHarness) -> None:
    """A claim gets what is parked in its own queues."""
    broker = harness.open()
    submit(broker, job("a", queue="a"), job("b", queue="b"))
    park(broker, *claim(broker, queues=["a", "b"]))
    expect_equal(ids_of(claim(broker, queues=["b"], names=NAMES)), ["b"], "the claim from queue b")
    expect_equal(ids_of(claim(broker, queues=["a"], names=NAMES)), ["a"], "the claim from queue a")


@topic.check(Part.ADMIN)
def paused_queue(harness: ContractHarness) -> None:
    """What is parked in a paused queue stays there."""
    broker = harness.open()
    submit(broker, "a")
    park(broker, claim_one(broker, "a"))
    admin(broker).pause(QUEUE)
    expect_equal(claim(broker, names=NAMES), [], "a claim from a paused queue")
    admin(broker).resume(QUEUE)
    claim_one(broker, "a", names=NAMES)


@topic.check()
def many_are_parked(harness: ContractHarness) -> None:
    """Many parked jobs are claimed one batch after the other, each once."""
    broker = harness.open()
    wanted = [f"a{number}" for number in range(3 * PARKED_LOOKS)]
    submit(broker, *wanted)
    park(broker, *claim(broker, 1_000))
    found: list[str] = []
    while deliveries := claim(broker, 70, names=NAMES):
        found += ids_of(deliveries)
    expect_equal(found, wanted, "the claimed jobs")


@topic.check()
def cancel_meets_it(harness: ContractHarness) -> None:
    """A parked job is cancelled at once and for good; one that is to be cancelled is not parked."""
    broker = harness.open()
    submit(broker, "a", "b")
    a, b = claim(broker)
    park(broker, a)
    cancel(broker, "a", CancelAnswer.CANCELLED, "not needed")
    cancel(broker, "b", CancelAnswer.REQUESTED, "too late")
    park(broker, b)
    expect_cancelled(broker, "a", "not needed")
    expect_cancelled(broker, "b", "too late")
    expect_equal(claim(broker, names=NAMES), [], "a claim of cancelled jobs")


@topic.check(clock=True)
def it_expires(harness: ContractHarness) -> None:
    """A parked job expires like any job that waits for its first attempt, and a claim passes it over from that moment on."""
    broker = harness.open()
    submit(broker, job("a", expires_seconds=10.0), job("b", expires_seconds=30.0))
    park(broker, *claim(broker))
    harness.advance(10)
    expect_equal(ids_of(claim(broker, names=NAMES)), ["b"], "the claim after ten seconds")
    expect_swept(broker, expired=1)
    expect_state(broker, JobState.EXPIRED, "a")


@topic.check(clock=True)
def its_owner_goes(harness: ContractHarness) -> None:
    """A parked job goes with its owner."""
    broker = harness.open()
    submit(broker, leased("a"))
    park(broker, claim_one(broker, "a"))
    harness.advance(15)
    expect_swept(broker, orphaned=1)
    expect_state(broker, JobState.CANCELLED, "a")
    expect_equal(claim(broker, names=NAMES), [], "a claim of a job whose owner is gone")


@topic.check(Feature.KEYS)
def it_keeps_its_key(harness: ContractHarness) -> None:
    """A parked job keeps its key."""
    broker = harness.open()
    submit(broker, job("a", key="k"))
    park(broker, claim_one(broker, "a"))
    claim(broker, names=("other",))
    repeat(broker, job("b", key="k"), known="a")
    settle(broker, Finished(claim_one(broker, "a", names=NAMES), JobState.SUCCEEDED, packed()))
    submit(broker, job("b", key="k"))


@topic.check(Part.ADMIN)
def people_see_it(harness: ContractHarness) -> None:
    """Listings count a parked job as scheduled and tell its name; purge and requeue work as for others."""
    broker = harness.open()
    submit(broker, "a", "b")
    park(broker, *claim(broker))
    expect_equal((record(broker, "a").state, record(broker, "a").parked), (JobState.SCHEDULED, "known"), "state and name")
    (queue,) = admin(broker).list_queues()
    expect_equal({state: count for state, count in queue.counts.items() if count}, {JobState.SCHEDULED: 2}, "the counts")
    cancel(broker, "a", CancelAnswer.CANCELLED)
    expect_equal(record(broker, "a").parked, None, "the name of a job that has ended")
    expect_equal(admin(broker).requeue(["a"]), [True], "the answer to the requeue")
    expect_equal((claim_one(broker, "a").parked, record(broker, "a").parked), (None, None), "the name after a requeue")
    expect_equal(admin(broker).purge(QUEUE, frozenset({JobState.SCHEDULED})), 1, "how many were purged")
    expect_equal(claim(broker, names=NAMES), [], "a claim of what was purged")


@topic.check(Part.LIMITS)
def its_limits_hold(harness: ContractHarness) -> None:
    """A parked job waits for room in its limits, and is refused by one that rejects."""
    broker = harness.open()
    one = Limit("concurrency:one", most=1)
    strict = Limit("concurrency:strict", most=1, rejects=True)
    submit(broker, job("a", limits=(one,)))
    park(broker, claim_one(broker, "a"))
    submit(broker, job("b", limits=(one,)), job("c", limits=(strict,)))
    b, c = claim(broker)
    expect_equal(claim(broker, names=NAMES), [], "a claim without room")
    expect_state(broker, JobState.SCHEDULED, "a")
    settle(broker, Released(c, GRACE, "known"), Finished(b, JobState.SUCCEEDED, packed()))
    submit(broker, job("d", limits=(strict,)))
    claim_one(broker, "d")
    expect_equal(ids_of(claim(broker, names=NAMES)), ["a"], "a claim when there is room for one")
    expect_cancelled(broker, "c", no_room(strict.name))


@topic.check(Part.LIMITS)
def a_refused_one_holds_up_nothing(harness: ContractHarness) -> None:
    """A claim that refuses a parked job for want of room goes on to the jobs behind it."""
    broker = harness.open()
    strict = Limit("concurrency:strict", most=1, rejects=True)
    submit(broker, job("refused", limits=(strict,)))
    park(broker, claim_one(broker, "refused"))
    submit(broker, job("runs", limits=(strict,)))
    claim_one(broker, "runs")
    submit(broker, "behind")
    expect_equal(ids_of(claim(broker, names=NAMES)), ["behind"], "the claim")
    expect_cancelled(broker, "refused", no_room(strict.name))


@topic.check(clock=True)
def its_worker_dies(harness: ContractHarness) -> None:
    """What a claim by name has taken comes back as any job does when its worker dies."""
    broker = harness.open()
    submit(broker, "a")
    park(broker, claim_one(broker, "a"))
    settle(broker, Started(claim_one(broker, "a", names=NAMES)))
    harness.advance(15)
    expect_swept(broker, returned=1)
    delivery = claim_one(broker, "a")
    expect_equal((delivery.crashes, delivery.parked), (1, None), "crashes and name")


@topic.check()
def workers_hear_of_it(harness: ContractHarness) -> None:
    """Parking a job hints at work in its queue."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    ear = Ear(harness, broker, "work")
    park(broker, delivery)
    ear.wait_for("work", QUEUE, "a job was parked")


@topic.check(Feature.DURABLE)
def it_is_stored(harness: ContractHarness) -> None:
    """A parked job is there after the broker was closed and opened again."""
    broker = harness.open()
    submit(broker, "a")
    park(broker, claim_one(broker, "a"))
    broker = harness.reopen()
    expect_claimable(broker)
    claim_one(broker, "a", names=NAMES)
