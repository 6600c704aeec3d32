"""Jobs that only run so many at once."""

from __future__ import annotations

from typing import Any

from ...brokers.needed import limits_of
from ...brokers.protocol import Broker, Feature
from ...model.delivery import CancelAnswer, Delivery, Released, Retried, Started, Submission
from ...model.limits import Limit, no_room
from ...model.listing import LimitRecord
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import (
    LEASE_SECONDS,
    QUEUE,
    admin,
    awaited,
    cancel,
    claim,
    claim_one,
    ended,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_ended,
    expect_equal,
    expect_state,
    expect_swept,
    ids_of,
    job,
    record,
    settle,
    submit,
    succeeded,
    sweep,
)

topic = Topic("limits", Part.LIMITS)

ONE = Limit("concurrency:one", most=1)
TWO = Limit("concurrency:two", most=2)
OTHER = Limit("concurrency:other", most=1)


def limited(job_id: str, *limits: Limit, **changes: Any) -> Submission:
    return job(job_id, limits=limits, **changes)


def list_limits(broker: Broker) -> list[LimitRecord]:
    return limits_of(broker).list_limits(1_000)


@topic.check()
def excess_waits(harness: ContractHarness) -> None:
    """At most as many jobs as a limit says are held at once, and the next ones follow when those have ended."""
    broker = harness.open()
    submit(broker, *[limited(name, TWO) for name in "abcd"])
    first, second = expect_claimable(broker, "a", "b")
    expect_claimable(broker)
    settle(broker, Started(first), succeeded(first))
    third = claim_one(broker, "c")
    settle(broker, ended(second, JobState.FAILED), succeeded(third))
    settle(broker, succeeded(claim_one(broker, "d")))
    expect_state(broker, JobState.SUCCEEDED, "a", "c", "d")


@topic.check()
def one_claim_keeps_the_limit(harness: ContractHarness) -> None:
    """A claim that asks for less than a limit allows leaves room for the next one."""
    broker = harness.open()
    submit(broker, *[limited(name, TWO) for name in "abc"])
    claim_one(broker, "a", limit=1)
    claim_one(broker, "b", limit=2)
    expect_claimable(broker)


@topic.check()
def others_pass(harness: ContractHarness) -> None:
    """Jobs without the limit, or with one that has room, go past those that wait for it."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE), "c", limited("d", OTHER), limited("e", ONE), "f")
    expect_claimable(broker, "a", "c", "d", "f")


@topic.check()
def order_holds_among_all(harness: ContractHarness) -> None:
    """Jobs with and without limits are claimed in one order, the order of their submission."""
    broker = harness.open()
    submit(broker, "a", limited("b", ONE), "c", limited("d", TWO), limited("e", OTHER), "f", limited("g", TWO))
    expect_equal(ids_of(claim(broker, 4)), ["a", "b", "c", "d"], "the first four")
    expect_claimable(broker, "e", "f", "g")


@topic.check(Feature.PRIORITIES)
def priorities_hold_among_all(harness: ContractHarness) -> None:
    """Of those that wait for a limit, the one with the highest priority is next; and so it is among all."""
    broker = harness.open()
    submit(broker, limited("low", ONE), "plain", limited("high", ONE, priority=5), job("middle", priority=3))
    high = claim_one(broker, "high", limit=1)
    expect_claimable(broker, "middle", "plain")
    submit(broker, limited("higher", ONE, priority=4), limited("late", ONE))
    settle(broker, succeeded(high))
    settle(broker, succeeded(claim_one(broker, "higher")))
    settle(broker, succeeded(claim_one(broker, "low")))
    claim_one(broker, "late")


@topic.check()
def limit_counts_across_queues_and_tasks(harness: ContractHarness) -> None:
    """A limit counts all jobs with its name, whatever their queue and task, and each queue gets its turn."""
    broker = harness.open()
    submit(broker, limited("a", ONE, queue="one", task="t1"), limited("b", ONE, queue="two", task="t2"))
    submit(broker, limited("c", ONE, queue="one", task="t2"))
    a = claim_one(broker, "a", queues=("two", "one")[::-1])
    expect_claimable(broker, queues=("one", "two"))
    settle(broker, succeeded(a))
    b = claim_one(broker, "b", queues=("two",))
    expect_claimable(broker, queues=("one", "two"))
    settle(broker, succeeded(b))
    claim_one(broker, "c", queues=("one", "two"))


@topic.check()
def names_count_apart(harness: ContractHarness) -> None:
    """Limits with different names have nothing to do with each other."""
    broker = harness.open()
    names = ["concurrency:t anna", "concurrency:t bert", "concurrency:t", "concurrency:t é ü"]
    submit(broker, *[limited(f"{name[14:]}{n}".replace(" ", "-"), Limit(name, most=1)) for n in "12" for name in names])
    expect_equal(len(claim(broker)), len(names), "jobs that one claim got")
    expect_equal(
        [(each.name, each.running, each.waiting) for each in list_limits(broker)], [(n, 1, 1) for n in sorted(names)], "limits"
    )


@topic.check()
def several_limits_are_taken_together(harness: ContractHarness) -> None:
    """A job with several limits takes room in all of them or in none."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("both", TWO, ONE), limited("b", TWO), limited("c", TWO), limited("d", TWO))
    a, b, c = expect_claimable(broker, "a", "b", "c")
    settle(broker, succeeded(b))
    d = claim_one(broker, "d")
    settle(broker, succeeded(a))
    expect_claimable(broker)  # `both` waits for the other one now
    settle(broker, succeeded(c))
    both = claim_one(broker, "both")
    submit(broker, limited("e", ONE), limited("f", TWO))
    expect_claimable(broker)
    settle(broker, succeeded(both), succeeded(d))
    expect_claimable(broker, "e", "f")


