"""Messages on their way out: with an outcome, in the order of each destination, until a worker has sent them."""

from __future__ import annotations

from typing import Any

from ...brokers.needed import outbox_of, replies_of
from ...brokers.protocol import REPLY_SECONDS, Broker, Feature
from ...errors import InvalidOptions, NurseryTasksError, PayloadTooLarge
from ...model.delivery import Delivery, Finished, Reply
from ...model.options import HARD_PAYLOAD_BYTES
from ...model.outgoing import BATCH_BYTES, MAX_NAME, OutboxRecord, Outgoing
from ...model.states import JobState
from .foreign import ANSWERS
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import claim, expect, expect_equal, expect_state, packed, settle, settle_stale, submit, submit_and_claim, succeeded

topic = Topic("outbox", Part.OUTBOX)

BODY = bytes(range(256))
NAMES = ("rabbit:orders", "it's", 'a "b"', "%s\\n\n\t", "é" * MAX_NAME, "😀" * MAX_NAME, "a:b*?[x]", "{b}")


def sends(delivery: Delivery, *items: tuple[str, bytes], state: JobState = JobState.SUCCEEDED, **more: Any) -> Finished:
    outgoing = tuple(Outgoing(destination, body) for destination, body in items)
    return Finished(delivery, state, packed(state, attempt=delivery.attempt), outgoing=outgoing, **more)


def put(broker: Broker, *items: tuple[str, bytes]) -> None:
    outbox_of(broker).put_outgoing([Outgoing(destination, body) for destination, body in items])


def bodies(broker: Broker, destination: str = "a", limit: int = 100) -> list[bytes]:
    return [body for _, body in outbox_of(broker).next_outgoing(destination, limit)]


def places(broker: Broker, destination: str = "a", limit: int = 100) -> list[int]:
    return [position for position, _ in outbox_of(broker).next_outgoing(destination, limit)]


def counts(broker: Broker, limit: int = 100, after: str = "") -> list[tuple[str, int]]:
    return [(record.destination, record.count) for record in outbox_of(broker).list_outboxes(limit, after)]


def expect_refused(error: type[NurseryTasksError], broker: Broker, *items: tuple[str, bytes]) -> None:
    try:
        put(broker, *items)
    except error:
        return
    raise AssertionError(f"{error.__name__} must be raised for a message that is none")


