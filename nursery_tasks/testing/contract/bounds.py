"""Queues that take only so many jobs."""

from __future__ import annotations

from collections.abc import Sequence

from ...brokers.protocol import Broker, Feature
from ...errors import BrokerError, QueueFull
from ...model.delivery import CancelAnswer, Receipt, Released, Retried, Started, Submission
from ...model.limits import Limit
from ...model.reasons import OWNER_GONE
from ...model.states import WAITING, JobState
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import (
    LEASE_SECONDS,
    QUEUE,
    admin,
    cancel,
    claim,
    claim_one,
    ended,
    expect,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_swept,
    expect_unknown,
    ids_of,
    job,
    leased,
    owned,
    packed,
    repeat,
    settle,
    submit,
    succeeded,
    sweep,
)

topic = Topic("bounded queues", Feature.BOUNDS)


@topic.check()
def full_queue_refuses(harness: ContractHarness) -> None:
    """A job that finds as many waiting as its `max_length` is refused and not stored, and the error names the queue."""
    broker = harness.open()
    submit(broker, bounded("a"), bounded("b"))
    refused = _refused(broker, bounded("c"))
    expect_equal((refused.queue, refused.max_length, refused.refused), (QUEUE, 2, True), "what the error says")
    expect_unknown(broker, "c")
    expect_claimable(broker, "a", "b")


@topic.check()
def others_of_the_batch_go_in(harness: ContractHarness) -> None:
    """Of a batch the first go in as far as there is room, and so do jobs of other queues and jobs that are never refused."""
    broker = harness.open()
    batch = [*[bounded(name) for name in "abc"], bounded("other", queue="other"), job("free"), bounded("d")]
    answers = _answers(broker, batch)
    expect_equal(ids_of_refused(batch, answers), ["c", "d"], "the jobs that were refused")
    expect_claimable(broker, "a", "b", "free", "other", queues=[QUEUE, "other"])


@topic.check()
def claims_make_room(harness: ContractHarness) -> None:
    """Each job that a worker claims makes room for another, and what is held does not count."""
    broker = harness.open()
    submit(broker, bounded("a"), bounded("b"))
    claim_one(broker, "a", limit=1)
    submit(broker, bounded("c"))
    _refused(broker, bounded("d"))
    expect_claimable(broker, "b", "c")
    submit(broker, bounded("d"), bounded("e"))


@topic.check(Feature.KEYS)
def repetitions_are_not_refused(harness: ContractHarness) -> None:
    """A known id or a taken key is answered as always, however full the queue is, also beside jobs that are refused."""
    broker = harness.open()
    submit(broker, bounded("a", key="k"), bounded("b"))
    repeat(broker, bounded("a"))
    repeat(broker, bounded("x", key="k"), known="a")
    batch = [bounded("c"), bounded("b"), bounded("y", key="k"), bounded("c")]
    answers = _answers(broker, batch)
    expect_equal(list(answers[1:3]), [Receipt("b", False), Receipt("a", False)], "the answers to repetitions")
    expect_equal(ids_of_refused(batch, answers), ["c", "c"], "the jobs that were refused")


@topic.check()
def what_comes_back_is_not_refused(harness: ContractHarness) -> None:
    """Jobs that come back are never refused: released, retried, or given back by a worker whose place others took meanwhile."""
    broker = harness.open()
    submit(broker, bounded("a"), bounded("b"))
    a, b = expect_claimable(broker, "a", "b")
    submit(broker, bounded("c"), bounded("d"))
    settle(broker, Released(a), Retried(b, 0))
    _refused(broker, bounded("e"))
    expect_equal(sorted(ids_of(claim(broker))), ["a", "b", "c", "d"], "the jobs that can be claimed")
    submit(broker, bounded("e"))


@topic.check(clock=True)
def lost_leases_come_back_and_count(harness: ContractHarness) -> None:
    """What a worker that died has held comes back into a full queue, counts there, and leaves no place taken at its end."""
    broker = harness.open()
    submit(broker, bounded("a"), bounded("b"))
    a, _ = expect_claimable(broker, "a", "b")
    settle(broker, Started(a))
    submit(broker, bounded("c"))
    harness.advance(LEASE_SECONDS + 1)
    expect_swept(broker, returned=2)
    _refused(broker, bounded("d"))
    settle(broker, *[succeeded(delivery) for delivery in claim(broker)])
    submit(broker, bounded("d"), bounded("e"))
    _refused(broker, bounded("f"))


@topic.check(Feature.DELAYS)
def scheduled_jobs_count(harness: ContractHarness) -> None:
    """Jobs that wait for their time count, and find no room either."""
    broker = harness.open()
    submit(broker, bounded("later", delay_seconds=60), bounded("now"))
    _refused(broker, bounded("c"))
    _refused(broker, bounded("c", delay_seconds=60))
    claim_one(broker, "now")
    submit(broker, bounded("c", delay_seconds=60))
    _refused(broker, bounded("d"))
    submit(broker, bounded("d", queue="other"))


@topic.check(Part.LIMITS)
def jobs_at_a_limit_count(harness: ContractHarness) -> None:
    """Jobs that wait for room in a limit wait in their queue like others."""
    broker = harness.open()
    one = Limit("concurrency:one", most=1)
    submit(broker, *[bounded(name, limits=(one,)) for name in "ab"])
    claim_one(broker, "a")
    submit(broker, bounded("c", limits=(one,)))
    _refused(broker, bounded("d", limits=(one,)))
    _refused(broker, bounded("d"))


