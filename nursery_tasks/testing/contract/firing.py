"""The jobs that are submitted in the step that changes a schedule: with it, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier, Thread

from ...brokers.needed import schedules_of
from ...brokers.protocol import Broker, Feature
from ...model.delivery import Receipt, Submission
from ...model.limits import Limit
from ...model.reasons import OWNER_GONE
from ...model.schedule import ScheduleChange, ScheduleRow
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .schedules import fire, fire_stale, put, row_of
from .steps import (
    OWNER,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    expect_unknown,
    job,
    leased,
    owned,
    settle,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("schedules that fire", Part.SCHEDULES)


@topic.check()
def jobs_come_with_the_change(harness: ContractHarness) -> None:
    """The jobs of a change are stored with it, in their order and as they are; the receipts are those of a submission."""
    broker = harness.open()
    version = put(broker, "a", 5.0)
    receipts = fire(broker, "a", version, 9.0, b"fired", job("b"), job("a", payload=b"\x00\xff"), job("c", queue="other"))
    expect_equal(receipts, [Receipt("b", True), Receipt("a", True), Receipt("c", True)], "the receipts")
    row = row_of(broker, "a")
    expect_equal(row, ScheduleRow("a", row.version, 9.0, b"fired"), "the schedule")
    expect(row.version != version, "the version must be another one after a change")
    _, a, _ = expect_claimable(broker, "b", "a", "c", queues=["work", "other"])
    expect_equal((a.payload, a.task, a.attempt, a.owned), (b"\x00\xff", "tests.task", 1, False), "what was claimed")


@topic.check()
def each_change_may_bring_jobs(harness: ContractHarness) -> None:
    """Jobs may come with the first change of a schedule, with its removal, and with a change without a schedule."""
    broker = harness.open()
    fire(broker, "a", 0, None, b"first", job("at the first"))
    fire(broker, "a", row_of(broker, "a").version, None, None, job("at the removal"))
    fire(broker, "a", 0, None, None, job("without"))
    expect_equal(schedules_of(broker).find_schedules(["a"]), [None], "the schedule")
    expect_claimable(broker, "at the first", "at the removal", "without")


@topic.check()
def stale_change_submits_nothing(harness: ContractHarness) -> None:
    """A change from a version that is not current stores no job."""
    broker = harness.open()
    fire_stale(broker, "ghost", 1, job("a"))
    first = put(broker, "a")
    second = put(broker, "a", version=first)
    for version in (0, first, second + 1):
        fire_stale(broker, "a", version, job("b"))
        fire_stale(broker, "a", version, job("c"), body=None)
    expect_unknown(broker, "a", "b", "c")
    expect_claimable(broker)


@topic.check()
def known_id_does_not_stop_the_change(harness: ContractHarness) -> None:
    """A job of a change whose id is known is not stored again, and the rest happens all the same."""
    broker = harness.open()
    settle(broker, succeeded(submit_and_claim(broker, "ended")))
    submit(broker, job("waiting", payload=b"first"))
    batch = [job("new"), job("waiting", payload=b"second"), job("ended"), job("new"), job("last")]
    receipts = fire(broker, "a", 0, None, b"fired", *batch)
    wanted = [Receipt("new", True), *(Receipt(known, False) for known in ("waiting", "ended", "new")), Receipt("last", True)]
    expect_equal(receipts, wanted, "the receipts")
    expect_equal(row_of(broker, "a").body, b"fired", "the body")
    waiting, _, _ = expect_claimable(broker, "waiting", "new", "last")
    expect_equal(waiting.payload, b"first", "the payload of the job that was known")


@topic.check(Feature.KEYS)
def taken_key_does_not_stop_the_change(harness: ContractHarness) -> None:
    """A job of a change whose key is taken is not stored; its receipt names the job that has the key."""
    broker = harness.open()
    submit(broker, job("holder", key="k"))
    receipts = fire(broker, "a", 0, None, b"fired", job("second", key="k"), job("other", key="k2"), job("third", key="k2"))
    expect_equal(receipts, [Receipt("holder", False), Receipt("other", True), Receipt("other", False)], "the receipts")
    expect_equal(row_of(broker, "a").body, b"fired", "the body")
    expect_claimable(broker, "holder", "other")


@topic.check(Feature.DELAYS, clock=True)
def fired_job_may_be_delayed(harness: ContractHarness) -> None:
    """A job of a change may be delayed, or start at a moment, or expire."""
    broker = harness.open()
    batch = [job("late", expires_seconds=5), job("b", delay_seconds=10), job("c", start_at=harness.now() + 20), job("now")]
    fire(broker, "a", 0, None, b"fired", *batch)
    expect_state(broker, JobState.SCHEDULED, "b", "c")
    harness.advance(10)
    expect_swept(broker, due=1, expired=1)
    expect_claimable(broker, "b", "now")
    harness.advance(10)
    expect_swept(broker, due=1)


@topic.check(Feature.PRIORITIES)
def fired_job_has_its_priority(harness: ContractHarness) -> None:
    """A job of a change stands where its priority puts it."""
    broker = harness.open()
    submit(broker, job("first", priority=3))
    fire(broker, "a", 0, None, b"fired", job("low"), job("high", priority=7))
    expect_claimable(broker, "high", "first", "low")


@topic.check(Part.LIMITS)
def fired_job_heeds_its_limits(harness: ContractHarness) -> None:
    """The limits of the jobs of a change hold, as those of jobs that are submitted."""
    broker = harness.open()
    limits = (Limit("concurrency:x", most=1),)
    submit(broker, job("a", limits=limits))
    fire(broker, "a", 0, None, b"fired", job("b", limits=limits), job("free"), job("c", limits=limits))
    first, free = expect_claimable(broker, "a", "free")
    expect_claimable(broker)
    settle(broker, succeeded(first), succeeded(free))
    (second,) = expect_claimable(broker, "b")
    settle(broker, succeeded(second))
    expect_claimable(broker, "c")


@topic.check()
def fired_job_may_have_an_owner(harness: ContractHarness) -> None:
    """Jobs of a change may have owners, as those that are submitted: a lease, and a delivery that must be held."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    settle(broker, succeeded(parent))
    submit(broker, leased("promised"))
    batch = [leased("leased"), owned("too late", parent.token), job("promised")]
    receipts = fire(broker, "a", 0, None, b"fired", *batch)
    expect_equal([receipt.created for receipt in receipts], [True, True, False], "whether they were stored")
    expect_cancelled(broker, "too late", OWNER_GONE)
    broker.renew_owners([OWNER], 0.0)
    expect_cancelled(broker, "leased", OWNER_GONE)
    expect_claimable(broker, "promised")


