"""Pauses: what the broker keeps of them, and how what was parked for one becomes ready again."""

from __future__ import annotations

from collections.abc import Mapping

from ...brokers.needed import pauses_of
from ...brokers.protocol import Broker, Feature
from ...model.delivery import CancelAnswer, Finished, Released
from ...model.limits import Limit
from ...model.pauses import PauseRecord
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .parked import park
from .steps import (
    QUEUE,
    cancel,
    claim,
    claim_one,
    expect,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    ids_of,
    job,
    packed,
    record,
    settle,
    submit,
    sweep,
)

topic = Topic("pauses", Part.PAUSES, Part.PARKING, Feature.DELAYS)

LONG = 86_400.0


def pause(broker: Broker, task: str = "tests.task", where: Mapping[str, str] | None = None, note: str = "") -> str:
    """Pause a task; return the name of the pause."""
    wanted = PauseRecord(task=task, where=dict(where or {}), note=note, by="ada@earth")
    pauses_of(broker).pause_task(wanted)
    return wanted.name


def resume(broker: Broker, name: str) -> None:
    expect_equal(pauses_of(broker).resume_task(name), True, "the answer to the end of a pause")


@topic.check(clock=True)
def they_are_listed(harness: ContractHarness) -> None:
    """Pauses are listed by name, with what was said of them, when, and for how many jobs; one of the same name replaces it."""
    broker = harness.open()
    pause(broker, "b", note="first")
    whole = pause(broker, "b", note="second")
    part = pause(broker, "b", {"customer": "eu-7"})
    other = pause(broker, "a")
    since = harness.now()
    harness.advance(10)
    submit(broker, "1", "2", "3", job("4", queue="other"))
    first, second, third, fourth = claim(broker, queues=[QUEUE, "other"])
    park(broker, first, second, name=whole, seconds=LONG)
    park(broker, fourth, name=whole, seconds=LONG)
    park(broker, third, name=part, seconds=LONG)
    found = pauses_of(broker).list_pauses().records
    expect_equal([each.name for each in found], sorted([whole, part, other]), "the names")
    expect_equal([each.waiting for each in found], [0, 3, 1], "how many jobs wait")
    expect_equal([each.paused_at for each in found], [since] * 3, "since when")
    about = [(each.task, [*each.where.items()], each.note, each.by) for each in found]
    of_one = [("customer", "eu-7")]
    wanted: list[object] = [("a", [], "", "ada@earth"), ("b", [], "second", "ada@earth"), ("b", of_one, "", "ada@earth")]
    expect_equal(about, wanted, "what was said of them")


@topic.check()
def they_end(harness: ContractHarness) -> None:
    """A pause ends by its name, once, and others go on."""
    broker = harness.open()
    whole, part = pause(broker), pause(broker, where={"customer": "eu-7"})
    resume(broker, whole)
    expect_equal(pauses_of(broker).resume_task(whole), False, "the answer to a second end")
    expect_equal([each.name for each in pauses_of(broker).list_pauses().records], [part], "what is left")


@topic.check()
def sweeps_tell_the_version(harness: ContractHarness) -> None:
    """Each change of what is paused has a version, which sweeps and the list tell; it is 0 as long as nothing ever was."""
    broker = harness.open()
    expect_equal((sweep(broker).pauses, pauses_of(broker).list_pauses().version), (0, 0), "the first version")
    versions = [0]
    name = ""
    for step in ("begin", "change", "end"):
        if step == "end":
            resume(broker, name)
        else:
            name = pause(broker, note=step)
        versions.append(sweep(broker).pauses)
        expect_equal(pauses_of(broker).list_pauses().version, versions[-1], f"the version in the list after its {step}")
    expect(len(set(versions)) == 4, f"each change has another version, and not {versions}")
    pauses_of(broker).resume_task(name)
    expect_equal(sweep(broker).pauses, versions[-1], "the version when nothing has changed")


@topic.check()
def workers_hear_of_it(harness: ContractHarness) -> None:
    """The beginning and the end of a pause are hinted at."""
    broker = harness.open()
    ear = Ear(harness, broker, "pause")
    name = pause(broker)
    ear.wait_for("pause", name, "a pause began")
    resume(broker, name)
    ear.wait_for("pause", name, "a pause ended")


@topic.check(clock=True)
def what_is_paused_stays(harness: ContractHarness) -> None:
    """What is parked for a pause is not claimed, and no sweep makes it ready before its delay is over."""
    broker = harness.open()
    name = pause(broker)
    submit(broker, "a", "b")
    a, b = claim(broker)
    park(broker, a, name=name, seconds=LONG)
    park(broker, b)  # for a worker that knows the task
    harness.advance(60)
    expect_swept(broker)
    expect_claimable(broker)
    pause(broker, note="another one")
    expect_swept(broker)
    harness.advance(LONG - 60)
    expect_swept(broker, due=2)


