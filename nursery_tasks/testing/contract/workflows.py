"""What durable workflows need: records, jobs that own others over all their attempts, and outcomes that wait for them."""

from __future__ import annotations

from typing import Any

from ...brokers.protocol import Feature
from ...model.delivery import (
    JOB_OWNER_SECONDS,
    KEPT_SECONDS,
    CancelAnswer,
    LeaseState,
    Released,
    Renewal,
    Retried,
    Started,
    Submission,
    job_owner,
)
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import (
    QUEUE,
    admin,
    cancel,
    claim,
    claim_one,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_ended,
    expect_equal,
    expect_state,
    expect_swept,
    expect_unknown,
    job,
    leased,
    packed,
    record,
    repeat,
    settle,
    submit,
    submit_and_claim,
    succeeded,
    sweep,
)

topic = Topic("workflows")


def adopted(job_id: str, by: str, **changes: Any) -> Submission:
    """Describe a job that belongs to another one until that has ended."""
    return leased(job_id, job_owner(by), JOB_OWNER_SECONDS, **changes)


def noted(job_id: str, state: JobState = JobState.SUCCEEDED, **changes: Any) -> Submission:
    """Describe a record."""
    return job(job_id, ended=state, outcome=packed(state, reason="as noted"), **changes)


@topic.check(Feature.WORKFLOWS)
def record_has_ended_when_it_is_stored(harness: ContractHarness) -> None:
    """A record is known with its outcome at once, and nobody can claim it or cancel it."""
    broker = harness.open()
    submit(broker, "plain", noted("good"), noted("bad", JobState.FAILED))
    expect_equal(expect_ended(broker, "good", JobState.SUCCEEDED).reason, "as noted", "what was noted")
    expect_ended(broker, "bad", JobState.FAILED)
    cancel(broker, "good", CancelAnswer.FINISHED)
    expect_claimable(broker, "plain")


@topic.check(Feature.WORKFLOWS)
def record_is_stored_once(harness: ContractHarness) -> None:
    """The first record of an id stays, and a record stands for a job of its id, and a job for a record."""
    broker = harness.open()
    submit(broker, noted("a"), "b")
    repeat(broker, noted("a", JobState.FAILED), "a", noted("b"))
    expect_state(broker, JobState.SUCCEEDED, "a")
    expect_claimable(broker, "b")


@topic.check(Feature.WORKFLOWS)
def record_is_hinted_at(harness: ContractHarness) -> None:
    """Who waits for an outcome hears of a record."""
    broker = harness.open()
    ear = Ear(harness, broker, "outcome")
    submit(broker, noted("a"))
    ear.wait_for("outcome", "a", "a record")


@topic.check(Feature.WORKFLOWS, Part.ADMIN)
def record_is_listed(harness: ContractHarness) -> None:
    """A record is listed like a job that has ended, with its parent."""
    broker = harness.open()
    submit(broker, noted("a", parent="p", tags=("t",)))
    found = record(broker, "a")
    expect_equal((found.state, found.parent, found.tags, found.attempts), (JobState.SUCCEEDED, "p", ("t",), 0), "the record")
    expect(found.ended_at is not None, "a record has no end")
    expect_equal([queue.counts for queue in admin(broker).list_queues()], [{JobState.SUCCEEDED: 1}], "the counts")


@topic.check(Feature.WORKFLOWS, clock=True)
def record_is_dropped_in_time(harness: ContractHarness) -> None:
    """The outcome of a record is kept as long as that of a job."""
    broker = harness.open()
    submit(broker, noted("a", keep_seconds=60.0))
    harness.advance(59)
    expect_swept(broker)
    harness.advance(1)
    expect_swept(broker, dropped=1)
    expect_unknown(broker, "a")


