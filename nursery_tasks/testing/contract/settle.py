"""What a worker says of a job that it holds."""

from __future__ import annotations

from collections.abc import Callable

from ...brokers.protocol import Broker, Feature
from ...model.delivery import Delivery, Finished, Progressed, Released, Retried, Settlement, Started, Unresponsive
from ...model.listing import JobFilter
from ...model.states import ENDED, JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    admin,
    claim,
    claim_one,
    ended,
    expect_claimable,
    expect_equal,
    expect_state,
    record,
    settle,
    stored,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("settle")


@topic.check()
def outcome_is_kept_byte_for_byte(harness: ContractHarness) -> None:
    """The outcome of a job comes back byte for byte."""
    broker = harness.open()
    finished = succeeded(submit_and_claim(broker), b'{"size":[1,2.5,null],"name":"\xc3\xa4"}')
    settle(broker, finished)
    expect_equal(stored(broker, "a").outcome, finished.outcome, "the outcome")


@topic.check()
def every_end(harness: ContractHarness) -> None:
    """A worker can end a job in each of the ended states, and it is not delivered again."""
    broker = harness.open()
    states = sorted(ENDED)
    submit(broker, *(state.value for state in states))
    settle(broker, *(ended(delivery, JobState(delivery.id)) for delivery in claim(broker)))
    for state in states:
        expect_state(broker, state, state.value)
    expect_claimable(broker)


@topic.check()
def started_is_a_state(harness: ContractHarness) -> None:
    """A job whose start was settled is started until it ends."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, Started(delivery))
    expect_state(broker, JobState.STARTED, "a")
    expect_equal(stored(broker, "a").outcome, None, "the outcome of a job that has not ended")
    expect_claimable(broker)
    settle(broker, succeeded(delivery))
    expect_state(broker, JobState.SUCCEEDED, "a")


@topic.check()
def second_started_changes_nothing(harness: ContractHarness) -> None:
    """Settling the start of a delivery twice is as good as once."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, Started(delivery), Started(delivery))
    settle(broker, Started(delivery))
    expect_state(broker, JobState.STARTED, "a")


@topic.check()
def whole_life_in_one_batch(harness: ContractHarness) -> None:
    """The settlements of a batch are made one after the other, also for the same delivery."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    answers = broker.settle([Started(delivery), Progressed(delivery, b"1"), succeeded(delivery), succeeded(delivery, b"43")])
    expect_equal(answers, [True, True, True, False], "the answers")
    expect_equal(stored(broker, "a").outcome, succeeded(delivery).outcome, "the outcome")


@topic.check()
def answers_in_order(harness: ContractHarness) -> None:
    """A stale settlement in a batch is answered in its place and does not touch the others."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    first, second, third = claim(broker)
    settle(broker, succeeded(second))
    answers = broker.settle([succeeded(first), succeeded(second, b"43"), Started(third)])
    expect_equal(answers, [True, False, True], "the answers")
    expect_state(broker, JobState.SUCCEEDED, "a", "b")
    expect_state(broker, JobState.STARTED, "c")


@topic.check()
def end_must_be_an_end(harness: ContractHarness) -> None:
    """A batch that ends a job in a state that is no end is refused as a whole."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    for state in sorted(set(JobState) - ENDED):
        try:
            broker.settle([succeeded(first), Finished(second, state, b"{}")])
        except ValueError:
            expect_state(broker, JobState.CLAIMED, "a", "b")
            continue
        raise AssertionError(f"a Finished with the state {state} must raise ValueError")


@topic.check()
def unresponsive_handler_is_shown(harness: ContractHarness) -> None:
    """What a worker says of a handler that does not end is shown, and the job stays with it."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    expect_equal(stored(broker, "a").unresponsive, False, "the mark before anything was said")
    settle(broker, Started(delivery), Unresponsive(delivery))
    expect_equal(stored(broker, "a").unresponsive, True, "the mark")
    expect_state(broker, JobState.STARTED, "a")
    expect_equal(stored(broker, "a").outcome, None, "the outcome of a job that has not ended")
    settle(broker, Unresponsive(delivery), Progressed(delivery, b"1"))
    expect_equal(stored(broker, "a").unresponsive, True, "the mark after it was repeated")