@topic.check(Feature.PRIORITIES, Feature.PLACES, clock=True)
def it_comes_back_in_its_place(harness: ContractHarness) -> None:
    """When a pause is over, a sweep makes its jobs ready, in their places, as if they had never been away."""
    broker = harness.open()
    name, other = pause(broker), pause(broker, where={"customer": "eu-7"})
    submit(broker, "a", "b", "c", job("high", priority=1), "d")
    high, a, b, c, d = claim(broker)
    park(broker, d, high, b, a, name=name, seconds=LONG)
    park(broker, c, name=other, seconds=LONG)
    submit(broker, "e")
    harness.advance(100)
    resume(broker, name)
    expect_claimable_later(broker, due=4)
    expect_equal((record(broker, "b").parked, record(broker, "b").due_at), (None, harness.now()), "name and moment of b")
    deliveries = expect_claimable(broker, "high", "a", "b", "d", "e")
    found = deliveries[1]
    wanted = (1, 0, 0, None, 0.0, 100.0)
    about = found.attempt, found.crashes, found.lapses, found.parked, found.waited_seconds, found.age_seconds
    expect_equal(about, wanted, "attempt, crashes, lapses, name, how long it has waited since, and its age")
    expect_swept(broker)
    expect_state(broker, JobState.SCHEDULED, "c")


def expect_claimable_later(broker: Broker, due: int) -> None:
    """Sweep what has come back, and no more."""
    expect_swept(broker, due=due)
    expect_swept(broker)


@topic.check()
def no_sweep_does_more_than_it_may(harness: ContractHarness) -> None:
    """A sweep makes at most as many jobs ready as its limit says, the first ones first, and says that there are more."""
    broker = harness.open()
    name = pause(broker)
    wanted = [f"a{number}" for number in range(25)]
    submit(broker, *wanted)
    park(broker, *claim(broker), name=name, seconds=LONG)
    resume(broker, name)
    found: list[str] = []
    for due, more in ((10, True), (10, True), (5, False), (0, False)):
        swept = sweep(broker, 10)
        expect_equal((swept.due, swept.more), (due, more), "how many became ready, and whether there are more")
        found += ids_of(claim(broker))
    expect_equal(found, wanted, "the jobs in the order in which they came back")


@topic.check()
def who_knew_it_too_late(harness: ContractHarness) -> None:
    """What a worker parks for a pause that is over by then comes back with the next sweep, from each queue."""
    broker = harness.open()
    name = pause(broker)
    submit(broker, "a", job("b", queue="other"))
    a, b = claim(broker, queues=[QUEUE, "other"])
    resume(broker, name)
    park(broker, a, b, name=name, seconds=LONG)
    ear = Ear(harness, broker, "work")
    expect_swept(broker, due=2)
    ear.wait_for("work", "other", "a job has become ready")
    expect_claimable(broker, "a", "b", queues=[QUEUE, "other"])


@topic.check()
def a_pause_that_begins_again(harness: ContractHarness) -> None:
    """What is parked for a pause waits for the next one of the same name, when that has begun before a sweep came."""
    broker = harness.open()
    name = pause(broker)
    submit(broker, "a")
    park(broker, claim_one(broker, "a"), name=name, seconds=LONG)
    resume(broker, name)
    pause(broker)
    expect_swept(broker)
    expect_claimable(broker)


@topic.check(clock=True)
def it_ends_meanwhile(harness: ContractHarness) -> None:
    """What is parked for a pause is cancelled and expires as any job that waits; then no sweep brings it back."""
    broker = harness.open()
    name = pause(broker)
    submit(broker, "a", job("b", expires_seconds=30.0), "c")
    park(broker, *claim(broker), name=name, seconds=LONG)
    cancel(broker, "a", CancelAnswer.CANCELLED)
    harness.advance(30)
    expect_swept(broker, expired=1)
    resume(broker, name)
    expect_swept(broker, due=1)
    expect_claimable(broker, "c")


@topic.check(Part.LIMITS)
def its_limits_hold(harness: ContractHarness) -> None:
    """A job that comes back waits for room in its limits again; while it was parked it took none."""
    broker = harness.open()
    name = pause(broker)
    one = Limit("concurrency:one", most=1)
    submit(broker, job("a", limits=(one,)))
    park(broker, claim_one(broker, "a"), name=name, seconds=LONG)
    submit(broker, job("b", limits=(one,)))
    b = claim_one(broker, "b")
    resume(broker, name)
    expect_swept(broker, due=1)
    expect_claimable(broker)
    settle(broker, Finished(b, JobState.SUCCEEDED, packed()))
    expect_claimable(broker, "a")


@topic.check(Feature.DURABLE)
def they_are_stored(harness: ContractHarness) -> None:
    """Pauses, and what is parked for them, are there after the broker was closed and opened again."""
    broker = harness.open()
    name = pause(broker, where={"customer": "eu-7"}, note="ask Ada")
    submit(broker, "a", "b")
    a, b = claim(broker)
    park(broker, a, name=name, seconds=LONG)
    settle(broker, Released(b))
    version = sweep(broker).pauses
    broker = harness.reopen()
    found = pauses_of(broker).list_pauses()
    expect_equal([(each.name, each.note, each.waiting) for each in found.records], [(name, "ask Ada", 1)], "what is paused")
    expect_equal((sweep(broker).pauses, found.version), (version, version), "the version")
    expect_claimable(broker, "b")
    resume(broker, name)
    broker = harness.reopen()
    expect_swept(broker, due=1)
    expect_claimable(broker, "a")