@topic.check()
def who_waits_elsewhere_holds_nobody_up(harness: ContractHarness) -> None:
    """Jobs that have room in one of their limits and none in another let those pass that have room."""
    broker = harness.open()
    submit(
        broker, limited("a", OTHER), limited("b", ONE, OTHER), limited("c", ONE, OTHER), limited("d", ONE), limited("e", ONE)
    )
    a, d = expect_claimable(broker, "a", "d")
    settle(broker, succeeded(a))
    expect_claimable(broker)
    settle(broker, succeeded(d))
    b = claim_one(broker, "b")
    settle(broker, succeeded(b))
    claim_one(broker, "c")


@topic.check()
def lower_limit_waits_for_the_others(harness: ContractHarness) -> None:
    """When jobs say different numbers of the same limit, each goes by its own number of all that are held."""
    broker = harness.open()
    lower, higher = Limit("concurrency:two", most=1), Limit("concurrency:two", most=3)
    submit(broker, limited("a", TWO), limited("b", TWO), limited("low", lower), limited("c", higher), limited("d", higher))
    a, b, c = expect_claimable(broker, "a", "b", "c")
    settle(broker, succeeded(a), succeeded(b))
    d = claim_one(broker, "d")
    settle(broker, succeeded(c))
    expect_claimable(broker)
    settle(broker, succeeded(d))
    claim_one(broker, "low")


@topic.check()
def retry_gives_back(harness: ContractHarness) -> None:
    """A retry and a release give the place back, and the job waits for it again in its old place."""
    broker = harness.open()
    submit(broker, *[limited(name, ONE) for name in "abc"])
    settle(broker, Retried(claim_one(broker, "a"), 0))
    settle(broker, Released(claim_one(broker, "a")))
    a = claim_one(broker, "a")
    expect_equal(a.attempt, 2, "the attempt")
    settle(broker, Started(a), succeeded(a))
    claim_one(broker, "b")


@topic.check(Feature.DELAYS, clock=True)
def delayed_retry_gives_back(harness: ContractHarness) -> None:
    """Who waits for a retry holds no place, and gets one in its turn when it is due."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE), limited("later", ONE, delay_seconds=5))
    settle(broker, Retried(claim_one(broker, "a"), 10))
    b = claim_one(broker, "b")
    harness.advance(10)
    expect_swept(broker, due=2)
    expect_claimable(broker)
    settle(broker, succeeded(b))
    settle(broker, succeeded(claim_one(broker, "a")))
    claim_one(broker, "later")


@topic.check(clock=True)
def dead_worker_gives_back(harness: ContractHarness) -> None:
    """A worker that died gives back its places when the lease is over and was swept, and not before."""
    broker = harness.open()
    submit(broker, limited("a", ONE, max_crashes=1), limited("b", ONE), limited("c", ONE))
    settle(broker, Started(claim_one(broker, "a")))
    harness.advance(LEASE_SECONDS - 1)
    sweep(broker)
    expect_claimable(broker)
    harness.advance(2)
    expect_claimable(broker)
    expect_swept(broker, died=1)
    claim_one(broker, "b")
    harness.advance(LEASE_SECONDS + 1)
    expect_swept(broker, returned=1)
    again = claim_one(broker, "b")
    expect_claimable(broker)
    settle(broker, succeeded(again))
    claim_one(broker, "c")


@topic.check()
def stale_token_gives_nothing_back(harness: ContractHarness) -> None:
    """A delivery that is not held any more gives no place back."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE))
    a = claim_one(broker, "a")
    settle(broker, Released(a))
    claim_one(broker, "a")
    expect_equal(broker.settle([succeeded(a)]), [False], "the answer to a stale token")
    expect_claimable(broker)