@topic.check()
def all_that_waits_counts(harness: ContractHarness) -> None:
    """What was submitted without a length counts for those with one, and each job has the length that it came with."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    _refused(broker, bounded("d"))
    submit(broker, bounded("d", max_length=4))
    _refused(broker, bounded("e", max_length=4))
    submit(broker, "e")


@topic.check()
def cancels_and_ends_make_room(harness: ContractHarness) -> None:
    """A job that is cancelled makes room, and what has ended takes none."""
    broker = harness.open()
    submit(broker, bounded("a"), bounded("b"))
    cancel(broker, "a", CancelAnswer.CANCELLED)
    submit(broker, bounded("c"))
    _refused(broker, bounded("d"))
    for delivery in claim(broker):
        settle(broker, ended(delivery, JobState.FAILED))
    submit(broker, bounded("d"), bounded("e"))


@topic.check(Part.ADMIN)
def purges_make_room(harness: ContractHarness) -> None:
    """What is purged makes room, and what is run again by hand is not refused."""
    broker = harness.open()
    submit(broker, bounded("a"), bounded("b"))
    settle(broker, ended(claim_one(broker, "a", limit=1), JobState.FAILED))
    submit(broker, bounded("c"))
    expect_equal(admin(broker).requeue(["a"]), [True], "running a job again")
    _refused(broker, bounded("d"))
    expect_equal(admin(broker).purge(QUEUE, WAITING), 3, "the purged jobs")
    submit(broker, bounded("d"), bounded("e"))
    _refused(broker, bounded("f"))


@topic.check(Feature.WORKFLOWS)
def records_are_not_refused(harness: ContractHarness) -> None:
    """A record of what has ended finds a place in any queue, and takes none."""
    broker = harness.open()
    submit(broker, bounded("a"), bounded("b"))
    submit(broker, bounded("record", ended=JobState.SUCCEEDED, outcome=packed()))
    claim(broker)
    submit(broker, bounded("c"), bounded("d"))


@topic.check()
def owned_jobs_are_refused_too(harness: ContractHarness) -> None:
    """An owned job finds room or is refused like others; one whose owner is gone is stored as cancelled and takes no place."""
    broker = harness.open()
    submit(broker, leased("a", max_length=2))
    delivery = claim_one(broker, "a")
    submit(broker, owned("b", delivery.token, max_length=2), bounded("c"))
    _refused(broker, owned("d", delivery.token, max_length=2))
    _refused(broker, leased("e", max_length=2))
    submit(broker, owned("f", b"x" * 16 + delivery.token[16:], max_length=2))
    expect_cancelled(broker, "f", OWNER_GONE)
    claim_one(broker, "b", limit=1)
    submit(broker, leased("e", max_length=2))


@topic.check()
def refused_job_may_come_again(harness: ContractHarness) -> None:
    """A job that was refused can be submitted again under its id, and is then a new one."""
    broker = harness.open()
    submit(broker, bounded("a"), bounded("b"))
    _refused(broker, bounded("c"))
    claim_one(broker, "a", limit=1)
    submit(broker, bounded("c"))
    expect_claimable(broker, "b", "c")


@topic.check()
def what_went_in_is_told(harness: ContractHarness) -> None:
    """Listeners hear of the jobs of a batch that went in, although others were refused."""
    broker = harness.open()
    ear = Ear(harness, broker, "work")
    _answers(broker, [bounded("a", max_length=1), bounded("b", max_length=1)])
    ear.wait_for("work", QUEUE, "a submission of which a part was refused")


@topic.check(Part.ADMIN)
def length_is_never_exceeded(harness: ContractHarness) -> None:
    """Whatever is submitted and claimed in between, in batches of any size, no more wait than the length says."""
    broker = harness.open()
    number, most = 0, 7
    for size, taken in [(3, 1), (9, 2), (1, 0), (5, 5), (8, 7), (20, 3), (2, 4), (7, 7)]:
        batch = [bounded(f"job-{number + n}", max_length=most) for n in range(size)]
        number += size
        before = _depth(broker)
        answers = _answers(broker, batch) if size > most - before else broker.submit(batch)
        stored = sum(isinstance(answer, Receipt) for answer in answers)
        expect_equal(stored, min(size, most - before), "the jobs that went in")
        claim(broker, taken)
        expect(sweep(broker).returned == 0, "no lease is over")
        expect_equal(_depth(broker), before + stored - min(taken, before + stored), "the jobs that wait")


def bounded(job_id: str, **changes: object) -> Submission:
    return job(job_id, **{"max_length": 2, **changes})


def ids_of_refused(batch: Sequence[Submission], answers: Sequence[object]) -> list[str]:
    return [each.id for each, answer in zip(batch, answers, strict=True) if isinstance(answer, QueueFull)]


def _depth(broker: Broker) -> int:
    counts = [record.counts for record in admin(broker).list_queues() if record.name == QUEUE]
    return sum(counts[0].get(state, 0) for state in WAITING) if counts else 0


def _refused(broker: Broker, submission: Submission) -> QueueFull:
    """Submit one job, which must be refused."""
    error = _error(broker, [submission])
    expect(isinstance(error, QueueFull), f"{submission.id!r} must be refused by a full queue, not {error!r}")
    assert isinstance(error, QueueFull)
    return error


def _answers(broker: Broker, batch: Sequence[Submission]) -> Sequence[object]:
    """Submit a batch of which some must be refused; return the answer to each."""
    answers = _error(broker, batch).answers
    expect(answers is not None and len(answers) == len(batch), "the error of a batch must have an answer for each of its jobs")
    return answers or ()


def _error(broker: Broker, batch: Sequence[Submission]) -> BrokerError:
    try:
        receipts = broker.submit(batch)
    except QueueFull as error:
        return error
    raise AssertionError(f"some of {[each.id for each in batch]} must be refused, and got {receipts!r}")
