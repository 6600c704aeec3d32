"""The log of events: batches in the order in which they came, each of them once, until they are too old or too many."""

from __future__ import annotations

from ...brokers.needed import event_log_of
from ...brokers.protocol import Broker, Feature
from ...model.event_log import TRIMMED_AT_ONCE, EventBatch, LogPage
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import expect, expect_equal

topic = Topic("event log", Part.EVENT_LOG)

KEEP_SECONDS = 3600.0
MOST = 1_000


def append(
    broker: Broker,
    sequence: int,
    count: int = 1,
    *,
    writer: str = "w",
    body: bytes = b"",
    keep: float = KEEP_SECONDS,
    most: int = MOST,
) -> None:
    """Append a batch that must not be there yet; without a body, one that says what it is."""
    batch = EventBatch(writer=writer, sequence=sequence, count=count, body=body or f"{writer}{sequence}".encode())
    expect(event_log_of(broker).append(batch, keep, most), f"the batch {writer}{sequence} must be appended, and was not")


def refuse(broker: Broker, sequence: int, count: int = 1, *, writer: str = "w") -> None:
    """Append a batch that is there, or was."""
    batch = EventBatch(writer=writer, sequence=sequence, count=count, body=b"again")
    done = event_log_of(broker).append(batch, KEEP_SECONDS, MOST)
    expect(not done, f"the batch {writer}{sequence} must not be appended again, and was")


def page_of(broker: Broker, after: int = 0, limit: int = 100) -> LogPage:
    return event_log_of(broker).read(after, limit)


def expect_bodies(broker: Broker, after: int, bodies: list[bytes], limit: int = 100) -> None:
    page = page_of(broker, after, limit)
    expect_equal([batch.body for batch in page.batches], bodies, f"the batches after event {after}, at most {limit}")


@topic.check()
def an_empty_log_has_nothing(harness: ContractHarness) -> None:
    """A log to which nothing was appended has no events, wherever a reader begins."""
    broker = harness.open()
    for after in (0, 7):
        page = page_of(broker, after)
        expect_equal((page.first, page.last, page.batches), (1, 0, list[EventBatch]()), f"an empty log after event {after}")


@topic.check()
def batches_are_kept_as_they_came(harness: ContractHarness) -> None:
    """Batches come back as they were appended, in the order in which they came, with numbers that leave nothing out."""
    broker = harness.open()
    body = bytes(range(256)) * 400
    append(broker, 1, 3, writer="a")
    append(broker, 1, 1, writer="it's {b}", body=body)
    append(broker, 4, 2, writer="a")
    page = page_of(broker)
    expect_equal((page.first, page.last), (1, 6), "the numbers of the first and the last event")
    expect(bool(page.log), "a log that has events has an id")
    facts = [(batch.number, batch.count, batch.writer, batch.sequence, batch.body) for batch in page.batches]
    wanted = [(1, 3, "a", 1, b"a1"), (4, 1, "it's {b}", 1, body), (5, 2, "a", 4, b"a4")]
    expect_equal(facts, wanted, "the batches")
    expect_equal(page_of(broker, 6).log, page.log, "the id of the log at the next look")


@topic.check()
def a_page_begins_anywhere(harness: ContractHarness) -> None:
    """A look brings what holds events after a number, also a batch that begins before it, and as many as were asked for."""
    broker = harness.open()
    for sequence in (1, 4, 7, 10):
        append(broker, sequence, 3)
    expect_bodies(broker, 0, [b"w1", b"w4"], limit=2)
    expect_bodies(broker, 2, [b"w1", b"w4", b"w7", b"w10"])
    expect_bodies(broker, 3, [b"w4", b"w7", b"w10"])
    expect_bodies(broker, 4, [b"w4", b"w7"], limit=2)
    expect_bodies(broker, 11, [b"w10"])
    expect_bodies(broker, 12, [])
    expect_bodies(broker, 500, [])
    expect_bodies(broker, 0, [], limit=0)
    expect_equal(page_of(broker, 0, 0).last, 12, "the last event, where nothing is read")