@topic.check()
def waiting_job_can_be_cancelled(harness: ContractHarness) -> None:
    """A job that waits for a limit is ready, can be cancelled at once, and those behind it move up."""
    broker = harness.open()
    submit(broker, *[limited(name, ONE) for name in "abc"])
    a = claim_one(broker, "a")
    expect_claimable(broker)
    expect_state(broker, JobState.READY, "b", "c")
    cancel(broker, "b", CancelAnswer.CANCELLED)
    expect_cancelled(broker, "b", "not needed")
    settle(broker, succeeded(a))
    claim_one(broker, "c")


@topic.check()
def cancelled_running_job_gives_back(harness: ContractHarness) -> None:
    """A cancel of a job that runs gives its place back when its worker says that it has ended."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE))
    a = claim_one(broker, "a")
    cancel(broker, "a", CancelAnswer.REQUESTED)
    expect_claimable(broker)
    settle(broker, Released(a))
    expect_cancelled(broker, "a", "not needed")
    claim_one(broker, "b")


@topic.check(clock=True)
def waiting_job_expires(harness: ContractHarness) -> None:
    """A job that waits for a limit expires in its time, and holds nobody up when it is late."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE, expires_seconds=10), limited("c", ONE))
    a = claim_one(broker, "a", lease_seconds=100)
    expect_claimable(broker)
    harness.advance(10)
    settle(broker, succeeded(a))
    c = claim_one(broker, "c", lease_seconds=100)
    expect_swept(broker, expired=1)
    expect_ended(broker, "b", JobState.EXPIRED)
    settle(broker, succeeded(c))
    expect_claimable(broker)


@topic.check()
def excess_is_rejected(harness: ContractHarness) -> None:
    """What finds no room in a limit that rejects is cancelled by the claim, with the limit's name as the reason."""
    broker = harness.open()
    strict = Limit("concurrency:strict", most=3, rejects=True)
    submit(broker, *[limited(name, strict) for name in "abcde"], "f")
    first, *_ = expect_claimable(broker, "a", "b", "c", "f")
    for name in "de":
        expect_cancelled(broker, name, no_room(strict.name))
    settle(broker, succeeded(first))
    submit(broker, limited("g", strict), limited("h", strict))
    claim_one(broker, "g")
    expect_cancelled(broker, "h", no_room(strict.name))


@topic.check()
def first_limit_without_room_decides(harness: ContractHarness) -> None:
    """Of several limits without room the first one says what becomes of the job."""
    broker = harness.open()
    strict = Limit("concurrency:strict", most=1, rejects=True)
    submit(broker, limited("a", ONE), limited("b", strict))
    expect_claimable(broker, "a", "b")
    submit(broker, limited("waits", ONE, strict), limited("ends", strict, ONE))
    expect_claimable(broker)
    expect_state(broker, JobState.READY, "waits")
    expect_cancelled(broker, "ends", no_room(strict.name))


