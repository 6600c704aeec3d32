"""What is to be done about a schedule: slots on time and missed ones, by each policy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nursery_tasks import any_of, at, cron, every
from nursery_tasks.model.delivery import Stored, Submission
from nursery_tasks.model.states import JobState
from nursery_tasks.scheduling.deciding import AT_ONCE, KNOWN, Step, decide
from nursery_tasks.scheduling.policies import policies
from nursery_tasks.scheduling.schedule import (
    WATCH_SECONDS,
    Definition,
    Schedule,
    begin,
    limits_of_run,
    pause,
    read_schedule,
    redefine,
    resume,
    run_id,
)
from nursery_tasks.scheduling.slots import ON_TIME_SECONDS
from nursery_tasks.scheduling.timing import timing

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LONG_AGO = NOON - timedelta(days=1)


def seconds(number: float) -> datetime:
    return NOON + timedelta(seconds=number)


def schedule_of(when: Any = None, *, put_at: datetime = NOON, **options: Any) -> Schedule:
    wanted = {name: options.pop(name) for name in ("overlap", "catch_up", "pause_on_failure") if name in options}
    times = timing(every(1) if when is None else when, **options)
    return begin(Definition(Submission("", "q", "task", b"{}"), times, policies(**wanted)), put_at)


def decided(
    schedule: Schedule, now: datetime, here_since: datetime = LONG_AGO, outcomes: Mapping[str, Stored | None] | None = None
) -> Step:
    return decide("beat", schedule, now, here_since, outcomes or {})


def after(schedule: Schedule, step: Step) -> Schedule:
    return Schedule(schedule.definition, step.history)


def unfinished(*ids: str) -> dict[str, Stored | None]:
    return {job_id: Stored(JobState.READY) for job_id in ids}


def test_a_slot_on_time_gets_a_run_and_the_next_one_follows() -> None:
    step = decided(schedule_of(), seconds(1))
    assert step.slots == (seconds(1),)
    assert step.history.next_slot == seconds(2)
    assert (step.history.runs, step.history.last_slot, step.history.last_job) == (1, seconds(1), "beat@2026-03-02T12:00:01Z")


def test_nothing_is_due_before_its_time() -> None:
    step = decided(schedule_of(), seconds(0.999))
    assert not step.slots
    assert step.history.next_slot == seconds(1)


@pytest.mark.parametrize("catch_up", ["one", "all", "none"])
def test_slots_that_are_a_little_late_were_not_missed(catch_up: str) -> None:
    step = decided(schedule_of(catch_up=catch_up), seconds(3.5))
    assert step.slots == (seconds(1), seconds(2), seconds(3))


@pytest.mark.parametrize(
    ("catch_up", "wanted"),
    [
        ("none", ()),
        ("one", (60,)),
        ("all", tuple(range(1, 61))),
        (10.5, tuple(range(50, 61))),
        (timedelta(seconds=0.5), (60,)),
    ],
)
def test_slots_that_nobody_was_there_for(catch_up: Any, wanted: tuple[int, ...]) -> None:
    step = decided(schedule_of(catch_up=catch_up), seconds(60.3), here_since=seconds(60.2))
    assert step.slots == tuple(map(seconds, wanted))
    assert step.history.next_slot == seconds(61)


def test_one_means_the_last_one_also_after_a_year() -> None:
    nightly = schedule_of(cron("0 2 * * *", tz="Europe/Rome"))
    step = decided(nightly, NOON + timedelta(days=365))
    assert step.slots == (datetime(2027, 3, 2, 1, tzinfo=UTC),)
    assert step.history.next_slot == datetime(2027, 3, 3, 1, tzinfo=UTC)


def test_many_missed_slots_are_run_in_several_steps() -> None:
    schedule, run = schedule_of(catch_up="all"), list[datetime]()
    while True:
        step = decided(schedule, seconds(250))
        run += step.slots
        assert len(step.slots) <= AT_ONCE
        schedule = after(schedule, step)
        if not step.slots:
            break
    assert run == [seconds(number) for number in range(1, 251)]
    assert schedule.history.runs == 250


def test_allow_starts_them_all_the_same() -> None:
    schedule = after(schedule_of(), decided(schedule_of(), seconds(1)))
    assert schedule.history.unfinished == ()
    assert decided(schedule, seconds(2)).slots == (seconds(2),)
    assert limits_of_run("beat", schedule.definition) == ()


def test_skip_gives_a_slot_no_run_while_the_last_one_has_not_ended() -> None:
    schedule = schedule_of(overlap="skip")
    schedule = after(schedule, decided(schedule, seconds(1)))
    running = unfinished(*schedule.history.unfinished)
    assert list(running) == ["beat@2026-03-02T12:00:01Z"]
    step = decided(schedule, seconds(2), outcomes=running)
    assert (step.slots, step.history.skipped, step.history.next_slot) == ((), 1, seconds(3))
    ended: dict[str, Stored | None] = dict.fromkeys(running, Stored(JobState.SUCCEEDED, b""))
    assert decided(after(schedule, step), seconds(3), outcomes=ended).slots == (seconds(3),)


def test_a_run_that_nobody_knows_any_more_has_ended() -> None:
    schedule = schedule_of(overlap="skip")
    schedule = after(schedule, decided(schedule, seconds(1)))
    assert decided(schedule, seconds(2), outcomes=dict.fromkeys(schedule.history.unfinished)).slots == (seconds(2),)


def test_queue_one_lets_one_run_wait() -> None:
    schedule = schedule_of(overlap="queue_one")
    for number, runs in ((1, 1), (2, 2), (3, 2), (4, 2)):
        schedule = after(schedule, decided(schedule, seconds(number), outcomes=unfinished(*schedule.history.unfinished)))
        assert schedule.history.runs == runs
    assert schedule.history.skipped == 2
    first, second = schedule.history.unfinished
    outcomes = unfinished(second) | {first: Stored(JobState.FAILED, b"")}
    assert decided(schedule, seconds(5), outcomes=outcomes).slots == (seconds(5),)


def test_queue_all_lets_all_wait() -> None:
    schedule = schedule_of(overlap="queue_all", catch_up="all")
    step = decided(schedule, seconds(30))
    assert len(step.slots) == 30
    assert [limit.name for limit in limits_of_run("beat", schedule.definition)] == ["concurrency:schedule:beat"]


def test_cancel_ends_what_runs_and_starts_the_last_slot_only() -> None:
    schedule = schedule_of(overlap="cancel", catch_up="all")
    schedule = after(schedule, decided(schedule, seconds(1)))
    step = decided(schedule, seconds(4), outcomes=unfinished(*schedule.history.unfinished))
    assert step.cancelled == ("beat@2026-03-02T12:00:01Z",)
    assert (step.slots, step.history.skipped) == ((seconds(4),), 2)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.DEAD])
def test_a_run_that_failed_pauses_the_schedule(state: JobState) -> None:
    schedule = schedule_of(pause_on_failure=True)
    schedule = after(schedule, decided(schedule, seconds(1)))
    [job_id] = schedule.history.unfinished
    step = decided(schedule, seconds(2), outcomes={job_id: Stored(state, b"")})
    assert step.slots == ()
    assert (step.history.paused, step.history.note) == (True, f"the run {job_id} is {state}")
    assert after(schedule, step).look_at("beat") is None


def test_the_oldest_of_many_runs_is_watched_and_when_there_are_too_many_nothing_more_is_run() -> None:
    schedule = schedule_of(pause_on_failure=True)
    for number in range(1, KNOWN + 1):
        running = unfinished(*schedule.history.unfinished)
        schedule = after(schedule, decided(schedule, seconds(number), outcomes=running))
    running = unfinished(*schedule.history.unfinished)
    assert len(running) == KNOWN
    oldest = run_id("beat", seconds(1))
    failed = decided(schedule, seconds(KNOWN + 1), outcomes={**running, oldest: Stored(JobState.FAILED, b"")})
    assert failed.history.note == f"the run {oldest} is failed"
    full = decided(schedule, seconds(KNOWN + 1), outcomes=running)
    assert (full.slots, full.history.paused, full.history.note) == ((), True, "1,000 runs have not ended, too many to watch")
    assert full.history.unfinished == tuple(running)


def test_runs_by_hand_are_none_of_those_that_a_limit_allows() -> None:
    schedule = schedule_of(limit=2)
    by_hand = Schedule(schedule.definition, replace(schedule.history, runs=5, by_hand=5))
    first = decided(by_hand, seconds(1))
    assert (first.slots, first.history.runs, first.history.next_slot) == ((seconds(1),), 6, seconds(2))
    last = decided(after(by_hand, first), seconds(2))
    assert (last.slots, last.history.runs, last.history.next_slot) == ((seconds(2),), 7, None)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELLED, JobState.EXPIRED])
def test_other_ends_do_not(state: JobState) -> None:
    schedule = schedule_of(pause_on_failure=True)
    schedule = after(schedule, decided(schedule, seconds(1)))
    outcomes: dict[str, Stored | None] = {schedule.history.unfinished[0]: Stored(state, b"")}
    assert decided(schedule, seconds(2), outcomes=outcomes).slots == (seconds(2),)


def test_runs_that_are_watched_are_looked_at_before_a_slot_that_is_far_away() -> None:
    watched, hourly = schedule_of(every(days=30), pause_on_failure=True), schedule_of(every(60), pause_on_failure=True)
    assert watched.next_look("beat", NOON) == watched.look_at("beat")
    for schedule, wanted in ((watched, NOON.timestamp() + WATCH_SECONDS), (hourly, NOON.timestamp() + 60)):
        running = Schedule(schedule.definition, replace(schedule.history, unfinished=("a",)))
        assert running.next_look("beat", NOON) == wanted
        assert pause(running, "").next_look("beat", NOON) is None
    before = decided(watched, seconds(3600))
    assert (before.slots, before.history) == ((), watched.history)


def test_a_pause_is_not_missed_time() -> None:
    paused = pause(schedule_of(catch_up="all"), "on holiday")
    assert paused.look_at("beat") is None
    assert decided(paused, seconds(100)).slots == ()
    resumed = resume(paused, seconds(100))
    assert (resumed.history.next_slot, resumed.history.note) == (seconds(101), "")


def test_to_resume_what_was_not_paused_gives_up_no_slot() -> None:
    schedule = schedule_of(catch_up="all")
    broken = Schedule(schedule.definition, replace(schedule.history, error="no worker knows the task"))
    resumed = resume(broken, seconds(100))
    assert (resumed.history.next_slot, resumed.history.error) == (schedule.history.next_slot, "")


def test_a_change_of_the_times_begins_anew_and_one_of_the_job_does_not() -> None:
    schedule = schedule_of(every(hours=1), catch_up="all")
    definition = schedule.definition
    other_job = redefine(schedule, replace(definition, job=Submission("", "q", "other", b"{}")), seconds(7200))
    assert other_job.history.next_slot == NOON + timedelta(hours=1)
    other_times = redefine(schedule, replace(definition, timing=timing(every(hours=2))), seconds(7200))
    assert other_times.history.next_slot == NOON + timedelta(hours=4)


@pytest.mark.parametrize("changed", [{"jitter": 0}, {"jitter": 0.9}, {"limit": 7}, {"end": NOON + timedelta(days=9)}])
def test_a_change_of_the_times_loses_no_slot_that_has_come_and_that_both_have(changed: dict[str, Any]) -> None:
    schedule = schedule_of(jitter=0.5)
    now = seconds(1) + timedelta(milliseconds=1)
    new = redefine(schedule, replace(schedule.definition, timing=timing(every(1), **changed)), now)
    assert new.history.next_slot == seconds(1)
    early = redefine(schedule, new.definition, seconds(1) - timedelta(milliseconds=1))
    assert early.history.next_slot == seconds(1)


def test_a_limit_of_runs_ends_it() -> None:
    schedule = schedule_of(limit=3, catch_up="all")
    step = decided(schedule, seconds(10))
    assert step.slots == (seconds(1), seconds(2), seconds(3))
    assert step.history.next_slot is None
    assert decided(after(schedule, step), seconds(20)).slots == ()


def test_slots_without_a_run_do_not_count_for_the_limit() -> None:
    schedule = schedule_of(limit=2, overlap="skip")
    schedule = after(schedule, decided(schedule, seconds(1)))
    schedule = after(schedule, decided(schedule, seconds(2), outcomes=unfinished(*schedule.history.unfinished)))
    step = decided(schedule, seconds(3))
    assert (step.slots, step.history.next_slot) == ((seconds(3),), None)


def test_one_moment_is_run_once_however_late() -> None:
    schedule = schedule_of(at(seconds(60)))
    step = decided(schedule, NOON + timedelta(days=30), here_since=NOON + timedelta(days=30))
    assert (step.slots, step.history.next_slot) == ((seconds(60),), None)


def test_one_moment_that_has_passed_before_it_was_put_is_over() -> None:
    assert schedule_of(at(seconds(-60))).look_at("beat") is None


def test_the_id_of_a_run_is_made_of_name_and_slot() -> None:
    assert run_id("nightly", NOON) == "nightly@2026-03-02T12:00:00Z"
    assert run_id("nightly", seconds(0.25)) == "nightly@2026-03-02T12:00:00.250000Z"


def test_it_travels_as_bytes() -> None:
    schedule = schedule_of(
        any_of(cron("0 9 * * *", tz="Asia/Kolkata"), at(seconds(60))), jitter=3, limit=7, overlap="cancel", catch_up=60
    )
    schedule = after(schedule, decided(schedule, seconds(100)))
    assert read_schedule(schedule.to_body()) == schedule


@given(
    jitter=st.floats(0, 3),
    looks=st.lists(st.floats(0.01, 4.0), min_size=1, max_size=30),
    every_seconds=st.sampled_from([0.25, 0.5, 1.0, 1.7]),
)
def test_whoever_looks_often_enough_runs_each_slot_once_and_none_before_it_is_due(
    jitter: float, looks: list[float], every_seconds: float
) -> None:
    schedule = schedule_of(every(every_seconds), jitter=jitter, put_at=NOON)
    times, now, run = schedule.definition.timing, NOON, list[datetime]()
    for pause_seconds in looks:
        assert pause_seconds < ON_TIME_SECONDS
        now += timedelta(seconds=pause_seconds)
        step = decided(schedule, now)
        assert all(times.due_at("beat", slot) <= now for slot in step.slots)
        run += step.slots
        schedule = after(schedule, step)
    expected, slot = list[datetime](), times.next_after(NOON)
    while slot is not None and times.due_at("beat", slot) <= now:
        expected.append(slot)
        slot = times.next_after(slot)
    assert run == expected


@given(jitter=st.floats(0, 100), missed=st.floats(6, 100_000), here=st.floats(0, 1))
def test_one_runs_the_last_of_those_that_were_missed(jitter: float, missed: float, here: float) -> None:
    schedule = schedule_of(every(7), jitter=jitter)
    times, now = schedule.definition.timing, seconds(missed)
    step = decided(schedule, now, here_since=now - timedelta(seconds=here))
    due, slot = list[datetime](), times.next_after(NOON)
    while slot is not None and times.due_at("beat", slot) <= now:
        due.append(slot)
        slot = times.next_after(slot)
    assert list(step.slots) == due[-1:] or list(step.slots) == due[-2:]
    assert step.history.next_slot == slot
