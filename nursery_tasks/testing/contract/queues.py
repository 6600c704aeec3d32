"""What people do to queues: pause, resume, purge."""

from __future__ import annotations

from ...brokers.protocol import Broker, Feature
from ...errors import InvalidOptions
from ...model.delivery import CancelAnswer, LeaseState, Released, Renewal, Started
from ...model.states import ENDED, WAITING, JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    admin,
    cancel,
    claim,
    ended,
    expect,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    expect_unknown,
    job,
    settle,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("queues")


@topic.check(Part.ADMIN)
def paused_queue_gives_nothing(harness: ContractHarness) -> None:
    """Nobody gets a job from a paused queue; other queues go on; after the resume it goes on as before."""
    broker = harness.open()
    submit(broker, job("a", queue="a"), job("b", queue="b"))
    admin(broker).pause("a")
    submit(broker, job("a2", queue="a"))
    expect_claimable(broker, "b", queues=["a", "b"])
    admin(broker).resume("a")
    expect_claimable(broker, "a", "a2", queues=["a", "b"])


@topic.check(Part.ADMIN)
def running_jobs_go_on_in_a_paused_queue(harness: ContractHarness) -> None:
    """What is held when its queue is paused can be started, renewed and ended; what is given back waits."""
    broker = harness.open()
    submit(broker, "a", "b")
    first, second = claim(broker)
    admin(broker).pause("work")
    settle(broker, Started(first), Released(second))
    expect_equal(broker.renew([first], 15.0), [Renewal(LeaseState.HELD)], "the renewal")
    settle(broker, succeeded(first))
    expect_claimable(broker)
    expect_state(broker, JobState.READY, "b")


@topic.check(Part.ADMIN)
def pause_is_no_counter(harness: ContractHarness) -> None:
    """One resume undoes any number of pauses; a resume without a pause does nothing."""
    broker = harness.open()
    people = admin(broker)
    people.resume("work")
    people.pause("work")
    people.pause("work")
    people.resume("work")
    submit(broker, "a")
    expect_claimable(broker, "a")


@topic.check(Part.ADMIN, clock=True)
def time_goes_on_in_a_paused_queue(harness: ContractHarness) -> None:
    """Jobs of a paused queue expire, can be cancelled, and come back from dead workers."""
    broker = harness.open()
    submit_and_claim(broker, "held")
    submit(broker, job("late", expires_seconds=5), "unwanted")
    admin(broker).pause("work")
    cancel(broker, "unwanted", CancelAnswer.CANCELLED)
    harness.advance(15)
    expect_swept(broker, expired=1, returned=1)
    expect_claimable(broker)
    admin(broker).resume("work")
    expect_claimable(broker, "held")


@topic.check(Part.ADMIN)
def paused_queues_are_listed(harness: ContractHarness) -> None:
    """A paused queue is listed, also when it has no jobs; a queue with neither is not."""
    broker = harness.open()
    people = admin(broker)
    submit(broker, job("b", queue="b"))
    people.pause("a")
    found = [(queue.name, queue.paused, queue.depth) for queue in people.list_queues()]
    expect_equal(found, [("a", True, 0), ("b", False, 1)], "name, paused and depth of the queues")
    people.resume("a")
    expect_equal([queue.name for queue in people.list_queues()], ["b"], "the queues after the resume")


@topic.check(Part.ADMIN)
def purge_deletes_the_named_states(harness: ContractHarness) -> None:
    """A purge deletes jobs of one queue in the named states, and says how many."""
    broker = harness.open()
    _submit_one_per_kind(broker)
    people = admin(broker)
    expect_equal(people.purge("work", frozenset({JobState.SUCCEEDED})), 1, "purged succeeded jobs")
    expect_unknown(broker, "succeeded")
    expect_equal(people.purge("work", frozenset({JobState.READY})), 2, "purged ready jobs")
    expect_unknown(broker, "ready-1", "ready-2")
    expect_equal(people.purge("nobody-knows-it", WAITING | ENDED), 0, "purged jobs of an unknown queue")
    expect_equal(people.purge("work", WAITING | ENDED), 1, "purged jobs at last")
    expect_state(broker, JobState.CLAIMED, "held")
    expect_state(broker, JobState.READY, "elsewhere")
    expect_claimable(broker, "elsewhere", queues=["work", "other"])


@topic.check(Part.ADMIN)
def purge_refuses_held_jobs(harness: ContractHarness) -> None:
    """A purge of jobs that a worker holds is refused, and deletes nothing."""
    broker = harness.open()
    _submit_one_per_kind(broker)
    for state in (JobState.CLAIMED, JobState.STARTED):
        try:
            admin(broker).purge("work", frozenset({state, JobState.READY}))
        except InvalidOptions:
            continue
        raise AssertionError(f"a purge of {state} jobs must raise InvalidOptions")
    expect_state(broker, JobState.READY, "ready-1", "ready-2")
    expect_state(broker, JobState.CLAIMED, "held")


@topic.check(Part.ADMIN)
def purge_keeps_its_limit(harness: ContractHarness) -> None:
    """A purge deletes at most as many as it was asked to, the oldest first."""
    broker = harness.open()
    submit(broker, *(f"a{n}" for n in range(10)))
    ready = frozenset({JobState.READY})
    expect_equal([admin(broker).purge("work", ready, 4) for _ in range(2)], [4, 4], "two purges of at most 4")
    expect_state(broker, JobState.READY, "a8", "a9")
    expect_unknown(broker, *(f"a{n}" for n in range(8)))
    expect_equal([admin(broker).purge("work", ready, 4) for _ in range(2)], [2, 0], "two more")


@topic.check(Part.ADMIN, Feature.KEYS)
def purged_job_leaves_nothing(harness: ContractHarness) -> None:
    """A purged job is unknown: its id and its key are free, and nothing is left of its past."""
    broker = harness.open()
    settle(broker, Released(submit_and_claim(broker, key="k", payload=b"first", priority=9)))
    expect_equal(admin(broker).purge("work", WAITING), 1, "purged jobs")
    cancel(broker, "a", CancelAnswer.UNKNOWN)
    submit(broker, "b", job("a", key="k", payload=b"second"))
    _, second = expect_claimable(broker, "b", "a")
    expect_equal((second.payload, second.attempt), (b"second", 1), "payload and attempt of the new job")


@topic.check(Part.ADMIN, Feature.DELAYS, clock=True)
def purged_job_does_not_come_back(harness: ContractHarness) -> None:
    """A purged job does not come back when it would have been due, expired or dropped."""
    broker = harness.open()
    settle(broker, succeeded(submit_and_claim(broker, "done", keep_seconds=10)))
    submit(broker, job("later", delay_seconds=10), job("late", expires_seconds=10))
    expect_equal(admin(broker).purge("work", WAITING | ENDED), 3, "purged jobs")
    harness.advance(60)
    expect_swept(broker)
    expect_unknown(broker, "done", "later", "late")
    expect(admin(broker).list_queues() == [], "a queue without jobs is still listed")


def _submit_one_per_kind(broker: Broker) -> None:
    submit(broker, "succeeded", "failed", "held")
    first, second, _ = claim(broker)
    settle(broker, succeeded(first), ended(second, JobState.FAILED))
    submit(broker, "ready-1", "ready-2", job("elsewhere", queue="other"))
