"""Hints: what a listener hears. A broker may lose some, so each check waits for one and none counts them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Any

from ...brokers.protocol import Broker, Feature
from ...model.delivery import CancelAnswer, Delivery, Hint, Released, Retried, Started, Unresponsive
from ...model.delivery import Topic as HintTopic
from ...model.states import JobState
from ...model.windows import Window
from .harness import ContractHarness, Part, Topic
from .steps import (
    admin,
    cancel,
    claim,
    claim_one,
    ended,
    expect,
    expect_equal,
    job,
    repeat,
    settle,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("hints")

EVERY_TOPIC: tuple[HintTopic, ...] = ("work", "due", "cancel", "outcome")


class Ear:
    """Listens, and waits until a hint was heard."""

    def __init__(self, harness: ContractHarness, broker: Broker, *topics: HintTopic) -> None:
        self.heard: list[Hint] = []
        self._seconds = harness.hint_seconds
        self._news = Condition()
        self.listener = broker.listen(topics or EVERY_TOPIC, self._hear)

    def _hear(self, hint: Hint) -> None:
        with self._news:
            self.heard.append(hint)
            self._news.notify_all()

    def forget(self) -> None:
        with self._news:
            self.heard.clear()

    def wait_for(self, wanted: HintTopic, name: str, cause: str) -> None:
        """Wait for a hint of this topic about *name*, or about everything."""

        def is_heard() -> bool:
            return any(hint.topic == wanted and (name in hint.names or not hint.names) for hint in self.heard)

        with self._news:
            if not self._news.wait_for(is_heard, self._seconds):
                raise AssertionError(f"no hint {wanted!r} about {name!r} came after {cause}; heard: {self.heard}")


@topic.check()
def submission_is_work(harness: ContractHarness) -> None:
    """A submission is a hint at work in its queue."""
    broker = harness.open()
    ear = Ear(harness, broker)
    submit(broker, job("a", queue="images"), job("b", queue="mails"))
    ear.wait_for("work", "images", "a submission")
    ear.wait_for("work", "mails", "a submission")


@topic.check(Feature.DELAYS)
def delayed_submission_will_be_due(harness: ContractHarness) -> None:
    """A delayed submission is a hint that something will be due."""
    broker = harness.open()
    ear = Ear(harness, broker)
    submit(broker, job("a", queue="images", delay_seconds=60))
    ear.wait_for("due", "images", "a delayed submission")


@topic.check(Feature.WINDOWS, Feature.DELAYS)
def replaced_submission_will_be_due(harness: ContractHarness) -> None:
    """A debounced job that waits for longer is hinted at under `due`, with the queue where it is by then."""
    broker = harness.open()
    window = Window("debounce:n")
    submit(broker, job("a", delay_seconds=60, window=window))
    ear = Ear(harness, broker, "due")
    repeat(broker, job("b", queue="other", delay_seconds=60, window=window), known="a")
    ear.wait_for("due", "other", "a submission took the place of the one that waits")


@topic.check()
def end_is_an_outcome(harness: ContractHarness) -> None:
    """The end of a job is a hint at its outcome, and the outcome can be read when the hint arrives."""
    broker = harness.open()
    states: list[JobState | None] = []
    news = Condition()

    def look(hint: Hint) -> None:
        with news:
            states.extend(found.state if found else None for found in broker.outcomes(hint.names or ["a"]))
            news.notify_all()

    delivery = submit_and_claim(broker)
    broker.listen(["outcome"], look)
    settle(broker, Started(delivery), succeeded(delivery))
    with news:
        expect(news.wait_for(lambda: bool(states), harness.hint_seconds), "no hint 'outcome' came after the end of a job")
        expect(states[0] is JobState.SUCCEEDED, f"the state was {states[0]!r} when the hint arrived")


@topic.check()
def a_hint_tells_the_truth(harness: ContractHarness) -> None:
    """What a hint tells of jobs that have ended is what can be read of them, and it need not tell anything."""
    broker = harness.open()
    ear = Ear(harness, broker, "outcome")
    ends = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED
    submit(broker, *(job(state.value) for state in ends))
    settle(broker, *(ended(delivery, state) for delivery, state in zip(claim(broker), ends, strict=True)))
    for state in ends:
        ear.wait_for("outcome", state.value, "the end of a job")
    for hint in ear.heard:
        for job_id, told in hint.stored.items():
            expect_equal([told], broker.outcomes([job_id]), f"what a hint has told of job {job_id!r}")


@topic.check()
def returning_job_is_work(harness: ContractHarness) -> None:
    """A job that is retried or released at once is a hint at work."""
    broker = harness.open()
    ear = Ear(harness, broker)
    give_back: list[tuple[str, Callable[[Delivery], Retried | Released]]] = [
        ("a retry", lambda delivery: Retried(delivery, 0)),
        ("a release", Released),
    ]
    submit(broker, "a")
    for cause, settlement in give_back:
        delivery = claim_one(broker, "a")
        ear.wait_for("work", "work", "a submission")
        ear.forget()
        settle(broker, settlement(delivery))
        ear.wait_for("work", "work", cause)


@topic.check(Feature.DELAYS)
def delayed_return_will_be_due(harness: ContractHarness) -> None:
    """A job that is retried or released with a delay is a hint that something will be due."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    ear = Ear(harness, broker)
    settle(broker, Retried(first, 60))
    ear.wait_for("due", "work", "a retry with a delay")
    ear.forget()
    settle(broker, Released(second, 60))
    ear.wait_for("due", "work", "a release with a delay")