@topic.check()
def many_jobs_come_with_a_change(harness: ContractHarness) -> None:
    """A change may bring hundreds of jobs, of which some are known."""
    broker = harness.open()
    names = [f"job-{number}" for number in range(500)]
    submit(broker, "job-499")
    receipts = fire(broker, "a", 0, None, b"fired", *(job(name) for name in names))
    expect_equal([receipt.id for receipt in receipts if receipt.created], names[:-1], "the jobs that were stored")
    expect_claimable(broker, "job-499", *names[:99])


@topic.check()
def one_of_two_wins(harness: ContractHarness) -> None:
    """Of several who change a schedule from the same version at once one wins, and only its jobs are stored."""
    broker = harness.open()
    _race(broker, broker)


@topic.check(Feature.SHARED)
def one_of_two_connections_wins(harness: ContractHarness) -> None:
    """So it is when they have connections of their own."""
    _race(harness.open(), harness.open())


def _race(*brokers: Broker) -> None:
    """Let each change the same schedule at once, and again; the only job that is stored each time is that of the winner."""
    for number in range(10):
        changes = [(broker, job(f"{number}-{index}")) for index, broker in enumerate(brokers)]
        answers = _fire_at_once(changes, row_of(brokers[0], "a").version if number else 0)
        winners = [name for name, answer in answers.items() if answer is not None]
        expect_equal(len(winners), 1, f"how many won of {answers}")
        expect_equal(row_of(brokers[0], "a").body, winners[0].encode(), "the body")
        expect_state(brokers[0], JobState.READY, *winners)
        expect_unknown(brokers[0], *(answers.keys() - winners))


def _fire_at_once(changes: Sequence[tuple[Broker, Submission]], version: int) -> dict[str, list[Receipt] | None]:
    """Change a schedule from one version with each of these jobs, each in a thread; return the answers by job."""
    answers: dict[str, list[Receipt] | None] = {}
    start = Barrier(len(changes))

    def change(broker: Broker, mine: Submission) -> None:
        start.wait(30)
        answers[mine.id] = schedules_of(broker).fire(ScheduleChange("a", version, None, mine.id.encode(), (mine,)))

    racers = [Thread(target=change, args=each, daemon=True) for each in changes]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(30)
    return answers


@topic.check()
def fired_job_is_told(harness: ContractHarness) -> None:
    """The jobs of a change are hints at work, as if they were submitted."""
    broker = harness.open()
    ear = Ear(harness, broker)
    fire(broker, "a", 0, None, b"fired", job("a", queue="images"), job("b", queue="mails"))
    ear.wait_for("work", "images", "a change with jobs")
    ear.wait_for("work", "mails", "a change with jobs")


@topic.check(Feature.DELAYS)
def fired_job_will_be_due(harness: ContractHarness) -> None:
    """A delayed job of a change is a hint that something will be due."""
    broker = harness.open()
    ear = Ear(harness, broker)
    fire(broker, "a", 0, None, b"fired", job("a", queue="images", delay_seconds=60))
    ear.wait_for("due", "images", "a change with a delayed job")


@topic.check(Feature.DURABLE)
def fired_jobs_survive(harness: ContractHarness) -> None:
    """The jobs of a change outlive a close together with it."""
    broker = harness.open()
    fire(broker, "a", 0, 7.0, b"fired", job("a"))
    version = row_of(broker, "a").version
    broker = harness.reopen()
    expect_equal(row_of(broker, "a"), ScheduleRow("a", version, 7.0, b"fired"), "the schedule after a close")
    expect_claimable(broker, "a")
    fire_stale(broker, "a", 0, job("b"))
    expect_unknown(broker, "b")