@topic.check()
def messages_come_with_the_outcome(harness: ContractHarness) -> None:
    """The messages of an outcome are there when it is, byte for byte, each in the line of its destination."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    settle(broker, sends(delivery, ("a", BODY), ("b", b""), ("a", b"\x00"), ("a", BODY)))
    expect_state(broker, JobState.SUCCEEDED, "a")
    expect_equal(bodies(broker), [BODY, b"\x00", BODY], "the messages for one destination")
    expect_equal(bodies(broker, "b"), [b""], "the messages for another")
    expect_equal(bodies(broker, "c"), [], "the messages for a third")
    expect_equal(counts(broker), [("a", 3), ("b", 1)], "the outboxes")


@topic.check()
def order_is_that_of_the_outcomes(harness: ContractHarness) -> None:
    """Messages of many outcomes stand in the order in which these were stored, also within one call, whatever their state."""
    broker = harness.open()
    submit(broker, "a", "b", "c", "d")
    a, b, c, d = claim(broker)
    settle(broker, sends(c, ("a", b"1"), ("a", b"2"), state=JobState.FAILED), succeeded(d), sends(a, ("a", b"3")))
    put(broker, ("b", b"x"), ("a", b"4"))
    settle(broker, sends(b, ("a", b"5")))
    expect_equal(bodies(broker), [b"1", b"2", b"3", b"4", b"5"], "the messages")


@topic.check()
def stale_outcomes_send_nothing(harness: ContractHarness) -> None:
    """An outcome that is refused sends nothing, and one that is repeated sends nothing again."""
    broker = harness.open()
    first, second = submit_and_claim(broker, "a"), submit_and_claim(broker, "b")
    settle(broker, sends(first, ("a", b"1")))
    settle_stale(broker, sends(first, ("a", b"1")))
    answers = broker.settle([sends(first, ("a", b"late")), sends(second, ("a", b"2")), sends(second, ("a", b"3"))])
    expect_equal(answers, [False, True, False], "the answers")
    expect_equal(bodies(broker), [b"1", b"2"], "the messages")


@topic.check(Part.REPLIES)
def replies_and_messages_go_together(harness: ContractHarness) -> None:
    """An outcome may have a reply and messages; they are kept apart, also where the names are the same."""
    broker = harness.open()
    settle(broker, sends(submit_and_claim(broker), ("a", b"message"), reply=Reply(ANSWERS, b"reply")))
    expect_equal(bodies(broker), [b"message"], "the messages")
    expect_equal(bodies(broker, ANSWERS), [], "the messages for the name of the reply")
    expect_equal(replies_of(broker).take_replies(ANSWERS, 10), [b"reply"], "the replies")


@topic.check()
def looking_takes_nothing(harness: ContractHarness) -> None:
    """A look returns the oldest, no more than it asks for, and leaves them there; positions grow."""
    broker = harness.open()
    put(broker, *(("a", b"%d" % n) for n in range(40)))
    for limit in (0, 1, 3, 17, 40, 100):
        expect_equal(bodies(broker, limit=limit), [b"%d" % n for n in range(min(limit, 40))], f"a look for {limit}")
    found = places(broker)
    expect(found == sorted(set(found)) and found[0] > 0, f"positions must grow from above 0, not {found}")
    expect_equal(places(broker), found, "the positions at a second look")


@topic.check()
def looks_are_bounded_by_bytes(harness: ContractHarness) -> None:
    """A look returns no more bytes than it should, and always the first message, however large it is."""
    broker = harness.open()
    large, third = b"x" * (BATCH_BYTES + 1), b"y" * (BATCH_BYTES // 3)
    put(broker, ("a", large), ("a", third), ("a", third), ("a", third), ("a", third))
    first = outbox_of(broker).next_outgoing("a", 10)
    expect_equal([len(body) for _, body in first], [len(large)], "the sizes at the first look")
    outbox_of(broker).drop_outgoing("a", first[0][0])
    expect_equal([len(body) for body in bodies(broker)], [len(third)] * 3, "the sizes at the second look")


@topic.check()
def only_what_was_sent_goes(harness: ContractHarness) -> None:
    """Dropping takes what stands up to a position, in one line, and what came meanwhile stays."""
    broker = harness.open()
    outbox = outbox_of(broker)
    put(broker, ("a", b"1"), ("b", b"other"), ("a", b"2"), ("a", b"3"))
    _, second, _ = places(broker)
    put(broker, ("a", b"4"))
    expect_equal(outbox.drop_outgoing("a", second), 2, "how many were dropped")
    expect_equal(outbox.drop_outgoing("a", second), 0, "how many were dropped again")
    expect_equal((bodies(broker), bodies(broker, "b")), ([b"3", b"4"], [b"other"]), "what is left")
    expect_equal(counts(broker), [("a", 2), ("b", 1)], "the outboxes")
    expect_equal(outbox.drop_outgoing("ghost", second), 0, "how many were dropped of an unknown destination")


@topic.check()
def positions_never_come_back(harness: ContractHarness) -> None:
    """Who believes to have sent an old position drops nothing that came later, also when the line was empty in between."""
    broker = harness.open()
    old = 0
    for number in range(3):
        put(broker, ("a", b"%d" % number))
        (place,) = places(broker)
        expect(place > old, f"position {place} came after {old}")
        expect_equal(outbox_of(broker).drop_outgoing("a", old), 0, "what an old position drops")
        expect_equal(outbox_of(broker).drop_outgoing("a", place), 1, "what the current one drops")
        expect_equal(bodies(broker), [], "an empty line")
        expect_equal(counts(broker), [], "the outboxes when the line is empty")
        old = place


@topic.check(clock=True)
def outboxes_are_listed(harness: ContractHarness) -> None:
    """Outboxes are listed by name, in pages, with their counts and how old the first message is."""
    broker = harness.open()
    outbox, begun = outbox_of(broker), harness.now()
    put(broker, ("b", b"1"), ("é", b"1"))
    harness.advance(10)
    put(broker, ("b", b"2"), ("a", b"1"), ("😀", b"1"))
    expect_equal(
        outbox.list_outboxes(2),
        [OutboxRecord("a", 1, begun + 10, 0.0), OutboxRecord("b", 2, begun, 10.0)],
        "the first two",
    )
    expect_equal(counts(broker, 10, "b"), [("é", 1), ("😀", 1)], "those after them")
    expect_equal(counts(broker, 0), [], "the first 0")
    outbox.drop_outgoing("b", places(broker, "b")[0])
    expect_equal(outbox.list_outboxes(1, "a"), [OutboxRecord("b", 1, begun + 10, 0.0)], "the outbox when its first is gone")


@topic.check()
def destinations_are_free(harness: ContractHarness) -> None:
    """Destinations may have any characters, up to a length."""
    broker = harness.open()
    put(broker, *((name, name.encode()) for name in NAMES))
    for name in NAMES:
        expect_equal(bodies(broker, name), [name.encode()], f"the message for {name!r}")
    expect_equal([name for name, _ in counts(broker)], sorted(NAMES), "the destinations")
    for name in NAMES:
        outbox_of(broker).drop_outgoing(name, places(broker, name)[-1])
    expect_equal(counts(broker), [], "the destinations when all is sent")


@topic.check()
def what_is_no_message_is_refused(harness: ContractHarness) -> None:
    """A destination that is empty or too long, or a body that is too large, is refused with the whole call."""
    broker = harness.open()
    expect_refused(InvalidOptions, broker, ("a", b"1"), ("", b"2"))
    expect_refused(InvalidOptions, broker, ("a", b"1"), ("x" * (MAX_NAME + 1), b"2"))
    expect_refused(PayloadTooLarge, broker, ("a", b"1"), ("a", b"x" * (HARD_PAYLOAD_BYTES + 1)))
    expect_equal(counts(broker), [], "the outboxes")
    put(broker)
    expect_equal(counts(broker), [], "the outboxes after nothing was put")


@topic.check(clock=True)
def messages_do_not_age(harness: ContractHarness) -> None:
    """Messages wait as long as it takes, also when the job that has sent them is long forgotten."""
    broker = harness.open()
    settle(broker, sends(submit_and_claim(broker), ("a", b"1")))
    harness.advance(30 * REPLY_SECONDS)
    while broker.sweep(100).dropped:
        pass
    expect_equal(broker.outcomes(["a"]), [None], "the outcome")
    expect_equal(bodies(broker), [b"1"], "the messages")


@topic.check()
def messages_are_told(harness: ContractHarness) -> None:
    """A message is a hint at `outgoing`, with its destination, whether it came with an outcome or alone."""
    broker = harness.open()
    delivery = submit_and_claim(broker)
    ear = Ear(harness, broker, "outgoing")
    settle(broker, sends(delivery, ("a", b"1")))
    ear.wait_for("outgoing", "a", "an outcome with a message")
    put(broker, ("b", b"2"))
    ear.wait_for("outgoing", "b", "a message")


@topic.check(Feature.DURABLE)
def messages_survive(harness: ContractHarness) -> None:
    """Messages outlive a close, and positions go on growing."""
    broker = harness.open()
    settle(broker, sends(submit_and_claim(broker), ("a", b"1")))
    put(broker, ("a", b"2"))
    old = places(broker)
    broker = harness.reopen()
    expect_equal((bodies(broker), places(broker)), ([b"1", b"2"], old), "the messages")
    outbox_of(broker).drop_outgoing("a", old[-1])
    broker = harness.reopen()
    put(broker, ("a", b"3"))
    expect(places(broker) > old[-1:], f"the positions were {old}, and are {places(broker)}")


@topic.check(Feature.SHARED)
def messages_are_shared(harness: ContractHarness) -> None:
    """What one connection puts, another one sees, drops and is told of."""
    here, there = harness.open(), harness.open()
    ear = Ear(harness, there, "outgoing")
    put(here, ("a", b"1"), ("a", b"2"))
    ear.wait_for("outgoing", "a", "a message on another connection")
    outbox_of(there).drop_outgoing("a", places(there)[0])
    expect_equal(bodies(here), [b"2"], "what is left")