@topic.check()
def cancel_is_told(harness: ContractHarness) -> None:
    """The cancel of a held job is a hint to its worker; that of a waiting one is a hint at its outcome."""
    broker = harness.open()
    delivery = submit_and_claim(broker, "held")
    submit(broker, "waiting")
    ear = Ear(harness, broker)
    cancel(broker, "held", CancelAnswer.REQUESTED)
    ear.wait_for("cancel", "held", "the cancel of a held job")
    cancel(broker, "waiting", CancelAnswer.CANCELLED)
    ear.wait_for("outcome", "waiting", "the cancel of a waiting job")
    settle(broker, Released(delivery))
    ear.wait_for("outcome", "held", "the release of a cancelled job")


@topic.check()
def end_of_an_owner_is_told(harness: ContractHarness) -> None:
    """The cancel of what a delivery or a lease owned is told as any other: `cancel` to workers, `outcome` to waiters."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    how: tuple[dict[str, Any], ...] = ({"owner": parent.token}, {"owner": b"owner", "owner_seconds": 15.0})
    submit(broker, *(job(f"held-{n}", **each) for n, each in enumerate(how)))
    claim(broker)
    submit(broker, *(job(f"waiting-{n}", **each) for n, each in enumerate(how)))
    ear = Ear(harness, broker)
    for number, cause in enumerate(("the end of the job that owned it", "the end of a lease")):
        if number == 0:
            settle(broker, succeeded(parent))
        else:
            broker.renew_owners([b"owner"], 0.0)
        ear.wait_for("cancel", f"held-{number}", cause)
        ear.wait_for("outcome", f"waiting-{number}", cause)
    submit(broker, job("late", owner=parent.token))
    ear.wait_for("outcome", "late", "a submission that came too late for its owner")


@topic.check(clock=True)
def sweep_tells_the_orphans(harness: ContractHarness) -> None:
    """A sweep that finds an owner gone, or its worker dead, tells those that hold and those that await its jobs."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, job("a", owner=parent.token), job("b", owner=b"owner", owner_seconds=15.0))
    claim(broker, lease_seconds=1_000)
    submit(broker, job("c", owner=parent.token), job("d", owner=b"owner", owner_seconds=15.0))
    harness.advance(15)
    ear = Ear(harness, broker)
    broker.sweep(100)
    told: list[tuple[HintTopic, str]] = [("cancel", "a"), ("cancel", "b"), ("outcome", "c"), ("outcome", "d")]
    for wanted, job_id in told:
        ear.wait_for(wanted, job_id, "a sweep")


