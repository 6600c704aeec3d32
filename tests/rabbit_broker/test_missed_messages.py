"""When jobs are looked for in the store although no message has come: each moment is set by hand."""

from __future__ import annotations

from functools import partial

import pytest

from nursery_tasks.brokers.amqp.stored import missed_messages
from nursery_tasks.brokers.amqp.stored.missed_messages import LOOK_SECONDS, MissedMessageCheck


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(missed_messages, "time", clock)
    return clock


def looks(check: MissedMessageCheck, clock: Clock, depths: list[int]) -> list[bool]:
    """Ask once for each depth, and go on to the next look after it."""
    answers = []
    for depth in depths:
        answers.append(check.should_claim("q", partial(int, depth)))
        clock.now += LOOK_SECONDS
    return answers


def test_two_empty_looks_make_a_claim(clock: Clock) -> None:
    assert looks(MissedMessageCheck(), clock, [0, 0, 0]) == [False, False, True]  # the first one only begins to count


def test_a_server_that_holds_messages_and_delivers_none_makes_a_claim(clock: Clock) -> None:
    check = MissedMessageCheck()
    check.message_came("q")
    assert looks(check, clock, [7000] * 4) == [False, False, True, True]
    check.message_came("q")
    assert looks(check, clock, [7000] * 3) == [False, False, True]


def test_a_server_that_delivers_is_left_to_deliver(clock: Clock) -> None:
    check = MissedMessageCheck()
    for _ in range(10):
        check.message_came("q")
        assert not check.should_claim("q", lambda: 7000)
        clock.now += LOOK_SECONDS


def test_a_claim_that_was_full_makes_the_next_one_at_once(clock: Clock) -> None:
    check = MissedMessageCheck()
    looks(check, clock, [7000] * 3)
    check.note_claim("q", full=True)
    clock.now -= LOOK_SECONDS  # the next look is not due
    assert check.should_claim("q", lambda: 7000)
    check.note_claim("q", full=False)
    assert not check.should_claim("q", lambda: 7000)