@topic.check(Feature.WORKFLOWS, clock=True)
def adopted_jobs_outlive_an_attempt(harness: ContractHarness) -> None:
    """What belongs to a job goes on when an attempt of it ends, is given back, or loses its worker."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent", max_crashes=10)
    submit(broker, adopted("child", "parent"))
    settle(broker, Retried(parent, 0))
    parent = claim_one(broker, "parent", limit=1)
    settle(broker, Released(parent))
    parent = claim_one(broker, "parent", limit=1)
    settle(broker, Started(parent))
    harness.advance(15)
    expect_swept(broker, returned=1)
    for _ in range(4):
        harness.advance(JOB_OWNER_SECONDS)
        expect_swept(broker)
    expect_claimable(broker, "child", "parent")


@topic.check(Feature.WORKFLOWS)
def adopted_jobs_end_with_their_job(harness: ContractHarness) -> None:
    """In the step in which a job ends, what belongs to it is cancelled: what waits at once, what is held is told."""
    broker = harness.open()
    submit(broker, "parent", adopted("held", "parent"))
    parent, held = claim(broker)
    submit(broker, adopted("waiting", "parent"), adopted("other", "somebody"), "detached")
    settle(broker, succeeded(parent))
    expect_cancelled(broker, "waiting", OWNER_ENDED)
    wanted = [Renewal(LeaseState.CANCEL, OWNER_ENDED)]
    expect_equal(broker.renew([held], 15.0), wanted, "the renewal of a job whose owner has ended")
    expect_claimable(broker, "other", "detached")


@topic.check(Feature.WORKFLOWS, clock=True)
def adopted_jobs_end_when_nobody_ran_their_job(harness: ContractHarness) -> None:
    """When a job ends while nobody holds it, what belongs to it is cancelled by a sweep, one owner's lease later."""
    broker = harness.open()
    submit(broker, "parent", adopted("child", "parent"))
    cancel(broker, "parent", CancelAnswer.CANCELLED)
    harness.advance(JOB_OWNER_SECONDS)
    expect_swept(broker, orphaned=1)
    expect_cancelled(broker, "child", OWNER_GONE)
    submit(broker, adopted("too late", "parent"))
    harness.advance(JOB_OWNER_SECONDS)
    expect_swept(broker, orphaned=1)
    expect_cancelled(broker, "too late", OWNER_GONE)


@topic.check(Feature.WORKFLOWS, clock=True)
def outcomes_wait_for_their_job(harness: ContractHarness) -> None:
    """What belongs to a job that has not ended is not dropped, however short its outcome should be kept; then it is."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    lease_seconds = 10 * KEPT_SECONDS
    broker.renew([parent], lease_seconds)
    submit(broker, adopted("child", "parent", keep_seconds=1.0), noted("plain", keep_seconds=1.0))
    settle(broker, succeeded(claim_one(broker, "child")))
    submit(broker, leased("record", job_owner("parent"), ended=JobState.SUCCEEDED, outcome=packed(), keep_seconds=1.0))
    for _ in range(3):
        harness.advance(KEPT_SECONDS)
        sweep(broker)
    expect_state(broker, JobState.SUCCEEDED, "child", "record")
    expect_unknown(broker, "plain")
    settle(broker, succeeded(parent))
    harness.advance(KEPT_SECONDS)
    sweep(broker)
    expect_unknown(broker, "child", "record")


@topic.check(Feature.WORKFLOWS, Part.ADMIN)
def purge_spares_what_is_needed(harness: ContractHarness) -> None:
    """A purge leaves the outcomes that belong to a job that has not ended."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    submit(broker, adopted("record", "parent", ended=JobState.SUCCEEDED, outcome=packed()), noted("plain"))
    ended = frozenset({JobState.SUCCEEDED})
    expect_equal(admin(broker).purge(QUEUE, ended), 1, "how many were purged")
    expect_state(broker, JobState.SUCCEEDED, "record")
    settle(broker, succeeded(parent))
    expect_equal(admin(broker).purge(QUEUE, ended), 2, "how many were purged after the end")
