"""Schedules through a whole worker, on real brokers and in real time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import anyio
import pytest
from support import DEADLINE, admin, until, working

from nursery_tasks import App, JobState, ScheduleState, at, cron, current_job, every
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.errors import InvalidOptions, NotSupported, PayloadTooLarge, UnknownSchedule
from nursery_tasks.model.listing import WorkerRecord
from nursery_tasks.model.schedule import MAX_SCHEDULE_BYTES, ScheduleChange
from nursery_tasks.scheduling.deciding import KNOWN
from nursery_tasks.testing import FaultyBroker
from nursery_tasks.worker.ticker import PUT_AT_ONCE

OFTEN = timedelta(milliseconds=100)


class Runs:
    """What a task's runs have seen."""

    def __init__(self, app: App, name: str = "beat") -> None:
        self.slots: list[datetime] = []
        self.by_hand: list[str] = []

        async def beat() -> None:
            job = current_job()
            if job.slot is None:
                self.by_hand.append(job.id)
            else:
                assert job.id == f"{name}@{job.slot.isoformat().removesuffix('+00:00')}Z"
                self.slots.append(job.slot)

        self.task = app.task(beat, name=name)

    async def wait(self, count: int) -> None:
        await until(lambda: len(self.slots) >= count)


async def until_true(look: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that has no event, by asking the broker."""
    with anyio.fail_after(DEADLINE):
        while not await look():  # noqa: ASYNC110 - what is looked at has no event
            await anyio.sleep(0.01)


def without_gaps(slots: list[datetime]) -> bool:
    slots = sorted(slots)
    return all(later - earlier == OFTEN for earlier, later in pairwise(slots))


async def test_each_slot_of_a_declared_schedule_runs_once(app: App) -> None:
    runs = Runs(app)
    app.schedule("beat", runs.task.job(), every(OFTEN))
    async with working(app):
        await runs.wait(5)
        info = await app.schedules.get("beat")
    assert without_gaps(runs.slots)
    assert info is not None
    assert (info.state, info.declared, info.runs >= 5) == (ScheduleState.ACTIVE, True, True)
    assert info.last_job == f"beat@{info.last_slot.isoformat().removesuffix('+00:00')}Z" if info.last_slot else False


async def test_thousands_are_put_in_few_calls_and_what_is_due_does_not_wait_for_all(
    memory_app: App, faulty: FaultyBroker
) -> None:
    runs, calls, put_when_first_run = Runs(memory_app, "b"), list[int](), list[int]()
    faulty.before("change_schedules", lambda args: calls.append(len(args[0])))
    faulty.before("fire", lambda args: put_when_first_run.append(sum(calls)))
    moment = datetime.now(UTC) + timedelta(milliseconds=500)
    async with memory_app:
        await memory_app.schedules.put("b", runs.task.job(), at(moment))
    await until(lambda: datetime.now(UTC) > moment)
    put_when_first_run.clear()
    for number in range(1_000):
        memory_app.schedule(f"many-{number}", runs.task.job(), cron("0 2 29 2 *"))
    async with working(memory_app):
        await until(lambda: sum(calls) == 1_000)
        await runs.wait(1)
        assert len(await memory_app.schedules.list()) == 1_001
    assert max(calls) == PUT_AT_ONCE
    assert put_when_first_run == [PUT_AT_ONCE]


async def test_a_decorator_declares_one_and_a_def_sees_its_slot(app: App) -> None:
    slots: list[datetime | None] = []

    @app.task(schedule=every(OFTEN))
    def poll() -> None:
        slots.append(current_job().slot)

    async with working(app):
        await until(lambda: len(slots) >= 2)
    assert None not in slots


async def test_one_that_is_put_while_workers_run_begins_at_its_next_slot(app: App) -> None:
    runs = Runs(app)
    async with working(app):
        before = datetime.now(UTC)
        info = await app.schedules.put("beat", runs.task.job(), every(OFTEN))
        assert info.next_slot is not None
        assert info.next_slot > before - OFTEN
        await runs.wait(2)
        assert runs.slots[0] == info.next_slot
        assert await app.schedules.remove("beat")
        assert await app.schedules.get("beat") is None


async def test_two_workers_run_each_slot_once(app: App) -> None:
    runs = Runs(app)
    app.schedule("beat", runs.task.job(), every(OFTEN))
    async with working(app), app.open_worker():
        await runs.wait(10)
    assert without_gaps(runs.slots)


async def test_what_is_broken_says_so_and_the_others_go_on(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.firing.UNKNOWN_SECONDS", 0.05)
    runs = Runs(app)

    @app.task
    async def takes_one(number: int) -> None:
        raise AssertionError("its arguments do not fit")

    found: list[str] = []
    wrong = takes_one.job(1)
    wrong.args = ["no number"]  # as when the function has changed since it was put
    async with working(app):
        await app.schedules.put("nobody", app.job("unknown_here"), every(OFTEN))
        await app.schedules.put("unfit", wrong, every(OFTEN))
        await app.schedules.put("beat", runs.task.job(), every(OFTEN))
        await runs.wait(3)

        async def both_say_so() -> bool:
            found[:] = [info.error for info in await app.schedules.list() if info.state is ScheduleState.BROKEN]
            return len(found) == 2

        await until_true(both_say_so)
    assert found[0] == "no worker knows the task 'unknown_here'"
    assert "argument 'number'" in found[1]
    assert without_gaps(runs.slots)


async def test_a_worker_that_knows_the_task_mends_what_nobody_knew(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.firing.UNKNOWN_SECONDS", 0.05)
    monkeypatch.setattr("nursery_tasks.worker.firing.BROKEN_SECONDS", 0.2)
    async with working(app):
        await app.schedules.put("beat", app.job("beat"), every(OFTEN))

        async def is_broken() -> bool:
            info = await app.schedules.get("beat")
            return info is not None and info.state is ScheduleState.BROKEN

        await until_true(is_broken)
        runs = Runs(app)
        async with app.open_worker():
            await runs.wait(2)
            assert not await is_broken()


async def test_a_broker_without_schedules_is_refused_where_there_are_any(memory_app: App) -> None:
    runs, broker = Runs(memory_app), MemoryBroker()
    broker.schedules = None
    with memory_app.use_broker(broker):
        async with working(memory_app):
            await runs.task.run()
            with pytest.raises(NotSupported, match="has no schedules"):
                await memory_app.schedules.list()
        memory_app.schedule("beat", runs.task.job(), every(1))
        async with memory_app:
            with pytest.raises(NotSupported, match="has no schedules"):
                async with memory_app.open_worker():
                    raise AssertionError("not opened")
            async with memory_app.open_worker(schedules=False):
                await runs.task.run()


@pytest.mark.parametrize("effect", [False, True], ids=["not made", "answer lost"])
async def test_an_outage_loses_no_slot_and_doubles_none(
    memory_app: App, faulty: FaultyBroker, effect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.worker.backoff.FIRST_SECONDS", 0.005)
    runs = Runs(memory_app)
    memory_app.schedule("beat", runs.task.job(), every(OFTEN))
    async with working(memory_app, fraction=lambda: 0.0):
        await runs.wait(1)
        faulty.fail("fire", times=5, effect=effect)
        faulty.fail("look_at_schedules", times=3)
        await runs.wait(12)
    assert without_gaps(runs.slots)
    assert len(set(runs.slots)) == len(runs.slots)


async def test_a_worker_may_leave_schedules_to_others_and_one_may_take_no_jobs(app: App) -> None:
    runs = Runs(app)
    app.schedule("beat", runs.task.job(), every(OFTEN))
    async with working(app, schedules=False):
        assert await app.schedules.list() == []
        async with app.open_worker(jobs=False) as ticker:
            assert ticker.settings.queues == ()
            await runs.wait(3)
            assert ticker.processed == 0


async def test_a_changed_definition_keeps_a_pause_and_the_counts(app: App) -> None:
    runs = Runs(app)
    app.schedule("beat", runs.task.job(), every(OFTEN))
    async with working(app):
        await runs.wait(2)
        await app.schedules.pause("beat", "for now")
        counted = len(runs.slots)
        app.schedule("beat", runs.task.job(), cron("0 2 * * *"), overlap="skip")

        async def info_is_new() -> bool:
            info = await app.schedules.get("beat")
            return info is not None and info.overlap == "skip"

        async with app.open_worker():  # of a newer version of the program
            await until_true(info_is_new)
            info = await app.schedules.get("beat")
    assert info is not None
    assert (info.state, info.note) == (ScheduleState.PAUSED, "for now")
    assert info.runs >= counted


async def test_run_by_hand_waits_where_runs_may_not_overlap(app: App) -> None:
    inside, most, go_on = 0, 0, anyio.Event()

    @app.task
    async def slow() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await go_on.wait()
        inside -= 1

    async with working(app):
        await app.schedules.put("slow", slow.job(), cron("0 2 * * *"), overlap="queue_all")
        first = await app.schedules.run_now("slow")
        await until(lambda: inside == 1)
        second = await app.schedules.run_now("slow")
        assert await second.status() is JobState.READY
        go_on.set()
        await first
        await second
        info = await app.schedules.get("slow")
    assert most == 1
    assert info is not None
    assert (info.runs, info.last_slot, info.last_job) == (2, None, second.id)


async def test_a_moment_that_came_while_nobody_was_there_is_run_once(app: App) -> None:
    runs = Runs(app)
    async with working(app, schedules=False):
        moment = datetime.now(UTC) + timedelta(milliseconds=50)
        await app.schedules.put("beat", runs.task.job(), at(moment))

        async def has_come() -> bool:
            return await app.schedules.next("beat") < [datetime.now(UTC)]

        await until_true(has_come)
        async with app.open_worker():
            await runs.wait(1)
            info = await app.schedules.get("beat")
    assert runs.slots == [moment]
    assert info is not None
    assert (info.state, info.runs) == (ScheduleState.ENDED, 1)


async def test_changes_side_by_side_are_all_done(app: App) -> None:
    runs = Runs(app)
    async with working(app):
        await app.schedules.put("beat", runs.task.job(), cron("0 2 * * *"))
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(app.schedules.run_now, "beat")
        await until(lambda: len(runs.by_hand) == 10)
        info = await app.schedules.get("beat")
    assert info is not None
    assert info.runs == 10 <= KNOWN


async def test_what_is_too_large_to_be_kept_is_refused_and_holds_up_no_other(memory_app: App) -> None:
    memory_app.max_payload_bytes = 2 * MAX_SCHEDULE_BYTES
    runs = Runs(memory_app)
    large = memory_app.job("elsewhere", "x" * MAX_SCHEDULE_BYTES)
    memory_app.schedule("large", large, every(OFTEN))
    memory_app.schedule("beat", runs.task.job(), every(OFTEN))
    async with working(memory_app):
        with pytest.raises(PayloadTooLarge, match=r"the schedule 'big' has 1,048,\d+ bytes, the limit is 1,048,576; pass"):
            await memory_app.schedules.put("big", large, every(OFTEN))
        await runs.wait(1)
        assert [info.name for info in await memory_app.schedules.list()] == ["beat"]


async def test_unknown_names_and_jobs_that_cannot_be_scheduled_are_refused(app: App) -> None:
    runs = Runs(app)
    async with app:
        for call in (app.schedules.pause, app.schedules.resume, app.schedules.run_now, app.schedules.next):
            with pytest.raises(UnknownSchedule, match="no schedule is named 'nightly'"):
                await call("nightly")
        for options in ({"delay": 3}, {"id": "mine"}, {"at": datetime(2040, 1, 1, tzinfo=UTC)}, {"local": True}):
            with pytest.raises(InvalidOptions):
                await app.schedules.put("nightly", runs.task.job().with_options(**options), every(1))  # type: ignore[arg-type]
        with pytest.raises(InvalidOptions, match="at most 150 characters"):
            await app.schedules.put("n" * 151, runs.task.job(), every(1))
        with pytest.raises(InvalidOptions, match="overlap='never': expected one of 'allow', 'skip'"):
            await app.schedules.put("nightly", runs.task.job(), every(1), overlap="never")
        assert await app.schedules.list() == []


def test_without_a_loop(app: App) -> None:
    runs = Runs(app)
    schedules = app.sync.schedules
    info = schedules.put("nightly", runs.task.job(), cron("0 2 * * *", tz="Europe/Rome"), jitter=30)
    assert info.words == "at 02:00 every day, in Europe/Rome, up to 30 s later"
    assert [one.name for one in schedules.list()] == ["nightly"]
    assert len(schedules.next("nightly", 3)) == 3
    assert schedules.pause("nightly", "why").note == "why"
    assert schedules.resume("nightly").state is ScheduleState.ACTIVE
    assert schedules.run_now("nightly").status() is JobState.READY
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(schedules.backfill("nightly", begin, begin + timedelta(days=3))) == 3
    assert schedules.remove("nightly")
    assert schedules.get("nightly") is None


async def test_a_schedule_that_cannot_be_read_is_left_alone(app: App) -> None:
    runs = Runs(app)
    async with working(app):
        part = app.connection.gateway.broker.schedules
        assert part is not None
        strange = ScheduleChange("strange", 0, datetime.now(UTC).timestamp() - 60, b"\x83\xa3new\xc3")
        assert await app.connection.gateway.call(part.fire, strange) == []
        await app.schedules.put("beat", runs.task.job(), every(OFTEN))
        await runs.wait(3)
        [_, info] = await app.schedules.list()
    assert (info.name, info.state) == ("strange", ScheduleState.BROKEN)
    assert "another version" in info.error
    assert without_gaps(runs.slots)


async def test_a_worker_that_comes_beside_others_counts_nothing_as_missed_that_they_are_about_to_run(app: App) -> None:
    runs = Runs(app)
    app.schedule("beat", runs.task.job(), every(OFTEN), catch_up="none")
    async with working(app, schedules=False):
        async with app.open_worker(jobs=False):
            await runs.wait(2)
        gone = len(runs.slots)
        await anyio.sleep(0.5)
        admin(app).beat(WorkerRecord(name="slow", node="here", pid=1), 60.0)  # it is there, and runs nothing yet
        async with app.open_worker(jobs=False):
            await runs.wait(gone + 8)
    assert without_gaps(runs.slots)


async def test_a_worker_that_runs_no_schedules_is_nobody_who_could_have_run_them(app: App) -> None:
    runs = Runs(app)
    app.schedule("beat", runs.task.job(), every(OFTEN), catch_up="none")
    async with working(app, schedules=False):
        async with app.open_worker(jobs=False):
            await runs.wait(2)
        gone = datetime.now(UTC)
        await anyio.sleep(0.5)
        back = datetime.now(UTC)
        async with app.open_worker(jobs=False):
            await runs.wait(len(runs.slots) + 3)
    assert not [slot for slot in runs.slots if gone <= slot < back]


async def test_what_was_due_while_nobody_was_there_is_missed(app: App) -> None:
    runs = Runs(app)
    app.schedule("beat", runs.task.job(), every(OFTEN), catch_up="none")
    async with app:
        with anyio.fail_after(DEADLINE):
            async with app.open_worker():
                await runs.wait(2)
            gone = datetime.now(UTC)
            await anyio.sleep(0.5)
            back = datetime.now(UTC)
            async with app.open_worker():
                await runs.wait(len(runs.slots) + 3)
    assert not [slot for slot in runs.slots if gone <= slot < back]
