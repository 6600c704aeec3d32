"""Fair queues: jobs of one queue take turns among their shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...brokers.protocol import Broker, Feature
from ...model.delivery import Delivery, Released, Retried, Started, Submission
from ...model.limits import Limit
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    LEASE_SECONDS,
    admin,
    claim,
    ended,
    expect,
    expect_claimable,
    expect_equal,
    expect_swept,
    ids_of,
    job,
    repeat,
    settle,
    submit,
    succeeded,
    sweep,
)

topic = Topic("fair queues", Feature.SHARES)


@topic.check()
def shares_take_turns(harness: ContractHarness) -> None:
    """Of two shares one job each goes in turn, however many one of them has submitted before the other came."""
    broker = harness.open()
    submit(broker, *of("big", 6), *of("small", 3))
    expect_claimable(broker, "big-0", "small-0", "big-1", "small-1", "big-2", "small-2", "big-3", "big-4", "big-5")


@topic.check()
def order_within_a_share(harness: ContractHarness) -> None:
    """Jobs of one share go in the order of submission, also when they are claimed one by one."""
    broker = harness.open()
    submit(broker, *of("x", 3), *of("y", 2), *of("x", 3, begin=3))
    found = [delivery.id for _ in range(8) for delivery in claim(broker, 1)]
    expect_equal([each for each in found if each[0] == "x"], [f"x-{n}" for n in range(6)], "the jobs of one share")
    expect_equal(found[:4], ["x-0", "y-0", "x-1", "y-1"], "the first jobs")


@topic.check()
def weights_count(harness: ContractHarness) -> None:
    """A share of twice the weight gets twice the turns, and one of half the weight half of them."""
    broker = harness.open()
    submit(broker, *of("double", 40, weight=2.0), *of("plain", 40), *of("half", 40, weight=0.5))
    first = Counter(each.id.partition("-")[0] for each in claim(broker, 35))
    expect_equal(dict(first), {"double": 20, "plain": 10, "half": 5}, "the turns of three shares")


@topic.check()
def weights_do_not_drift(harness: ContractHarness) -> None:
    """A weight that does not divide a turn evenly is kept over many turns."""
    broker = harness.open()
    submit(broker, *of("seven", 210, weight=7.0), *of("three", 210, weight=3.0))
    first = Counter(each.id.partition("-")[0] for each in claim(broker, 200))
    expect(abs(first["seven"] - 140) <= 1, f"7 of 10 turns are 140 of 200, and not {first['seven']}")


@topic.check()
def newcomer_comes_at_once(harness: ContractHarness) -> None:
    """A share that comes late takes turns from now on, and gets nothing for the time before."""
    broker = harness.open()
    submit(broker, *of("old", 20))
    _work(broker, claim(broker, 10))
    submit(broker, *of("new", 5))
    found = ids_of(claim(broker, 6))
    expect_equal(found, ["new-0", "old-10", "new-1", "old-11", "new-2", "old-12"], "the jobs after a newcomer has come")


@topic.check()
def idle_share_saves_nothing_up(harness: ContractHarness) -> None:
    """A share that was idle while others worked has no claim to the turns that it left out."""
    broker = harness.open()
    submit(broker, *of("idle", 1), *of("busy", 30))
    _work(broker, claim(broker, 21))
    submit(broker, *of("idle", 5, begin=1))
    first = Counter(each.id.partition("-")[0] for each in claim(broker, 6))
    expect(first["busy"] >= 2, f"the busy one gets its turns, too: {dict(first)}")


@topic.check()
def ten_are_done_before_a_hundred(harness: ContractHarness) -> None:
    """Ten jobs of one share are through before a big one has had a dozen, with many shares in between as well."""
    broker = harness.open()
    submit(broker, *of("big", 300), *[each for n in range(5) for each in of(f"s{n}", 3)], *of("small", 10))
    done: list[str] = []
    while sum(each.startswith("small") for each in done) < 10:
        deliveries = claim(broker, 4)
        _work(broker, deliveries)
        done += ids_of(deliveries)
    expect(sum(each.startswith("big") for each in done) <= 12, f"the big one had its turns only: {Counter(done)}")


@topic.check(Feature.PLACES)
def jobs_that_come_back_keep_their_turn(harness: ContractHarness) -> None:
    """A job that is given back or retried stands where it stood, and takes no other turn."""
    broker = harness.open()
    submit(broker, *of("x", 3), *of("y", 3))
    x0, y0, x1 = claim(broker, 3)
    settle(broker, Released(x1), Retried(x0, 0))
    expect_claimable(broker, "x-0", "x-1", "y-1", "x-2", "y-2")
    settle(broker, Released(y0))
    expect_claimable(broker, "y-0")


@topic.check(Feature.PLACES, clock=True)
def a_crash_costs_a_turn(harness: ContractHarness) -> None:
    """A job whose worker died while it ran stands one turn of weight 1 further back."""
    broker = harness.open()
    submit(broker, *of("x", 4), *of("y", 3))
    (x0,) = claim(broker, 1)
    settle(broker, Started(x0))
    harness.advance(LEASE_SECONDS + 1)
    expect_swept(broker, returned=1)
    expect_claimable(broker, "y-0", "x-0", "x-1", "y-1", "x-2", "y-2", "x-3")


@topic.check(Feature.PRIORITIES)
def priorities_go_first(harness: ContractHarness) -> None:
    """The higher priority goes first, and turns are taken within each: what is urgent costs nothing of the others."""
    broker = harness.open()
    submit(broker, *of("x", 4), *of("x", 2, begin=4, priority=5), *of("y", 2, priority=5))
    expect_claimable(broker, "x-4", "y-0", "x-5", "y-1", "x-0", "x-1", "x-2", "x-3")
    submit(broker, *of("x", 3, begin=6), *of("z", 2))
    expect_claimable(broker, "z-0", "x-6", "z-1", "x-7", "x-8")


@topic.check(Feature.PRIORITIES)
def urgent_jobs_move_no_other_line(harness: ContractHarness) -> None:
    """However many urgent jobs were taken, who comes late among the others stands there as if nothing had been."""
    broker = harness.open()
    submit(broker, *of("x", 4), *of("urgent", 10, priority=5))
    claim(broker, 10)
    submit(broker, *of("late", 2))
    expect_claimable(broker, "x-0", "late-0", "x-1", "late-1", "x-2", "x-3")


@topic.check()
def queues_have_turns_of_their_own(harness: ContractHarness) -> None:
    """A share that is busy in one queue has its turn in another."""
    broker = harness.open()
    submit(broker, *of("x", 20), *of("y", 2, queue="other"), *of("x", 2, begin=20, queue="other"))
    expect_claimable(broker, "y-0", "x-20", "y-1", "x-21", queues=["other"])


@topic.check(Feature.KEYS)
def repetitions_take_no_turn(harness: ContractHarness) -> None:
    """A repetition takes no turn, alone or beside new jobs."""
    broker = harness.open()
    first = job("x-0", share="x", key="k")
    submit(broker, first)
    for _ in range(5):
        repeat(broker, first)
        repeat(broker, job("x-9", share="x", key="k"), known="x-0")
    broker.submit([first, *of("x", 1, begin=1), first])
    submit(broker, *of("y", 3))
    expect_claimable(broker, "x-0", "y-0", "x-1", "y-1", "y-2")


@topic.check(Feature.BOUNDS)
def refused_jobs_take_no_turn(harness: ContractHarness) -> None:
    """A job that its full queue refuses takes no turn."""
    broker = harness.open()
    submit(broker, *of("x", 2, max_length=2))
    for n in range(2, 6):
        try:
            broker.submit(of("x", 1, begin=n, max_length=2))
        except Exception:  # whatever it says: another check asks
            continue
    submit(broker, *of("x", 1, begin=2), *of("y", 3))
    expect_claimable(broker, "x-0", "y-0", "x-1", "y-1", "x-2", "y-2")


@topic.check(Part.LIMITS)
def limits_hold_in_turn(harness: ContractHarness) -> None:
    """Jobs with limits stand at their gates in the same order, beside jobs without."""
    broker = harness.open()
    one = Limit("concurrency:one", most=1)
    submit(broker, *of("x", 3, limits=(one,)), *of("y", 2), *of("z", 2, limits=(one,)))
    found = {delivery.id: delivery for delivery in claim(broker)}
    expect_equal(sorted(found), ["x-0", "y-0", "y-1"], "the jobs that have room")
    x0 = found["x-0"]
    order = [x0.id]
    held = x0
    while True:
        settle(broker, succeeded(held))
        deliveries = claim(broker)
        if not deliveries:
            break
        (held,) = deliveries
        order.append(held.id)
    expect_equal(order, ["x-0", "z-0", "x-1", "z-1", "x-2"], "the jobs with a limit")


@topic.check(Part.LIMITS)
def many_gates_keep_the_order(harness: ContractHarness) -> None:
    """A limit for each share changes nothing in the order, however many shares stand at the same turn."""
    broker = harness.open()
    names = [f"s{n:03}" for n in range(150)]
    batch = [each for name in names for each in of(name, 2, limits=(Limit(f"concurrency:{name}", most=2),))]
    submit(broker, *batch)
    first = ids_of(claim(broker, 150))
    expect_equal(sorted(first), [f"{name}-0" for name in names], "the first round")
    expect_equal(sorted(ids_of(claim(broker, 1_000))), [f"{name}-1" for name in names], "the second round")


@topic.check(Feature.DELAYS, clock=True)
def delayed_jobs_keep_the_turn_of_their_submission(harness: ContractHarness) -> None:
    """A job with a delay has taken its turn when it was submitted."""
    broker = harness.open()
    submit(broker, *of("x", 2, delay_seconds=10), *of("x", 2, begin=2), *of("y", 1))
    expect_claimable(broker, "y-0", "x-2", "x-3")
    harness.advance(10)
    sweep(broker)
    submit(broker, *of("y", 2, begin=1))
    expect_claimable(broker, "x-0", "x-1", "y-1", "y-2")


@topic.check(Part.ADMIN)
def forgetting_changes_nothing(harness: ContractHarness) -> None:
    """Sweeps forget shares that have nothing left to wait for, and the order stays what it is without them."""
    broker = harness.open()
    submit(broker, *of("x", 5), *of("y", 2))
    for _ in range(4):
        _work(broker, claim(broker, 1))
        sweep(broker)
    submit(broker, *of("y", 2, begin=2), *of("z", 2))
    expect_claimable(broker, "z-0", "x-2", "y-2", "z-1", "x-3", "y-3", "x-4")


@topic.check(Part.ADMIN)
def run_again_by_hand_keeps_its_turn(harness: ContractHarness) -> None:
    """A job that is run again by hand has the turn that it had."""
    broker = harness.open()
    submit(broker, *of("x", 4), *of("y", 4))
    (x0,) = claim(broker, 1)
    settle(broker, ended(x0, JobState.FAILED))
    claim(broker, 3)
    expect_equal(admin(broker).requeue(["x-0"]), [True], "running a job again")
    expect_claimable(broker, "x-0", "x-2", "y-2", "x-3", "y-3")


def of(share: str, number: int, begin: int = 0, **changes: object) -> list[Submission]:
    """Describe jobs of a share: `x-0`, `x-1`, ..."""
    return [job(f"{share}-{n}", share=share, **changes) for n in range(begin, begin + number)]


def _work(broker: Broker, deliveries: Sequence[Delivery]) -> None:
    settle(broker, *[succeeded(delivery) for delivery in deliveries])
