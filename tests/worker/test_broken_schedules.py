"""Schedules that cannot be run: each says why, and holds up no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Never

import anyio
import pytest
from support import DEADLINE, until, working

from nursery_tasks import App, ScheduleState, cron, current_job, every, sun
from nursery_tasks.brokers.needed import schedules_of
from nursery_tasks.errors import BrokerRefused, MissingPackage
from nursery_tasks.model.schedule import ScheduleChange
from nursery_tasks.scheduling import Sun
from nursery_tasks.testing import FaultyBroker

OFTEN = timedelta(milliseconds=100)
OF_ANOTHER_VERSION = b"\x83\xa3new\xc3"


class Beats:
    """The slots that the runs of `beat` have seen."""

    def __init__(self, app: App) -> None:
        self.slots: list[datetime] = []

        async def beat() -> None:
            slot = current_job().slot
            assert slot is not None
            self.slots.append(slot)

        self.task = app.task(beat, name="beat")

    async def wait_for_more(self, count: int) -> None:
        wanted = len(self.slots) + count
        await until(lambda: len(self.slots) >= wanted)

    def are_without_gaps(self) -> bool:
        return all(later - earlier == OFTEN for earlier, later in pairwise(sorted(self.slots)))


async def until_true(look: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that has no event, by asking the broker."""
    with anyio.fail_after(DEADLINE):
        while not await look():  # noqa: ASYNC110 - what is looked at has no event
            await anyio.sleep(0.01)


async def fire(app: App, change: ScheduleChange) -> None:
    gateway = app.connection.gateway
    assert await gateway.call(schedules_of(gateway.broker).fire, change) is not None