@topic.check()
def unresponsive_is_an_outcome(harness: ContractHarness) -> None:
    """A handler that does not end is a hint at the job's outcome, so that whoever waits looks."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    ear = Ear(harness, broker)
    settle(broker, Unresponsive(delivery))
    ear.wait_for("outcome", "a", "the mark of an unresponsive handler")


@topic.check(Part.ADMIN)
def purge_is_an_outcome(harness: ContractHarness) -> None:
    """A purge is a hint at the outcomes of the jobs that are gone."""
    broker = harness.open()
    submit(broker, "a", "b")
    ear = Ear(harness, broker)
    admin(broker).purge("work", frozenset({JobState.READY}), 1)
    ear.wait_for("outcome", "a", "a purge")


@topic.check(Feature.DELAYS, clock=True)
def sweep_tells_what_became_ready(harness: ContractHarness) -> None:
    """A sweep that makes jobs ready is a hint at work: due ones, and those of dead workers."""
    broker = harness.open()
    submit_and_claim(broker, "held", queue="images")
    submit(broker, job("later", queue="mails", delay_seconds=10))
    harness.advance(15)
    ear = Ear(harness, broker)
    broker.sweep(100)
    ear.wait_for("work", "images", "the sweep of a lost lease")
    ear.wait_for("work", "mails", "the sweep of a due job")


@topic.check(clock=True)
def sweep_tells_what_ended(harness: ContractHarness) -> None:
    """A sweep that ends jobs is a hint at their outcomes."""
    broker = harness.open()
    settle(broker, Started(submit_and_claim(broker, "dead", max_crashes=1)))
    submit_and_claim(broker, "cancelled")
    cancel(broker, "cancelled", CancelAnswer.REQUESTED)
    submit(broker, job("late", expires_seconds=5))
    harness.advance(15)
    ear = Ear(harness, broker)
    broker.sweep(100)
    for job_id in ("dead", "cancelled", "late"):
        ear.wait_for("outcome", job_id, "a sweep")


@topic.check(Part.ADMIN)
def requeue_is_work(harness: ContractHarness) -> None:
    """A requeue is a hint at work."""
    broker = harness.open()
    settle(broker, ended(submit_and_claim(broker), JobState.FAILED))
    ear = Ear(harness, broker)
    admin(broker).requeue(["a"])
    ear.wait_for("work", "work", "a requeue")


@topic.check(Part.ADMIN)
def resume_is_work(harness: ContractHarness) -> None:
    """A resume is a hint at work."""
    broker = harness.open()
    admin(broker).pause("work")
    submit(broker, "a")
    ear = Ear(harness, broker)
    admin(broker).resume("work")
    ear.wait_for("work", "work", "a resume")


@topic.check()
def only_what_was_asked_for(harness: ContractHarness) -> None:
    """A listener hears only of the topics that it named."""
    broker = harness.open()
    one, all_of_them = Ear(harness, broker, "outcome"), Ear(harness, broker)
    settle(broker, succeeded(submit_and_claim(broker)))
    all_of_them.wait_for("work", "work", "a submission")
    one.wait_for("outcome", "a", "the end of a job")
    others = [hint for hint in one.heard if hint.topic != "outcome"]
    expect(not others, f"a listener for outcomes heard {others}")


@topic.check()
def closed_listener_hears_nothing(harness: ContractHarness) -> None:
    """A listener that was closed hears nothing more, others do; closing again does nothing."""
    broker = harness.open()
    closed, other = Ear(harness, broker), Ear(harness, broker)
    submit(broker, "a")
    closed.wait_for("work", "work", "a submission")
    closed.listener.close()
    closed.listener.close()
    closed.forget()
    settle(broker, succeeded(claim_one(broker, "a")))
    other.wait_for("outcome", "a", "the end of a job")
    expect(not closed.heard, f"a closed listener heard {closed.heard}")