@topic.check()
def a_repeated_append_does_nothing(harness: ContractHarness) -> None:
    """A batch that its writer appends again, or one from before it, changes nothing; each writer counts for itself."""
    broker = harness.open()
    append(broker, 1, 3)
    refuse(broker, 1, 3)
    append(broker, 4, 2)
    refuse(broker, 1, 3)
    refuse(broker, 4, 2)
    append(broker, 1, writer="other")
    append(broker, 9)  # some were dropped on the way
    refuse(broker, 9)
    expect_bodies(broker, 0, [b"w1", b"w4", b"other1", b"w9"])
    expect_equal(page_of(broker).last, 7, "the last event")


@topic.check()
def a_repeated_append_does_nothing_when_all_was_dropped(harness: ContractHarness) -> None:
    """A batch that was dropped is not appended again."""
    broker = harness.open()
    append(broker, 1, 3)
    append(broker, 1, 5, writer="other", most=1)
    expect_bodies(broker, 0, [b"other1"])
    refuse(broker, 1, 3)


@topic.check()
def the_oldest_are_dropped_when_there_are_too_many(harness: ContractHarness) -> None:
    """Batches whose events are all older than the newest most are dropped, and what follows keeps its numbers."""
    broker = harness.open()
    for sequence in (1, 4, 7):
        append(broker, sequence, 3, most=5)
    expect_bodies(broker, 0, [b"w4", b"w7"])
    page = page_of(broker)
    expect_equal((page.first, page.last), (4, 9), "the first and the last event")
    append(broker, 10, 3, most=3)
    page = page_of(broker, 2)
    expect_equal((page.first, page.last), (10, 12), "the first and the last event")
    expect_equal([batch.number for batch in page.batches], [10], "the number of what is left")


@topic.check(clock=True)
def the_oldest_are_dropped_when_they_are_too_old(harness: ContractHarness) -> None:
    """Batches that are older than is wanted are dropped by the next append; they carry the moment when they came."""
    broker = harness.open()
    began = harness.now()
    append(broker, 1)
    harness.advance(40)
    append(broker, 2, keep=60.0)
    harness.advance(30)
    expect_bodies(broker, 0, [b"w1", b"w2"])
    append(broker, 3, keep=60.0)
    page = page_of(broker)
    expect_equal([batch.body for batch in page.batches], [b"w2", b"w3"], "what is kept")
    moments = [round(batch.at - began, 3) for batch in page.batches]
    expect_equal(moments, [40.0, 70.0], "the moments when they came, since the beginning")


@topic.check(clock=True)
def what_is_dropped_is_bounded(harness: ContractHarness) -> None:
    """One append drops a bounded number of batches, and later ones the rest, also when it is the newest that are too old."""
    broker = harness.open()
    total = 3 * TRIMMED_AT_ONCE
    for sequence in range(1, total + 1):
        append(broker, sequence)
    harness.advance(7200)
    append(broker, total + 1)
    left = len(page_of(broker, 0, 500).batches)
    expect(1 <= left <= total, f"{left} batches are left of {total + 1}")
    for sequence in range(total + 2, total + 6):
        append(broker, sequence)
    page = page_of(broker, 0, 500)
    expect_equal((page.first, page.last), (total + 1, total + 5), "the first and the last event when the rest has gone")


@topic.check()
def an_append_is_a_hint(harness: ContractHarness) -> None:
    """An append is a hint at the log, and what was appended can be read when the hint arrives."""
    broker = harness.open()
    ear = Ear(harness, broker, "log")
    append(broker, 1)
    ear.wait_for("log", "", "an append")
    expect_bodies(broker, 0, [b"w1"])


@topic.check(Feature.DURABLE)
def the_log_is_there_after_a_close(harness: ContractHarness) -> None:
    """What was appended is there after a close, and so is how far each writer had come."""
    broker = harness.open()
    append(broker, 1, 3)
    log = page_of(broker).log
    broker = harness.reopen()
    expect_equal(page_of(broker).log, log, "the id of the log")
    refuse(broker, 1, 3)
    append(broker, 4)
    expect_bodies(broker, 0, [b"w1", b"w4"])


@topic.check(Feature.SHARED)
def all_append_to_one_log(harness: ContractHarness) -> None:
    """What one process appends, another one reads, and hears of."""
    one, other = harness.open(), harness.open()
    ear = Ear(harness, other, "log")
    append(one, 1, writer="one")
    ear.wait_for("log", "", "an append by another process")
    append(other, 1, writer="other")
    for broker in (one, other):
        expect_bodies(broker, 0, [b"one1", b"other1"])
