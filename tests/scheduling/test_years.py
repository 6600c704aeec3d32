"""Policies over a year of virtual time, through the whole worker."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest

from nursery_tasks import App, JobState, ScheduleState, cron, current_job, every
from nursery_tasks.testing import Lab, open_lab, run_lab
from nursery_tasks.testing.lab import LEASE_SECONDS, PACE

DAY = 86_400
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
NOON = {"anchor": "12:00"}


class Days:
    """A daily schedule whose runs take some hours, and what has come of them."""

    def __init__(self, hours: float, *, fails_on: int = 0, **options: Any) -> None:
        self.app = app = App("memory:")
        self.began: list[int] = []  # days of the year, counted from 1
        self.ended: list[int] = []
        self.at_once = self.most_at_once = 0

        @app.task(schedule=every(days=1, anchor="12:00"), **options)
        async def daily() -> None:
            slot = current_job().slot
            assert slot is not None
            day = (slot - BEGIN).days + 1
            self.began.append(day)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await anyio.sleep(hours * 3600)
                assert day != fails_on, "it failed"
                self.ended.append(day)
            finally:
                self.at_once -= 1

    def run(self, days: float = 364.9) -> None:
        async def main() -> None:
            async with open_lab(self.app):
                await anyio.sleep(days * DAY)
                self.info = await self.app.schedules.get("daily")

        run_lab(main)


def test_allow_starts_each_run_at_its_slot() -> None:
    days = Days(36)
    days.run()
    assert days.began == list(range(1, 366))
    assert days.most_at_once == 2


def test_skip_lets_a_slot_pass_while_the_last_run_goes_on() -> None:
    days = Days(36, overlap="skip")
    days.run()
    assert days.began == list(range(1, 366, 2))
    assert days.most_at_once == 1
    assert days.info is not None
    assert (days.info.runs, days.info.skipped) == (183, 182)


def test_queue_one_lets_one_wait() -> None:
    days = Days(36, overlap="queue_one")
    days.run()
    assert days.most_at_once == 1
    assert len(days.began) == 243  # one every 36 hours, without a pause
    assert days.info is not None
    assert days.info.skipped == 365 - days.info.runs
    assert days.info.runs - len(days.began) == 1


def test_queue_all_lets_all_wait() -> None:
    days = Days(36, overlap="queue_all")
    days.run()
    assert days.began == list(range(1, 244))
    assert days.most_at_once == 1
    assert days.info is not None
    assert (days.info.runs, days.info.skipped) == (365, 0)


def test_cancel_ends_the_run_before() -> None:
    days = Days(36, overlap="cancel")
    days.run()
    assert days.began == list(range(1, 366))
    assert days.ended == []
    assert days.most_at_once == 1


def test_a_failure_pauses_until_somebody_resumes() -> None:
    days = Days(1, fails_on=100, pause_on_failure=True)
    days.run(110)
    assert days.began == list(range(1, 101))
    assert days.info is not None
    assert days.info.state is ScheduleState.PAUSED
    assert days.info.note == "the run daily@2030-04-10T12:00:00Z is failed"
    assert days.info.last_state is JobState.FAILED


@pytest.mark.parametrize(
    ("catch_up", "wanted"), [("none", []), ("one", [20]), ("all", list(range(11, 21))), (timedelta(days=3), [18, 19, 20])]
)
def test_ten_days_without_a_worker(catch_up: Any, wanted: list[int]) -> None:
    days = Days(1, catch_up=catch_up)

    async def work(lab: Lab, seconds: float) -> None:
        async with lab.app.open_worker(threads=False, lease=LEASE_SECONDS, pace=PACE):
            await anyio.sleep(seconds)

    async def main() -> None:
        async with open_lab(days.app, workers=0) as lab:
            await work(lab, 10 * DAY)
            await anyio.sleep(10 * DAY)
            await work(lab, 10 * DAY)

    run_lab(main)
    assert days.began == [*range(1, 11), *wanted, *range(21, 31)]


def test_a_wall_clock_over_a_year_twice_the_same() -> None:
    def once() -> tuple[list[datetime | None], list[tuple[str, str]]]:
        app, ran = App("memory:"), list[datetime | None]()

        @app.task(schedule=cron("0 9 * * mon-fri", tz="Europe/Rome"))
        async def report() -> None:
            ran.append(current_job().slot)

        async def main() -> list[tuple[str, str]]:
            async with open_lab(app) as lab:
                await anyio.sleep(365 * DAY)
                return [(event.job_id, event.kind) for event in lab.events]

        return ran, run_lab(main)

    first, second = once(), once()
    assert first == second
    assert len(first[0]) == 261
    rome, dates = ZoneInfo("Europe/Rome"), [BEGIN.date() + timedelta(days=day) for day in range(365)]
    assert first[0] == [datetime(day.year, day.month, day.day, 9, tzinfo=rome) for day in dates if day.weekday() < 5]


def test_several_workers_run_each_slot_once() -> None:
    app, ran = App("memory:"), Counter[datetime | None]()

    @app.task(schedule=every(minutes=10), jitter=60)
    async def often() -> None:
        ran[current_job().slot] += 1

    async def main() -> None:
        async with open_lab(app, workers=3):
            await anyio.sleep(10 * DAY)

    run_lab(main)
    assert len(ran) == 10 * 144 - 1
    assert set(ran.values()) == {1}


def test_pause_resume_run_now_next_backfill_and_remove() -> None:
    app, slots = App("memory:"), list[datetime | None]()

    @app.task
    async def report(which: str) -> str:
        slots.append(current_job().slot)
        return which

    async def main() -> None:
        async with open_lab(app):
            await app.schedules.put("nightly", report.job("all"), cron("0 2 * * *"), limit=100)
            assert await app.schedules.next("nightly", 2) == [BEGIN + timedelta(hours=2), BEGIN + timedelta(hours=26)]
            await anyio.sleep(3 * DAY)
            paused = await app.schedules.pause("nightly", "on holiday")
            assert (paused.state, paused.note, paused.next_run) == (ScheduleState.PAUSED, "on holiday", None)
            assert await app.schedules.next("nightly") == []
            await anyio.sleep(10 * DAY)
            assert await (await app.schedules.run_now("nightly")).result() == "all"
            by_hand = await app.schedules.get("nightly")
            assert by_hand is not None
            assert by_hand.runs == 4
            resumed = await app.schedules.resume("nightly")
            assert resumed.next_slot == BEGIN + timedelta(days=13, hours=2)
            assert len(await app.schedules.next("nightly", 200)) == 100 - 3
            await anyio.sleep(1 * DAY)
            days = [BEGIN + timedelta(days=day, hours=2) for day in range(14)]
            assert slots == [*days[:3], None, days[13]]
            since, until = BEGIN, BEGIN + timedelta(days=5)
            created = await app.schedules.backfill("nightly", since, until)
            assert created == ["nightly@2030-01-01T02:00:00Z", *(f"nightly@2030-01-0{day}T02:00:00Z" for day in (2, 3, 4, 5))]
            assert await app.schedules.backfill("nightly", since, until) == []
            assert await app.schedules.remove("nightly")
            assert not await app.schedules.remove("nightly")
            assert await app.schedules.list() == []

    run_lab(main)
