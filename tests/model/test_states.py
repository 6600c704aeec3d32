"""The table of moves: what the documentation draws and every broker makes."""

from __future__ import annotations

import pytest

from nursery_tasks.model.states import (
    ENDED,
    EXCEPTION_STATES,
    FULL_RUN_STATES,
    HELD,
    MOVES,
    READY_STATES,
    UNREADY_STATES,
    WAITING,
    JobState,
    is_legal,
    status_elsewhere,
    status_string,
)


def test_every_state_belongs_to_one_phase() -> None:
    assert sorted([*WAITING, *HELD, *ENDED]) == sorted(JobState)


def test_only_ended_states_say_that_they_are_ended() -> None:
    assert {state for state in JobState if state.ended} == ENDED


def test_every_state_can_be_reached_from_the_first_one() -> None:
    reached = {JobState.SCHEDULED}
    for _ in JobState:
        reached |= {
            after for table in MOVES.values() for before, afters in table.items() if before in reached for after in afters
        }
    assert reached == set(JobState)


def test_a_success_is_final() -> None:
    assert not any(JobState.SUCCEEDED in table for table in MOVES.values())


@pytest.mark.parametrize("state", sorted(ENDED - {JobState.SUCCEEDED}))
def test_the_only_way_back_from_an_end_is_a_person_who_requeues(state: JobState) -> None:
    assert [move for move, table in MOVES.items() if state in table] == ["requeue"]


def test_only_a_claim_lets_a_worker_hold_a_job() -> None:
    assert {move for move, table in MOVES.items() if JobState.CLAIMED in set().union(*table.values())} == {"claim"}


def test_only_a_started_job_can_die_with_its_worker() -> None:
    assert is_legal("lease over", JobState.STARTED, JobState.DEAD)
    assert not is_legal("lease over", JobState.CLAIMED, JobState.DEAD)


def test_a_job_may_end_before_it_was_marked_as_started() -> None:
    assert all(is_legal("finish", JobState.CLAIMED, end) for end in ENDED)


def test_a_waiting_job_cannot_end_as_if_it_had_run() -> None:
    assert not is_legal("finish", JobState.READY, JobState.SUCCEEDED)


def test_the_names_on_the_wire_are_the_lower_case_words() -> None:
    assert [str(state) for state in JobState] == [state.name.lower() for state in JobState]


def test_numbers_and_names_of_pulsar_queue_are_kept() -> None:
    names = ["SUCCESS", "FAILURE", "REVOKED", "RETRY", "STARTED", "QUEUED"]
    assert [status_string(number) for number in range(1, 7)] == names
    assert status_string(243134) == "UNKNOWN"


def test_its_sets_say_of_each_state_what_ours_say() -> None:
    for state in JobState:
        number = status_elsewhere(state).number
        assert (number in READY_STATES) == state.ended == (number not in UNREADY_STATES)
        assert (number in EXCEPTION_STATES) == (state.ended and state is not JobState.SUCCEEDED)
    assert READY_STATES - {status_elsewhere(JobState.CANCELLED).number} == FULL_RUN_STATES


@pytest.mark.parametrize("state", sorted(WAITING))
def test_a_job_that_waits_for_its_next_attempt_is_a_retry_elsewhere(state: JobState) -> None:
    assert status_elsewhere(state, attempts=1) == ("RETRY", "RETRY", 4)
    assert status_elsewhere(state).celery == "PENDING"
