"""Schedules in a file: who takes a lock, what is on the disk, and what a full disk and other writers do to a change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker, schedules, submitting, sweeping
from nursery_tasks.errors import BrokerFull, BrokerUnavailable
from nursery_tasks.model.delivery import Receipt
from nursery_tasks.model.schedule import ScheduleChange
from nursery_tasks.testing.contract import ManualClock
from nursery_tasks.testing.contract.schedules import fire, fire_stale, put, row_of
from nursery_tasks.testing.contract.steps import claim, job, submit

OpenBroker = Callable[..., SqliteBroker]


def test_only_a_change_that_may_be_made_waits_for_others_who_write(
    open_broker: OpenBroker, clock: ManualClock, path: Path
) -> None:
    broker = open_broker(clock=clock, busy_seconds=0.05)
    first = put(broker, "a", clock(), b"first")
    second = put(broker, "a", clock(), b"second", first)
    broker.sweep(10)  # which stores the clock, now and then
    theirs = apsw.Connection(str(path))
    theirs.execute("BEGIN IMMEDIATE")
    assert [row.name for row in broker.schedules.look_at_schedules(10).rows] == ["a"]
    assert broker.sweep(10).next_schedule_seconds == 0
    assert row_of(broker, "a").version == second
    fire_stale(broker, "a", first, job("late"))
    fire_stale(broker, "a", 0, job("late"))
    with pytest.raises(BrokerUnavailable, match="other processes kept the file locked for too long"):
        broker.schedules.fire(ScheduleChange("a", second, None, b"third", (job("now"),)))
    theirs.close()
    assert fire(broker, "a", second, None, b"third", job("now")) == [Receipt("now", True)]


def test_a_change_is_on_the_disk_when_the_call_returns(broker: SqliteBroker) -> None:
    submit(broker, "a")
    claim(broker)
    assert not broker._database._synced
    put(broker, "a")
    assert broker._database._synced


def test_a_change_that_others_overtake_while_its_jobs_are_stored_is_undone(
    open_broker: OpenBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, other = open_broker(), open_broker()
    submit(broker, "known")  # so that the jobs are stored one by one, in a transaction that is begun again for it
    version = put(broker, "a")
    begin_again = submitting.begin_again

    def overtake(cursor: apsw.Cursor) -> None:
        cursor.execute("ROLLBACK")
        monkeypatch.undo()
        put(other, "a", None, b"other", version)
        cursor.execute("BEGIN IMMEDIATE")

    monkeypatch.setattr(submitting, "begin_again", overtake)
    fire_stale(broker, "a", version, job("known"), job("new"))
    assert submitting.begin_again is begin_again
    assert row_of(broker, "a").body == b"other"
    assert broker.outcomes(["new"]) == [None]


def test_on_a_full_disk_nothing_is_fired(broker: SqliteBroker) -> None:
    version = put(broker, "a", None, b"first")
    pages = broker._database._writer.pragma("page_count")
    broker._database._writer.pragma("max_page_count", pages)
    with pytest.raises(BrokerFull, match="the disk is full"):
        broker.schedules.fire(ScheduleChange("a", version, None, b"second", (job("big", payload=bytes(100_000)),)))
    assert row_of(broker, "a").body == b"first"
    assert broker.outcomes(["big"]) == [None]
    assert broker._database.reserve.is_there  # it is for the ends of jobs


def test_no_look_walks_through_all_schedules(broker: SqliteBroker, path: Path) -> None:
    connection = apsw.Connection(str(path))
    for text, values, index in (
        (schedules._LOOK, (0, 1), "SEARCH schedule USING INDEX schedule_at"),
        (sweeping._NEXT, (), "SEARCH schedule USING COVERING INDEX schedule_at"),
        (schedules._LIST, ("", 1), "SEARCH schedule USING INDEX"),
        (schedules._VERSION, ("",), "SEARCH schedule USING INDEX"),
    ):
        plan = [str(row[3]) for row in connection.execute(text, values, explain=2)]
        assert any(step.startswith(index) for step in plan), plan
        assert not [step for step in plan if step.startswith("SCAN schedule")], plan
    connection.close()
