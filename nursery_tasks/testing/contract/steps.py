"""The words that the checks are written in: short ways to make a call and to say what the answer must be.

They raise `AssertionError` themselves instead of using `assert`, so that the suite works under `python -O` and its messages
are complete without pytest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from ...brokers.needed import admin_of
from ...brokers.parts import Admin
from ...brokers.protocol import Broker
from ...errors import QueueFull
from ...model.codec import pack_outcome, unpack_outcome
from ...model.delivery import CancelAnswer, Delivery, Finished, Receipt, Settlement, Stored, Submission, Swept
from ...model.listing import JobRecord
from ...model.outcome import Outcome
from ...model.states import JobState

LEASE_SECONDS = 15.0
QUEUE = "work"
OWNER, OTHER_OWNER = b"the owner's own id", b"another owner's id"


def job(job_id: str, **changes: Any) -> Submission:
    """Describe a job; what is not said does not matter."""
    plain: dict[str, Any] = {"queue": QUEUE, "task": "tests.task", "payload": b'{"task":"tests.task"}'}
    return Submission(id=job_id, **{**plain, **changes})


def owned(job_id: str, owner: bytes, seconds: float = 0.0, **changes: Any) -> Submission:
    return job(job_id, owner=owner, owner_seconds=seconds, **changes)


def leased(job_id: str, owner: bytes = OWNER, seconds: float = 15.0, **changes: Any) -> Submission:
    return owned(job_id, owner, seconds, **changes)


def awaited(job_id: str, by: Delivery, **changes: Any) -> Submission:
    return owned(job_id, by.token, **changes)


def submit(broker: Broker, *jobs: Submission | str) -> None:
    """Submit jobs that the broker must store; a text is the id of a plain one."""
    submissions = [job(item) if isinstance(item, str) else item for item in jobs]
    receipts = _not_refused(broker, submissions)
    expect_equal(
        [(receipt.id, receipt.created) for receipt in receipts],
        [(submission.id, True) for submission in submissions],
        "the receipts of new jobs",
    )


def repeat(broker: Broker, *jobs: Submission | str, known: str | None = None) -> None:
    """Submit jobs that must not be stored, because of jobs with their ids, or because of *known*."""
    submissions = [job(item) if isinstance(item, str) else item for item in jobs]
    wanted = [Receipt(known or submission.id, False) for submission in submissions]
    expect_equal(_not_refused(broker, submissions), wanted, "the receipts of repetitions")


def _not_refused(broker: Broker, jobs: Sequence[Submission]) -> list[Receipt]:
    try:
        return broker.submit(jobs)
    except QueueFull as full:
        raise AssertionError(f"there is room for {[each.id for each in jobs]}, and the broker says: {full}") from full


def claim(
    broker: Broker,
    limit: int = 100,
    *,
    queues: Sequence[str] = (QUEUE,),
    worker: str = "worker-1",
    lease_seconds: float = LEASE_SECONDS,
    names: Collection[str] = (),
) -> list[Delivery]:
    if names:
        return broker.claim(queues, limit, worker, lease_seconds, names)
    return broker.claim(queues, limit, worker, lease_seconds)


def claim_one(broker: Broker, job_id: str, **how: Any) -> Delivery:
    """Claim once; exactly this job must come."""
    deliveries = claim(broker, **how)
    expect_equal(ids_of(deliveries), [job_id], "the claimed jobs")
    return deliveries[0]


def submit_and_claim(broker: Broker, job_id: str = "a", **changes: Any) -> Delivery:
    submit(broker, job(job_id, **changes))
    return claim_one(broker, job_id, queues=(changes.get("queue", QUEUE),))


def settle(broker: Broker, *settlements: Settlement) -> None:
    """Settle with tokens that hold."""
    answers = broker.settle(settlements)
    expect_equal(answers, [True] * len(settlements), f"the answers to {_kinds(settlements)}")


def settle_stale(broker: Broker, *settlements: Settlement) -> None:
    """Settle with tokens that do not hold (any more)."""
    for settlement in settlements:
        expect_equal(broker.settle([settlement]), [False], f"the answer to a stale {_kinds([settlement])}")


def packed(state: JobState = JobState.SUCCEEDED, **fields: Any) -> bytes:
    return pack_outcome(Outcome(state=state, **fields))


def succeeded(delivery: Delivery, value: bytes = b"42") -> Finished:
    return Finished(delivery, JobState.SUCCEEDED, packed(value=msgspec.Raw(value), attempt=delivery.attempt))


def ended(delivery: Delivery, state: JobState) -> Finished:
    return Finished(delivery, state, packed(state, attempt=delivery.attempt))


def ids_of(items: Iterable[Delivery | Submission | JobRecord]) -> list[str]:
    return [item.id for item in items]


def stored(broker: Broker, job_id: str) -> Stored:
    """Look up a job that must be known."""
    (found,) = broker.outcomes([job_id])
    if found is None:
        raise AssertionError(f"job {job_id!r} must be known, and is not")
    return found


def expect_state(broker: Broker, wanted: JobState, *job_ids: str) -> None:
    for job_id in job_ids:
        expect_equal(stored(broker, job_id).state, wanted, f"the state of job {job_id!r}")


def expect_unknown(broker: Broker, *job_ids: str) -> None:
    expect_equal(broker.outcomes(job_ids), [None] * len(job_ids), f"the outcomes of unknown jobs {list(job_ids)}")


def expect_ended(broker: Broker, job_id: str, state: JobState) -> Outcome:
    """Return the outcome of a job that must have ended in *state*, with an outcome that says so."""
    found = stored(broker, job_id)
    expect_equal(found.state, state, f"the state of job {job_id!r}")
    if found.outcome is None:
        raise AssertionError(f"job {job_id!r} has ended as {state} and has no outcome")
    outcome = unpack_outcome(found.outcome)
    expect_equal(outcome.state, state, f"the state inside the outcome of job {job_id!r}")
    return outcome


def expect_cancelled(broker: Broker, job_id: str, reason: str | None) -> None:
    outcome = expect_ended(broker, job_id, JobState.CANCELLED)
    expect_equal(outcome.reason, reason, f"the reason in the outcome of job {job_id!r}")


def expect_claimable(broker: Broker, *job_ids: str, queues: Sequence[str] = (QUEUE,)) -> list[Delivery]:
    """Claim everything; exactly these jobs must come, in this order."""
    deliveries = claim(broker, queues=queues)
    expect_equal(ids_of(deliveries), list(job_ids), "the jobs that can be claimed")
    return deliveries


def cancel(
    broker: Broker, job_id: str, wanted: CancelAnswer, reason: str | None = "not needed", owner: bytes | None = None
) -> None:
    expect_equal(broker.cancel([job_id], reason, owner), [wanted], f"the answer to a cancel of job {job_id!r}")


def renew_owners(broker: Broker, seconds: float, *owners: bytes) -> None:
    expect_equal(broker.renew_owners(owners, seconds), [True] * len(owners), "the answers to holding leases")


def sweep(broker: Broker, limit: int = 1_000) -> Swept:
    return broker.sweep(limit)


def expect_swept(broker: Broker, **counts: int) -> None:
    """Sweep; exactly these numbers must come back, and 0 for the others."""
    swept = sweep(broker)
    kinds = ("due", "returned", "died", "expired", "orphaned", "dropped")
    found = {kind: getattr(swept, kind) for kind in kinds if getattr(swept, kind)}
    expect_equal(found, counts, "what the sweep did")


def admin(broker: Broker) -> Admin:
    """Return what people use of a broker that has it."""
    return admin_of(broker)


def record(broker: Broker, job_id: str) -> JobRecord:
    found = admin(broker).job(job_id)
    if found is None:
        raise AssertionError(f"job {job_id!r} must be known, and is not")
    return found


def expect_equal(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {found!r}")


def expect(condition: bool, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


def _kinds(settlements: Sequence[Settlement]) -> str:
    return ", ".join(type(settlement).__name__ for settlement in settlements)
