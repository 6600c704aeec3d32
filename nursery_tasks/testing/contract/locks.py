"""Locks with a lease."""

from __future__ import annotations

from ...brokers.needed import locks_of
from ...brokers.parts import Locks
from ...brokers.protocol import Feature
from ...model.listing import LockRecord
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import expect, expect_equal, sweep

topic = Topic("locks", Part.LOCKS)

A, B, C = b"holder a", b"holder b", b"holder c"


def take(locks: Locks, holder: bytes, name: str = "door", seconds: float = 15.0) -> int:
    token = locks.lock(name, holder, seconds, True)
    expect(token > 0, f"{holder!r} must have {name}, and was told {token}")
    return token


def stand(locks: Locks, holder: bytes, name: str = "door", seconds: float = 15.0, *, wait: bool = True) -> None:
    expect_equal(locks.lock(name, holder, seconds, wait), 0, f"what {holder!r} was told, who must wait for {name}")


def unlock(locks: Locks, holder: bytes, name: str = "door", *, wanted: bool = True) -> None:
    expect_equal(locks.unlock([(name, holder)]), [wanted], f"the answer when {holder!r} gave {name} back")


@topic.check()
def lock_has_one_holder(harness: ContractHarness) -> None:
    """A lock has one holder; who asks again without having given it back has it still, with the same token."""
    locks = locks_of(harness.open())
    token = take(locks, A)
    stand(locks, B, wait=False)
    expect_equal(take(locks, A), token, "the token of a holder who asks again")
    stand(locks, B)
    take(locks, B, "window")
    unlock(locks, A)
    take(locks, B)


@topic.check()
def tokens_grow(harness: ContractHarness) -> None:
    """Each holder of a lock gets a greater token than all before."""
    locks = locks_of(harness.open())
    tokens: list[int] = []
    for holder in (A, B, A, C, A):
        tokens.append(take(locks, holder))
        unlock(locks, holder)
    expect(sorted(set(tokens)) == tokens, f"the tokens were {tokens}")


@topic.check(Feature.DURABLE)
def tokens_grow_for_ever(harness: ContractHarness) -> None:
    """Tokens also grow when the broker was closed and opened meanwhile."""
    locks = locks_of(harness.open())
    before = take(locks, A)
    unlock(locks, A)
    locks = locks_of(harness.reopen())
    expect(take(locks, B) > before, "the token must have grown")


@topic.check()
def line_is_fair(harness: ContractHarness) -> None:
    """Who waits gets the lock in the order of arrival, and keeps the place when asking again."""
    locks = locks_of(harness.open())
    take(locks, A)
    stand(locks, B)
    stand(locks, C)
    stand(locks, B)
    unlock(locks, A)
    stand(locks, C)
    stand(locks, A)
    take(locks, B)
    unlock(locks, B)
    take(locks, C)
    unlock(locks, C)
    take(locks, A)


@topic.check()
def nobody_jumps_the_queue(harness: ContractHarness) -> None:
    """Who does not want to wait gets nothing while others stand in line, also when the lock is free just then."""
    locks = locks_of(harness.open())
    take(locks, A)
    stand(locks, B)
    unlock(locks, A)
    stand(locks, C, wait=False)
    take(locks, B)
    unlock(locks, B)
    expect(locks.lock("door", C, 15.0, False) > 0, "a free lock must be given to who does not want to wait")


@topic.check()
def leaving_the_line_lets_others_up(harness: ContractHarness) -> None:
    """Who leaves the line is not waited for; what nobody has cannot be given back."""
    locks = locks_of(harness.open())
    take(locks, A)
    stand(locks, B)
    stand(locks, C)
    unlock(locks, B)
    unlock(locks, B, wanted=False)
    unlock(locks, A, "window", wanted=False)
    unlock(locks, A)
    take(locks, C)


