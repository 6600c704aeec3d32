"""Looking jobs up, and how long outcomes are kept."""

from __future__ import annotations

from ...brokers.protocol import Broker
from ...model.delivery import CancelAnswer, Started, Stored
from ...model.options import DEAD_TTL_SECONDS, RESULT_TTL_SECONDS
from ...model.states import JobState
from .harness import ContractHarness, Topic
from .steps import (
    cancel,
    claim,
    ended,
    expect,
    expect_equal,
    expect_state,
    expect_swept,
    expect_unknown,
    job,
    settle,
    submit,
    submit_and_claim,
    succeeded,
    sweep,
)

topic = Topic("outcomes")


@topic.check()
def states_and_outcomes_in_order(harness: ContractHarness) -> None:
    """A look-up answers in the order of the ids, None for what is unknown, also when an id comes twice."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    first, _ = claim(broker, 2)
    settle(broker, succeeded(first))
    end = Stored(JobState.SUCCEEDED, succeeded(first).outcome)
    wanted = [Stored(JobState.READY), None, end, Stored(JobState.CLAIMED), end]
    expect_equal(broker.outcomes(["c", "ghost", "a", "b", "a"]), wanted, "the answers")


@topic.check(clock=True)
def outcome_is_kept_for_its_time(harness: ContractHarness) -> None:
    """An outcome is kept for its time, counted from the end of the job, and then dropped by a sweep."""
    broker = harness.open()
    submit(broker, job("a", keep_seconds=60))
    harness.advance(100)
    settle(broker, succeeded(claim(broker)[0]))
    harness.advance(59.5)
    expect_swept(broker)
    expect_state(broker, JobState.SUCCEEDED, "a")
    harness.advance(0.5)
    expect_swept(broker, dropped=1)
    expect_unknown(broker, "a")
    cancel(broker, "a", CancelAnswer.UNKNOWN)


@topic.check(clock=True)
def default_time_is_a_day(harness: ContractHarness) -> None:
    """Where nothing else is said, an outcome is kept for a day."""
    broker = harness.open()
    settle(broker, succeeded(submit_and_claim(broker)))
    harness.advance(RESULT_TTL_SECONDS - 1)
    expect_swept(broker)
    harness.advance(1)
    expect_swept(broker, dropped=1)


@topic.check(clock=True)
def each_has_its_own_time(harness: ContractHarness) -> None:
    """Each outcome is dropped at its own time, whatever the order of the ends was."""
    broker = harness.open()
    submit(broker, job("a", keep_seconds=30), job("b", keep_seconds=10), job("c", keep_seconds=20))
    settle(broker, *(succeeded(delivery) for delivery in claim(broker)))
    for job_id in ("b", "c", "a"):
        harness.advance(10)
        expect_swept(broker, dropped=1)
        expect_unknown(broker, job_id)


@topic.check(clock=True)
def what_a_person_must_see_stays_longer(harness: ContractHarness) -> None:
    """Failed and dead jobs are kept for two weeks, or as long as was asked for when that is longer."""
    broker = harness.open()
    _end_one(broker, "failed", JobState.FAILED, 60)
    _end_one(broker, "dead", JobState.DEAD, 60)
    _end_one(broker, "long", JobState.FAILED, DEAD_TTL_SECONDS + 10)
    for state in (JobState.SUCCEEDED, JobState.CANCELLED, JobState.EXPIRED):
        _end_one(broker, state.value, state, 60)
    harness.advance(60)
    expect_swept(broker, dropped=3)
    harness.advance(DEAD_TTL_SECONDS - 61)
    expect_swept(broker)
    expect_state(broker, JobState.FAILED, "failed")
    harness.advance(1)
    expect_swept(broker, dropped=2)
    expect_unknown(broker, "failed", "dead")
    harness.advance(10)
    expect_swept(broker, dropped=1)
    expect_unknown(broker, "long")


@topic.check(clock=True)
def what_the_broker_ended_is_kept(harness: ContractHarness) -> None:
    """Jobs that the broker ended itself are kept like the others: cancelled, expired, dead."""
    broker = harness.open()
    delivery = submit_and_claim(broker, "dead", keep_seconds=60, max_crashes=1)
    settle(broker, Started(delivery))
    submit(broker, job("cancelled", keep_seconds=60), job("expired", keep_seconds=60, expires_seconds=1))
    cancel(broker, "cancelled", CancelAnswer.CANCELLED)
    harness.advance(15)
    expect_swept(broker, died=1, expired=1)
    harness.advance(45)
    expect_swept(broker, dropped=1)
    expect_unknown(broker, "cancelled")
    harness.advance(15)
    expect_swept(broker, dropped=1)
    expect_unknown(broker, "expired")
    expect_state(broker, JobState.DEAD, "dead")


@topic.check(clock=True)
def living_jobs_are_never_dropped(harness: ContractHarness) -> None:
    """A job that has not ended is not dropped, however old it is."""
    broker = harness.open()
    delivery = submit_and_claim(broker, "held", keep_seconds=1)
    submit(broker, job("waiting", keep_seconds=1))
    harness.advance(10 * DEAD_TTL_SECONDS)
    broker.renew([delivery], 15.0)
    expect_swept(broker)
    expect_state(broker, JobState.CLAIMED, "held")
    expect_state(broker, JobState.READY, "waiting")


@topic.check(clock=True)
def sweeps_are_bounded(harness: ContractHarness) -> None:
    """A sweep does about as much of each kind as its limit says, tells when there is more, and nothing is left at last."""
    broker = harness.open()
    submit(broker, *(job(f"old-{n}", keep_seconds=20) for n in range(40)))
    settle(broker, *(succeeded(delivery) for delivery in claim(broker)))
    submit(broker, *(job(f"held-{n}") for n in range(40)))
    claim(broker)
    submit(broker, *(job(f"late-{n}", expires_seconds=5) for n in range(40)))
    harness.advance(20)
    counts = {"returned": 0, "expired": 0, "dropped": 0}
    for turn in range(60):
        swept = sweep(broker, 10)
        for kind in counts:
            done = getattr(swept, kind)
            expect(done < 40, f"one sweep of about 10 did all 40 of the kind {kind!r}")
            counts[kind] += done
        if turn == 0:
            expect(swept.more, "a sweep that left something must say that there is more")
    expect_equal(counts, {"returned": 40, "expired": 40, "dropped": 40}, "what 60 sweeps did")
    expect(not sweep(broker, 10).more, "a sweep that found nothing must not say that there is more")


def _end_one(broker: Broker, job_id: str, state: JobState, keep_seconds: float) -> None:
    settle(broker, ended(submit_and_claim(broker, job_id, keep_seconds=keep_seconds), state))