@topic.check()
def unresponsive_is_no_start(harness: ContractHarness) -> None:
    """A delivery can be marked as unresponsive before its start was settled, and this counts no attempt."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, Unresponsive(delivery))
    expect_state(broker, JobState.CLAIMED, "a")
    expect_equal(stored(broker, "a").unresponsive, True, "the mark")
    settle(broker, Retried(delivery, 0))
    expect_equal(claim_one(broker, "a").attempt, 2, "the next attempt")


@topic.check()
def unresponsive_goes_with_the_delivery(harness: ContractHarness) -> None:
    """The mark is gone when the job is retried, released or has ended, and the next delivery has none."""
    ways: list[tuple[str, Callable[[Delivery], Settlement]]] = [
        ("a retry", lambda delivery: Retried(delivery, 0)),
        ("a release", Released),
        ("the end", lambda delivery: ended(delivery, JobState.CANCELLED)),
    ]
    for cause, leave in ways:
        broker = harness.open()
        delivery = submit_and_claim(broker, cause)
        settle(broker, Started(delivery), Unresponsive(delivery))
        settle(broker, leave(delivery))
        expect_not_unresponsive(broker, cause, cause)
        for again in claim(broker):
            expect_not_unresponsive(broker, cause, f"the claim after {cause}")
            settle(broker, succeeded(again))


@topic.check(clock=True)
def unresponsive_goes_with_the_lease(harness: ContractHarness) -> None:
    """The mark is gone when the worker has lost the job."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, Started(delivery), Unresponsive(delivery))
    harness.advance(60)
    broker.sweep(100)
    expect_not_unresponsive(broker, "a", "the sweep")
    claim_one(broker, "a")
    expect_not_unresponsive(broker, "a", "the next claim")


@topic.check(Part.ADMIN)
def unresponsive_is_recorded(harness: ContractHarness) -> None:
    """The record shows that a handler does not end, as long as the job is held."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    settle(broker, Started(first), Started(second), Unresponsive(first))
    expect_equal([found.unresponsive for found in admin(broker).list_jobs(JobFilter(), 10)], [True, False], "the marks")
    settle(broker, succeeded(first))
    expect_equal(record(broker, "a").unresponsive, False, "the mark after the end")


@topic.check(Part.ADMIN)
def attempts_are_counted_once(harness: ContractHarness) -> None:
    """An attempt counts once, whether its start was settled or not."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    expect_equal(record(broker, "a").attempts, 0, "attempts of a claimed job")
    settle(broker, Started(first))
    expect_equal(record(broker, "a").attempts, 1, "attempts of a started job")
    settle(broker, Started(first), succeeded(first), succeeded(second))
    expect_equal([record(broker, "a").attempts, record(broker, "b").attempts], [1, 1], "attempts of ended jobs")


@topic.check(Part.ADMIN, clock=True)
def moments_are_recorded(harness: ContractHarness) -> None:
    """A record tells on the broker's clock when the job came, was started and ended, and which worker had it."""
    broker = harness.open()
    begin = harness.now()
    submit(broker, "a")
    found = record(broker, "a")
    expect_equal((found.started_at, found.ended_at, found.worker), (None, None, None), "the record of a waiting job")
    harness.advance(2)
    delivery = claim_one(broker, "a", worker="worker-7")
    harness.advance(3)
    settle(broker, Started(delivery))
    harness.advance(4)
    settle(broker, succeeded(delivery))
    found = record(broker, "a")
    moments = [found.created_at, found.due_at, found.started_at or 0, found.ended_at or 0]
    expect_equal([moment - begin for moment in moments], [0, 0, 5, 9], "created, due, started, ended")
    expect_equal(found.worker, "worker-7", "the worker")


@topic.check(Feature.PROGRESS, Part.ADMIN)
def last_progress_counts(harness: ContractHarness) -> None:
    """Progress replaces what was said before, and outlives the end of the job."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    expect_equal(record(broker, "a").progress, None, "progress before any was told")
    settle(broker, Progressed(delivery, b'{"done":1}'))
    expect_state(broker, JobState.CLAIMED, "a")
    settle(broker, Started(delivery), Progressed(delivery, b'{"done":2}'))
    expect_equal(record(broker, "a").progress, b'{"done":2}', "the last progress")
    settle(broker, succeeded(delivery))
    expect_equal(record(broker, "a").progress, b'{"done":2}', "progress after the end")


@topic.check(Part.ADMIN)
def counts_follow_the_settlements(harness: ContractHarness) -> None:
    """The counts of a queue follow every settlement."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    first, second = claim(broker, 2)
    settle(broker, Started(first), succeeded(second))
    (queue,) = admin(broker).list_queues()
    wanted = {JobState.READY: 1, JobState.STARTED: 1, JobState.SUCCEEDED: 1}
    expect_equal({state: count for state, count in queue.counts.items() if count}, wanted, "the counts")


def expect_not_unresponsive(broker: Broker, job_id: str, cause: str) -> None:
    expect_equal(stored(broker, job_id).unresponsive, False, f"the mark of an unresponsive handler after {cause}")
