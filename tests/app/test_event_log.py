"""The log of events: whoever follows it misses nothing and sees nothing twice, whatever the broker does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anyio import Event, create_task_group, fail_after, move_on_after, to_thread
from support import DEADLINE, until, working

from nursery_tasks import App
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.client import log_writer
from nursery_tasks.client.following import EventStream
from nursery_tasks.client.log_writer import LogWriter
from nursery_tasks.errors import CursorLost, InvalidOptions, NotSupported, WouldBlockLoop
from nursery_tasks.events import EventKind, JobEvent, row_of
from nursery_tasks.testing import FaultyBroker

LATENCY_SECONDS = 0.1


@pytest.fixture
def app(url: str) -> Generator[App, None, None]:
    app = with_tasks(App(url, event_log=timedelta(hours=1)))
    yield app
    app.sync.close()


@pytest.fixture
def faulty() -> FaultyBroker:
    return FaultyBroker(MemoryBroker(), threads=True)


@pytest.fixture
def faulty_app(faulty: FaultyBroker) -> Generator[App, None, None]:
    app = with_tasks(App("memory:", event_log=timedelta(hours=1)))
    with app.use_broker(faulty):
        yield app


def with_tasks(app: App) -> App:
    @app.task(name="mail.send")
    async def send(number: int = 0) -> int:
        return number

    @app.task
    async def fail() -> None:
        raise ValueError("no good")

    return app


async def take(events: EventStream, count: int) -> list[JobEvent]:
    """Take events, as many as there must be."""
    taken: list[JobEvent] = []
    with fail_after(DEADLINE):
        async for event in events:
            taken.append(event)
            if len(taken) == count:
                break
    return taken


async def take_until(events: EventStream, job_id: str, kind: str = "succeeded") -> list[JobEvent]:
    """Take events up to one."""
    taken: list[JobEvent] = []
    with fail_after(DEADLINE):
        async for event in events:
            taken.append(event)
            if (event.job_id, event.kind) == (job_id, kind):
                break
    return taken


async def test_a_follower_sees_what_happens_and_goes_on_by_its_cursor(app: App) -> None:
    send = app.get_task("mail.send")
    async with working(app, name="here"):
        async with app.follow() as events:
            begin = events.cursor
            for number in range(5):
                await send.options(id=f"a{number}").run(number)
            seen = await take(events, 15)
        middle = seen[6].cursor
        async with app.follow(since=middle) as events:
            again = await take(events, 8)
            await send.options(id="late").run()
            late = await take_until(events, "late")
            end = events.cursor
        async with app.follow(since="start") as events:
            everything = await take_until(events, "late")
        async with app.follow(since=begin) as events:
            assert await take(events, 15) == seen
    for number in range(5):
        assert sorted(event.kind for event in seen if event.job_id == f"a{number}") == ["queued", "started", "succeeded"]
    assert seen[7:] == again
    assert everything == seen + late
    assert late[-1].cursor == end
    assert len({event.id for event in everything}) == len(everything)
    assert {event.worker for event in seen if event.kind == "started"} == {"here"}


async def test_events_are_chosen_by_job_task_kind_and_time(memory_app: App) -> None:
    app = with_tasks(App("memory:", event_log=60))
    async with working(app):
        await app.get_task("mail.send").options(id="a").run()
        await (await app.get_task("fail").options(id="b").enqueue()).outcome()
        async with app.follow(task="mail.*", since="start") as events:
            assert [event.job_id for event in await take(events, 3)] == ["a", "a", "a"]
        async with app.follow(kinds=["ended"], since="start") as events:
            assert [event.kind for event in await take(events, 2)] == ["succeeded", "failed"]
        async with app.follow(job="b", kinds=["failed"], since=datetime.now(UTC) - timedelta(seconds=60)) as events:
            [failed] = await take(events, 1)
            assert failed.detail == "ValueError: no good"
            assert failed.remote_traceback.endswith("ValueError: no good\n")
        async with app.follow(since=datetime.now(UTC) + timedelta(seconds=60)) as events:
            with move_on_after(0.05):
                await anext(events)
                pytest.fail("nothing has happened in the future")


async def test_a_moment_finds_its_place(app: App) -> None:
    send = app.get_task("mail.send")
    async with working(app):
        for number in range(3):
            await send.options(id=f"old{number}").run()
        async with app.follow(since="start") as events:
            await take_until(events, "old2")
        moment = datetime.now(UTC)
        await send.options(id="new").run()
        async with app.follow(since=moment) as events:
            assert {event.job_id for event in await take_until(events, "new")} == {"new"}


async def test_an_event_is_there_within_a_tenth_of_a_second(app: App) -> None:
    send, took = app.get_task("mail.send"), list[float]()
    async with working(app), app.follow(kinds=["succeeded"]) as events:
        events.poll_seconds = DEADLINE  # by hints alone
        for _ in range(5):
            await send.run()
            [event] = await take(events, 1)
            took.append(time.time() - event.at)
    assert sorted(took)[2] < LATENCY_SECONDS


async def test_a_lost_answer_doubles_nothing_and_an_outage_loses_nothing(faulty_app: App, faulty: FaultyBroker) -> None:
    send = faulty_app.get_task("mail.send")
    async with working(faulty_app):
        faulty.fail("append", times=2, effect=True)
        await send.options(id="a").run()
        async with faulty_app.follow(since="start") as events:
            seen = await take(events, 3)
            with faulty.failing("append", "read"):
                for number in range(20):
                    await send.options(id=f"b{number}").run()
            seen += await take(events, 60)
            await send.options(id="c").run()
            seen += await take(events, 3)
    assert len({(event.job_id, event.kind) for event in seen}) == len(seen) == 66
    assert len({event.id for event in seen}) == 66


async def test_what_is_too_much_during_an_outage_is_a_gap_and_never_silent(
    faulty_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "BUFFER", 10)
    send = faulty_app.get_task("mail.send")
    async with working(faulty_app), faulty_app.follow(task="mail.*") as events:
        with faulty.failing("append"):
            await send.options(id="first").run()
            await until(lambda: faulty.calls["append"])
            for _ in range(10):
                await send.run()
        await until(lambda: faulty_app._log is not None and not faulty_app._log._waiting)  # pyright: ignore[reportPrivateUsage]
        await send.options(id="last").run()
        seen = await take_until(events, "last")
    [gap] = [event for event in seen if event.kind is EventKind.GAP]
    assert gap.detail is not None
    missing = int(gap.detail.split()[0])
    assert len(seen) - 1 + missing == 12 * 3
    assert missing >= 10


async def test_a_cursor_that_was_dropped_says_so_and_a_slow_reader_counts_what_it_misses(memory_app: App) -> None:
    app = with_tasks(App("memory:", event_log=60, event_log_most=6))
    send = app.get_task("mail.send")
    async with working(app):
        async with app.follow() as slow:
            begin = slow.cursor
            for number in range(10):
                await send.options(id=f"a{number}").run()
            async with app.follow(job="a9", kinds=["succeeded"], since="start") as quick:
                await take(quick, 1)  # from here on nothing comes, and nothing is dropped
            seen = await take_until(slow, "a9")
            assert seen[0].kind is EventKind.GAP
            assert slow.dropped == 30 - (len(seen) - 1)
            assert seen[0].detail == f"{slow.dropped} events were dropped from the log before they were read here"
        with pytest.raises(CursorLost, match=f"from '{begin}' on: the oldest event that is kept comes {slow.dropped} after it"):
            async with app.follow(since=begin):
                pass
        with pytest.raises(CursorLost, match="this is another one"):
            async with app.follow(since="0123abcd-5"):
                pass
    for since in ("yesterday", "5", datetime(2026, 1, 1)):
        with pytest.raises(InvalidOptions, match="since="):
            async with memory_app, memory_app.follow(since=since):
                pass


@pytest.mark.parametrize("url", ["sqlite", "redis", "amqp"], indirect=True)  # jobs of `memory:` are in a loop's memory
def test_a_program_without_a_loop_writes_and_follows(url: str) -> None:
    app, other = with_tasks(App(url, event_log=60)), App(url)
    app.sync.enqueue(app.get_task("mail.send").options(id="a").job())
    with other.sync.follow(since="start", timeout=DEADLINE) as events:
        event = next(events)
        assert (event.kind, event.job_id, event.task) == ("queued", "a", "mail.send")
        assert events.cursor == event.cursor
    app.sync.enqueue(app.get_task("mail.send").options(id="b").job())
    app.sync.close()  # waits until the log has it
    with other.sync.follow(since=event.cursor, timeout=0) as events:
        assert [event.job_id for event in events] == ["b"]
    other.sync.close()
    assert not [thread for thread in threading.enumerate() if "event log" in thread.name]


async def test_a_def_handler_is_told_that_following_would_block_the_loop(memory_app: App) -> None:
    async with memory_app:
        with pytest.raises(WouldBlockLoop):
            memory_app.sync.follow()


async def test_without_a_log_there_is_none_of_its_work(memory_app: App) -> None:
    with_tasks(memory_app)
    async with working(memory_app):
        assert not memory_app.events.is_heard
        await memory_app.get_task("mail.send").run()
        async with memory_app.follow(since="start") as events:
            with move_on_after(0.05):
                await anext(events)
                pytest.fail("nobody has appended anything")
    assert not [thread for thread in threading.enumerate() if "event log" in thread.name]


async def test_a_broker_that_keeps_no_events_is_refused_when_the_app_opens() -> None:
    broker = FaultyBroker(MemoryBroker())
    broker.event_log = None
    app = App("memory:", event_log=60)
    with app.use_broker(broker), pytest.raises(NotSupported, match=r"a log of events, which App\(event_log=...\) asks for"):
        async with app:
            pass


async def test_two_followers_and_many_writers_agree(app: App) -> None:
    """Each writer has a thread of its own; all see the same order."""
    writers = [with_tasks(App(app.url, event_log=60)) for _ in range(3 if app.url != "memory:" else 0)]
    done, seen = Event(), list[list[JobEvent]]()

    async def look(since: str) -> None:
        async with app.follow(since=since) as events:
            seen.append(await take_until(events, "end"))

    async with working(app):
        async with app.follow() as events:
            begin = events.cursor
        for writer in writers:
            jobs = [writer.get_task("mail.send").job(number) for number in range(50)]
            handles = await to_thread.run_sync(writer.sync.enqueue_many, jobs)
            assert len(handles) == 50
            await to_thread.run_sync(writer.sync.close)
        await app.get_task("mail.send").options(id="end").run()
        async with create_task_group() as group:
            group.start_soon(look, begin)
            group.start_soon(look, begin)
        done.set()
    assert seen[0] == seen[1]
    queued = [event for event in seen[0] if event.kind == "queued" and event.job_id != "end"]  # which may be told a bit late
    assert len(queued) == 50 * len(writers)


def test_the_writer_ends_when_its_broker_has_closed() -> None:
    broker: Any = MemoryBroker()
    writer = LogWriter(60.0, 10, lambda: broker)
    broker.close()
    event = JobEvent(kind=EventKind.QUEUED, job_id="a", task="t", queue="q", at=0.0)
    writer.note([row_of(event)])
    thread = writer._thread  # pyright: ignore[reportPrivateUsage]
    assert thread is not None
    thread.join(DEADLINE)
    assert not thread.is_alive()
    writer.close()