@topic.check(Part.ADMIN)
def paused_queue_takes_no_place(harness: ContractHarness) -> None:
    """Jobs of a paused queue take no places, and those of other queues get them."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE, queue="other"), limited("c", ONE))
    admin(broker).pause(QUEUE)
    b = claim_one(broker, "b", queues=(QUEUE, "other"))
    admin(broker).resume(QUEUE)
    expect_claimable(broker)
    settle(broker, succeeded(b))
    claim_one(broker, "a")


@topic.check(Part.ADMIN)
def purge_takes_those_that_wait(harness: ContractHarness) -> None:
    """A purge takes jobs that wait for a limit, and leaves nothing of them."""
    broker = harness.open()
    submit(broker, *[limited(name, ONE) for name in "abc"])
    a = claim_one(broker, "a")
    expect_claimable(broker)
    expect_equal(admin(broker).purge(QUEUE, frozenset({JobState.READY})), 2, "purged jobs")
    expect_equal(list_limits(broker), [LimitRecord(name=ONE.name, running=1)], "the limits")
    settle(broker, succeeded(a))
    expect_equal(list_limits(broker), [], "the limits when all is over")
    submit(broker, limited("d", ONE))
    claim_one(broker, "d")


@topic.check(Part.ADMIN)
def requeued_job_keeps_its_limits(harness: ContractHarness) -> None:
    """A job that a person puts back has its limits still."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE))
    settle(broker, ended(claim_one(broker, "a"), JobState.FAILED))
    b = claim_one(broker, "b")
    expect_equal(admin(broker).requeue(["a"]), [True], "the answer to a requeue")
    expect_claimable(broker)
    settle(broker, succeeded(b))
    claim_one(broker, "a")


@topic.check(Part.ADMIN)
def listing_shows_who_waits(harness: ContractHarness) -> None:
    """A job says what it waits for once a claim has found no room, and a limit how many run and wait."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE), limited("c", ONE, queue="other"), "plain")
    expect_equal(record(broker, "b").waits_for, None, "what a job waits for that nobody has looked at")
    a, _ = expect_claimable(broker, "a", "plain")
    expect_claimable(broker)
    settle(broker, Started(a))  # gives nothing back
    expect_equal([record(broker, name).waits_for for name in ("a", "b", "plain")], [None, ONE.name, None], "what they wait for")
    expect_equal(list_limits(broker), [LimitRecord(name=ONE.name, running=1, waiting=2)], "the limits")
    settle(broker, succeeded(a))
    expect_equal(record(broker, "b").waits_for, None, "what a job waits for that has room")
    expect_equal(list_limits(broker), [LimitRecord(name=ONE.name, waiting=2)], "the limits")


@topic.check(clock=True)
def owned_jobs_count_like_others(harness: ContractHarness) -> None:
    """A job that a handler awaits waits for a limit like any other, and is cancelled there with its owner."""
    broker = harness.open()
    submit(broker, "owner", limited("a", ONE))
    owner, a = expect_claimable(broker, "owner", "a")
    submit(broker, awaited("child", owner, limits=(ONE,)))
    expect_claimable(broker)
    settle(broker, succeeded(owner))
    expect_state(broker, JobState.CANCELLED, "child")
    settle(broker, succeeded(a))
    expect_claimable(broker)


@topic.check()
def end_is_a_hint_for_those_that_wait(harness: ContractHarness) -> None:
    """The end of a job hints at work in each queue where others wait for its limits."""
    broker = harness.open()
    submit(broker, limited("a", ONE), limited("b", ONE), limited("c", ONE, queue="other"))
    a = claim_one(broker, "a")
    expect_claimable(broker, queues=(QUEUE, "other"))
    ear = Ear(harness, broker, "work")
    settle(broker, succeeded(a))
    for queue in (QUEUE, "other"):
        ear.wait_for("work", queue, "the end of a job that others wait for")


@topic.check()
def crowd_holds_nobody_up(harness: ContractHarness) -> None:
    """Thousands of jobs without room cost a claim nothing, and a job behind them is claimed at once."""
    broker = harness.open()
    crowd = [limited(f"crowd-{n}", ONE) for n in range(3_000)]
    for begin in range(0, len(crowd), 500):
        submit(broker, *crowd[begin : begin + 500])
    submit(broker, "last")
    deliveries = claim(broker)
    expect_equal(ids_of(deliveries), ["crowd-0", "last"], "the claimed jobs")
    first: Delivery = deliveries[0]
    settle(broker, succeeded(first))
    claim_one(broker, "crowd-1")


@topic.check()
def many_keys_all_get_their_turn(harness: ContractHarness) -> None:
    """With a limit for each of many keys, repeated claims get one job of each."""
    broker = harness.open()
    wanted = 1_200
    for begin in range(0, wanted, 300):
        submit(
            broker, *[limited(f"{n}-{k}", Limit(f"concurrency:t {n}", most=1)) for n in range(begin, begin + 300) for k in "ab"]
        )
    found: list[str] = []
    for _ in range(20):
        found += ids_of(claim(broker, 200))
    expect_equal(sorted(found), sorted(f"{n}-a" for n in range(wanted)), "the claimed jobs")
    expect(all(each.running == 1 for each in list_limits(broker)), "each limit must hold one job")
