"""Raw bodies, and replies to other programs."""

from __future__ import annotations

import os

from ...brokers.needed import replies_of
from ...brokers.protocol import REPLY_SECONDS, Broker
from ...model.delivery import Delivery, Finished, Reply, Retried, Started
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    admin,
    claim,
    claim_one,
    ended,
    expect_equal,
    expect_swept,
    job,
    packed,
    record,
    settle,
    settle_stale,
    submit,
    submit_and_claim,
)

topic = Topic("foreign")

BODY = bytes(range(256))
ANSWERS = f"answers-{os.getpid()}"  # a server may have one list of a name for all who test on it


def answered(delivery: Delivery, body: bytes, to: str = ANSWERS, state: JobState = JobState.SUCCEEDED) -> Finished:
    return Finished(delivery, state, packed(state, attempt=delivery.attempt), Reply(to, body))


def take(broker: Broker, name: str = ANSWERS, limit: int = 100) -> list[bytes]:
    return replies_of(broker).take_replies(name, limit)


@topic.check()
def raw_bodies_stay_raw(harness: ContractHarness) -> None:
    """A body comes byte for byte, with the word that it is raw, also when it comes back; a message comes without."""
    broker = harness.open()
    submit(broker, job("a", task="", payload=BODY, raw=True), "b")
    first, second = claim(broker)
    expect_equal([(first.raw, first.payload), second.raw], [(True, BODY), False], "what was claimed")
    settle(broker, Started(first), Retried(first, 0.0))
    again = claim_one(broker, "a")
    expect_equal((again.raw, again.payload), (True, BODY), "what was claimed again")


@topic.check(Part.ADMIN)
def raw_bodies_are_listed(harness: ContractHarness) -> None:
    """Whoever lists jobs sees which are raw, and putting one back keeps that."""
    broker = harness.open()
    settle(broker, ended(submit_and_claim(broker, "a", task="", payload=BODY, raw=True), JobState.DEAD))
    found = record(broker, "a")
    expect_equal((found.raw, found.payload, found.task), (True, BODY, ""), "the record")
    expect_equal(admin(broker).requeue(["a"]), [True], "the answer to a requeue")
    expect_equal(claim_one(broker, "a").raw, True, "the word that it is raw")


@topic.check(Part.REPLIES)
def replies_come_with_outcomes(harness: ContractHarness) -> None:
    """A reply can be taken once, byte for byte, in the order of the outcomes that it came with."""
    broker = harness.open()
    submit(broker, "a", "b", "c", "d")
    first, second, third, fourth = claim(broker)
    settle(broker, answered(second, BODY), answered(third, b"elsewhere", "other"), ended(fourth, JobState.FAILED))
    settle(broker, answered(first, b"", state=JobState.DEAD))
    expect_equal(take(broker, limit=1), [BODY], "the first reply")
    expect_equal(take(broker), [b""], "the others")
    expect_equal(take(broker), [], "what is left")
    expect_equal(take(broker, "other"), [b"elsewhere"], "the replies of another name")


@topic.check(Part.REPLIES)
def stale_outcomes_bring_no_reply(harness: ContractHarness) -> None:
    """An outcome that is refused brings no reply, and one that is repeated brings no second."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, answered(delivery, b"1"))
    settle_stale(broker, answered(delivery, b"1"))
    other = submit_and_claim(broker, "b")
    answers = broker.settle([answered(delivery, b"late"), answered(other, b"2"), answered(other, b"3")])
    expect_equal(answers, [False, True, False], "the answers")
    expect_equal(take(broker), [b"1", b"2"], "the replies")


@topic.check(Part.REPLIES, clock=True)
def replies_are_kept_for_a_day(harness: ContractHarness) -> None:
    """A reply waits for a day, and sweeps do not count it."""
    broker = harness.open()
    settle(broker, answered(submit_and_claim(broker), b"1"))
    harness.advance(REPLY_SECONDS - 1)
    expect_swept(broker)
    expect_equal(take(broker), [b"1"], "the replies")
