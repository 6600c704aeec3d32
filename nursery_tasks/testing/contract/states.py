"""Small values under a name: compare-and-set, and messages that go out in the same step."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread

from ...brokers.needed import states_of
from ...brokers.protocol import Broker, Feature
from ...errors import InvalidOptions, NurseryTasksError, PayloadTooLarge
from ...model.options import HARD_PAYLOAD_BYTES
from ...model.outgoing import MAX_NAME, Outgoing, StateRecord, StateRow
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .outbox import bodies, counts
from .steps import expect, expect_equal

topic = Topic("states", Part.STATES)

NAMES = ("é" * MAX_NAME, "😀" * MAX_NAME, "it's", "%s\\n\n\t", "a:b*?[x]", "null", "\U0010ffff")


def put(broker: Broker, name: str, body: bytes = b"body", version: int = 0, *outgoing: Outgoing) -> int:
    """Store a value that must be stored; return its version."""
    new = states_of(broker).put_state(name, version, body, outgoing)
    expect(new > 0, f"{name!r} must be stored from version {version}, and was not")
    expect_equal(states_of(broker).get_state(name), StateRow(new, body), f"the state {name!r}")
    return new


def put_stale(broker: Broker, name: str, version: int, *outgoing: Outgoing) -> None:
    expect_equal(states_of(broker).put_state(name, version, b"stale", outgoing), 0, f"the answer from version {version}")


def names_of(broker: Broker, prefix: str, limit: int = 100, after: str = "") -> list[str]:
    return [record.name for record in states_of(broker).list_states(prefix, limit, after)]


def expect_refused(error: type[NurseryTasksError], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{error.__name__} must be raised for a state that is none")


@topic.check()
def state_is_kept(harness: ContractHarness) -> None:
    """A value is kept byte for byte until it is changed or deleted; one that was never put is not there."""
    broker = harness.open()
    states = states_of(broker)
    expect_equal(states.get_state("a"), None, "an unknown state")
    version = put(broker, "a", bytes(range(256)))
    put(broker, "b", b"")
    version = put(broker, "a", b"x" * 1024 * 1024, version)
    expect_equal(states.delete_state("a", version), True, "the answer to a deletion")
    expect_equal((states.get_state("a"), names_of(broker, "")), (None, ["b"]), "what is left")
    expect_equal(states.delete_state("a", version), False, "the answer to a second deletion")
    expect_equal(states.delete_state("a", 0), False, "the answer to the deletion of nothing")


@topic.check()
def only_the_current_version_changes(harness: ContractHarness) -> None:
    """A change or a deletion from another version than the current one does nothing."""
    broker = harness.open()
    put_stale(broker, "a", 1)
    first = put(broker, "a", b"first")
    second = put(broker, "a", b"second", first)
    for version in (0, first, second + 1, -1):
        put_stale(broker, "a", version)
        expect_equal(states_of(broker).delete_state("a", version), False, f"the answer to a deletion of {version}")
    expect_equal(states_of(broker).get_state("a"), StateRow(second, b"second"), "the state")


@topic.check()
def versions_of_states_never_come_back(harness: ContractHarness) -> None:
    """A value that was deleted and put again has a version that it never had before."""
    broker = harness.open()
    seen: list[int] = []
    for _ in range(3):
        seen.append(put(broker, "a"))
        seen.append(put(broker, "a", version=seen[-1]))
        states_of(broker).delete_state("a", seen[-1])
        for version in seen:
            put_stale(broker, "a", version)
    expect_equal(len(set(seen)), len(seen), f"how many versions there were, among {seen}")


@topic.check()
def states_are_listed_by_prefix(harness: ContractHarness) -> None:
    """Values are listed by a prefix of their names, by code points and in pages, with version and size."""
    broker = harness.open()
    for name in ("b", "ab", "a", "aé", "a😀", "a\uffee", "a%", "aa", "A"):
        put(broker, name, name.encode())
    expect_equal(names_of(broker, "a"), ["a", "a%", "aa", "ab", "aé", "a\uffee", "a😀"], "the names that begin with a")
    expect_equal(names_of(broker, "a", 2, "aaa"), ["ab", "aé"], "a page of them")
    expect_equal(names_of(broker, "", 2), ["A", "a"], "the first of all")
    expect_equal(names_of(broker, "b", after="A"), ["b"], "those with b after A")
    for found in (names_of(broker, "", 0), names_of(broker, "c"), names_of(broker, "a", after="b")):
        expect_equal(found, [], "an empty list")
    version = put(broker, "z", b"12345")
    expect_equal(states_of(broker).list_states("z", 10), [StateRecord("z", version, 5)], "the record")


@topic.check()
def names_of_states_are_free(harness: ContractHarness) -> None:
    """Names may have any characters, up to a length; what is longer, or too large, is refused."""
    broker = harness.open()
    for name in NAMES:
        put(broker, name, name.encode())
        expect_equal(names_of(broker, name), [name], f"the names that begin with {name!r}")
    expect_equal(names_of(broker, ""), sorted(NAMES), "the names")
    states = states_of(broker)
    expect_refused(InvalidOptions, lambda: states.put_state("", 0, b""))
    expect_refused(InvalidOptions, lambda: states.put_state("x" * (MAX_NAME + 1), 0, b""))
    expect_refused(PayloadTooLarge, lambda: states.put_state("x", 0, b"x" * (HARD_PAYLOAD_BYTES + 1)))


@topic.check(Part.OUTBOX)
def messages_go_with_the_change(harness: ContractHarness) -> None:
    """The messages of a change are stored with it, in their order, and hinted at; those of a stale change are not."""
    broker = harness.open()
    ear = Ear(harness, broker, "outgoing")
    version = put(broker, "total", b"1", 0, Outgoing("a", b"1"), Outgoing("b", b"x"), Outgoing("a", b"2"))
    ear.wait_for("outgoing", "b", "a change with messages")
    put_stale(broker, "total", 0, Outgoing("a", b"late"))
    put(broker, "total", b"2", version, Outgoing("a", b"3"))
    put_stale(broker, "total", version, Outgoing("a", b"late"))
    expect_equal((bodies(broker), bodies(broker, "b")), ([b"1", b"2", b"3"], [b"x"]), "the messages")
    states = states_of(broker)
    expect_refused(InvalidOptions, lambda: states.put_state("new", 0, b"", [Outgoing("a", b"4"), Outgoing("", b"")]))
    expect_equal((states.get_state("new"), counts(broker)), (None, [("a", 3), ("b", 1)]), "what a refused change leaves")


@topic.check()
def one_of_many_changes_wins(harness: ContractHarness) -> None:
    """Of changes that are made at once from one version, exactly one is made."""
    broker = harness.open()
    version, barrier, answers = put(broker, "a"), Barrier(4), list[int]()

    def change(number: int) -> None:
        barrier.wait()
        answers.append(states_of(broker).put_state("a", version, b"%d" % number))

    threads = [Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect_equal((len(answers), len([new for new in answers if new])), (4, 1), f"the changes that were made: {answers}")


@topic.check(Feature.DURABLE, Feature.SHARED)
def states_survive(harness: ContractHarness) -> None:
    """Values outlive a close, and another connection sees them at once."""
    here, there = harness.open(), harness.open()
    version = put(here, "a", b"1")
    put_stale(there, "a", 0)
    version = put(there, "a", b"2", version)
    broker = harness.reopen()
    expect_equal(states_of(broker).get_state("a"), StateRow(version, b"2"), "the state")
    states_of(broker).delete_state("a", version)
    expect(put(harness.reopen(), "a") > version, "a version came back")