@topic.check(clock=True)
def lease_ends(harness: ContractHarness) -> None:
    """A holder that died loses the lock when its lease is over, and not before."""
    locks = locks_of(harness.open())
    first = take(locks, A, seconds=15)
    stand(locks, B, seconds=30)
    harness.advance(14.5)
    stand(locks, B)
    harness.advance(0.5)
    expect(take(locks, B) > first, "the token must have grown")
    expect_equal(locks.relock([("door", A), ("door", B)], 15.0), [False, True], "the answers to prolonging leases")
    unlock(locks, A, wanted=False)
    stand(locks, A)


@topic.check(clock=True)
def renewed_lease_lasts(harness: ContractHarness) -> None:
    """A lease that is prolonged lasts; one that ran out and that nobody has noticed is held still."""
    locks = locks_of(harness.open())
    token = take(locks, A, seconds=10)
    harness.advance(9)
    expect_equal(locks.relock([("door", A)], 10.0), [True], "the answer to prolonging a lease")
    harness.advance(9)
    stand(locks, B, wait=False)
    harness.advance(20)
    expect_equal(locks.relock([("door", A)], 10.0), [True], "the answer to prolonging a lease that is over")
    expect_equal(take(locks, A), token, "the token")


@topic.check(clock=True)
def dead_waiter_is_passed_over(harness: ContractHarness) -> None:
    """Who stands in line and is not heard of any more is passed over when the lease it came with is over."""
    locks = locks_of(harness.open())
    take(locks, A, seconds=100)
    stand(locks, B, seconds=5)
    stand(locks, C, seconds=100)
    unlock(locks, A)
    stand(locks, C, seconds=100)
    harness.advance(5)
    take(locks, C)
    expect_equal(locks.relock([("door", B)], 5.0), [False], "the answer to prolonging what one never had")


@topic.check(clock=True)
def sweep_frees_locks(harness: ContractHarness) -> None:
    """A sweep frees locks whose lease is over and hints at them."""
    broker = harness.open()
    locks = locks_of(broker)
    take(locks, A, seconds=10)
    stand(locks, B, seconds=100)
    ear = Ear(harness, broker, "lock")
    harness.advance(10)
    sweep(broker)
    ear.wait_for("lock", "door", "a sweep that found a lease over")
    expect_equal(locks.relock([("door", A)], 10.0), [False], "the answer to prolonging a lease that was swept")
    take(locks, B)


@topic.check()
def giving_back_is_a_hint(harness: ContractHarness) -> None:
    """A lock that is given back is a hint for those who wait for it."""
    broker = harness.open()
    locks = locks_of(broker)
    take(locks, A, "door é")
    ear = Ear(harness, broker, "lock")
    unlock(locks, A, "door é")
    ear.wait_for("lock", "door é", "a lock that was given back")


@topic.check(clock=True)
def locks_are_listed(harness: ContractHarness) -> None:
    """The list shows who has what and how many wait, by name, and nothing when all is given back."""
    locks = locks_of(harness.open())
    token = take(locks, A, "b")
    stand(locks, B, "b")
    other = take(locks, C, "a", 60)
    now = harness.now()
    wanted = [
        LockRecord(name="a", token=other, until=now + 60),
        LockRecord(name="b", token=token, until=now + 15, waiting=1),
    ]
    expect_equal(locks.list_locks(10), wanted, "the locks")
    expect_equal(locks.list_locks(1), wanted[:1], "the first lock")
    unlock(locks, A, "b")
    expect_equal(locks.list_locks(10)[1], LockRecord(name="b", until=now + 15, waiting=1), "a lock between two holders")
    unlock(locks, B, "b")
    unlock(locks, C, "a")
    expect_equal(locks.list_locks(10), [], "the locks")


@topic.check(Feature.SHARED)
def all_processes_share_the_locks(harness: ContractHarness) -> None:
    """Two that have opened the same storage see the same locks."""
    first, second = locks_of(harness.open()), locks_of(harness.open())
    token = take(first, A)
    stand(second, B)
    unlock(first, A)
    expect(take(second, B) > token, "the token must have grown")