async def test_many_that_cannot_be_read_hold_up_no_other(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.worker.ticker.LOOKS", 3)
    beats = Beats(memory_app)
    async with working(memory_app):
        for number in range(20):
            due = datetime.now(UTC).timestamp() - 1
            await fire(memory_app, ScheduleChange(f"strange-{number}", 0, due, OF_ANOTHER_VERSION))
        await memory_app.schedules.put("beat", beats.task.job(), every(OFTEN))
        await beats.wait_for_more(2)
        looks = faulty.calls["look_at_schedules"]
        await beats.wait_for_more(10)
        assert faulty.calls["look_at_schedules"] - looks < 40
    assert beats.are_without_gaps()


async def test_one_that_nobody_can_read_is_put_off_and_its_body_stays(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.firing.UNKNOWN_SECONDS", 0.05)
    async with working(app):
        before = datetime.now(UTC).timestamp()
        await fire(app, ScheduleChange("strange", 0, before, OF_ANOTHER_VERSION))
        gateway = app.connection.gateway
        part = schedules_of(gateway.broker)

        async def is_put_off() -> bool:
            [row] = await gateway.call(part.find_schedules, ["strange"])
            return row is not None and row.body == OF_ANOTHER_VERSION and (row.look_at or 0.0) > before + 20

        await until_true(is_put_off)


async def test_what_an_older_worker_has_put_off_is_looked_at_when_a_worker_declares_it(app: App) -> None:
    beats = Beats(app)
    app.schedule("beat", beats.task.job(), every(OFTEN))
    async with working(app, schedules=False):
        async with app.open_worker(jobs=False):
            await beats.wait_for_more(1)
        gateway = app.connection.gateway
        [row] = await gateway.call(schedules_of(gateway.broker).find_schedules, ["beat"])
        assert row is not None
        later = datetime.now(UTC).timestamp() + 3600
        await fire(app, ScheduleChange("beat", row.version, later, row.body))
        async with app.open_worker(jobs=False):
            await beats.wait_for_more(2)


async def test_one_whose_jobs_the_broker_refuses_is_broken_and_the_others_go_on(memory_app: App, faulty: FaultyBroker) -> None:
    beats = Beats(memory_app)

    def refuse(args: tuple[ScheduleChange, ...]) -> None:
        if args[0].name == "refused" and args[0].jobs:
            raise BrokerRefused("a broker", "its id is too long")

    faulty.before("fire", refuse)
    async with working(memory_app):
        await memory_app.schedules.put("refused", beats.task.job(), every(OFTEN))
        await memory_app.schedules.put("beat", beats.task.job(), every(OFTEN))
        await beats.wait_for_more(10)
        info = await memory_app.schedules.get("refused")
    assert info is not None
    assert (info.state, info.runs, "too long" in info.error) == (ScheduleState.BROKEN, 0, True)
    assert beats.are_without_gaps()


async def test_a_declared_one_that_the_broker_refuses_holds_up_no_other(memory_app: App, faulty: FaultyBroker) -> None:
    beats = Beats(memory_app)

    def refuse(args: tuple[list[ScheduleChange], ...]) -> None:
        if "refused" in [change.name for change in args[0]]:
            raise BrokerRefused("a broker", "it is too large")

    faulty.before("change_schedules", refuse)
    memory_app.schedule("refused", beats.task.job(), every(OFTEN))
    memory_app.schedule("beat", beats.task.job(), every(OFTEN))
    async with working(memory_app):
        await beats.wait_for_more(3)
        assert [info.name for info in await memory_app.schedules.list()] == ["beat"]


async def test_a_spec_whose_package_is_not_here_ends_no_worker_and_hides_no_other(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = Beats(memory_app)

    def next_after(self: Sun, moment: datetime) -> Never:
        raise MissingPackage("sun()", "astral", "solar")

    async with working(memory_app):
        await memory_app.schedules.put("sunset", beats.task.job(), sun("sunset", latitude=41.9, longitude=12.5), jitter=30)
        [row] = schedules_of(faulty).find_schedules(["sunset"])
        assert row is not None
        monkeypatch.setattr(Sun, "next_after", next_after)
        await fire(memory_app, ScheduleChange("sunset", row.version, datetime.now(UTC).timestamp(), row.body))
        await memory_app.schedules.put("beat", beats.task.job(), every(OFTEN))
        await beats.wait_for_more(3)
        [_, info] = await memory_app.schedules.list()
    assert (info.name, info.state) == ("sunset", ScheduleState.BROKEN)
    assert "astral" in info.error


async def test_a_failed_run_pauses_also_what_is_due_long_after_its_outcome_is_forgotten(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.scheduling.schedule.WATCH_SECONDS", 0.05)

    @app.task(retry=None)
    async def fails() -> None:
        raise LookupError("as the test wants it")

    async with working(app):
        await app.schedules.put("rare", fails.job(), cron("0 0 1 1 *"), pause_on_failure=True)
        job = await app.schedules.run_now("rare")

        async def is_paused() -> bool:
            info = await app.schedules.get("rare")
            return info is not None and info.state is ScheduleState.PAUSED and job.id in info.note

        await until_true(is_paused)


async def test_putting_the_same_again_and_again_is_in_nobodys_way(memory_app: App, faulty: FaultyBroker) -> None:
    beats = Beats(memory_app)
    async with memory_app:
        first = await memory_app.schedules.put("beat", beats.task.job(), every(3600))
        writes = faulty.calls["fire"]
        assert await memory_app.schedules.put("beat", beats.task.job(), every(3600)) == first
        assert faulty.calls["fire"] == writes


async def test_notes_are_short_texts(memory_app: App) -> None:
    beats = Beats(memory_app)
    async with memory_app:
        await memory_app.schedules.put("beat", beats.task.job(), every(3600))
        for note in ("\ud800", "n" * 1001):
            with pytest.raises(ValueError, match="a text of at most 1,000 characters"):
                await memory_app.schedules.pause("beat", note)
        info = await memory_app.schedules.pause("beat", "why\n👩‍🚀")
    assert info.note == "why\n👩‍🚀"
