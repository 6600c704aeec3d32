"""How long a place stays empty."""

from __future__ import annotations

from nursery_tasks.supervisor.pauses import FIRST_SECONDS, MOST_SECONDS, STEADY_SECONDS, Pauses


def test_the_first_death_costs_no_pause_and_the_next_ones_more_and_more() -> None:
    pauses = Pauses(lambda: 1.0)
    waits = [pauses.next(0.0) for _ in range(100)]
    assert waits[:5] == [0.0, FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS, 8 * FIRST_SECONDS]
    assert waits[-1] == max(waits) == MOST_SECONDS


def test_who_has_worked_for_some_time_begins_anew() -> None:
    pauses = Pauses(lambda: 1.0)
    for _ in range(5):
        pauses.next(0.0)
    assert pauses.next(STEADY_SECONDS) == 0.0
    assert pauses.next(0.0) == FIRST_SECONDS


def test_the_jitter_is_full() -> None:
    waits = []
    for fraction in (0.0, 0.5):
        pauses = Pauses(lambda: fraction)  # noqa: B023 - called in this turn
        waits.append([pauses.next(0.0) for _ in range(3)][-1])
    assert waits == [0.0, FIRST_SECONDS]
