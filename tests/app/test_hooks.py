"""Hooks: functions that hear of events beside what happens, and never in its way."""

from __future__ import annotations

import threading

import pytest
from anyio import Event, fail_after, sleep_forever
from support import DEADLINE, until, working

from nursery_tasks import App, JobState, Retry
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.client import hooks
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.events import EventKind, JobEvent
from nursery_tasks.testing import FaultyBroker


@pytest.fixture
def app(memory_app: App) -> App:
    @memory_app.task(name="mail.send")
    async def send() -> int:
        return 3

    @memory_app.task(name="mail.bounce")
    async def bounce() -> None:
        raise ValueError("no such address")

    @memory_app.task(name="other")
    async def other() -> None: ...

    return memory_app


async def test_hooks_are_chosen_by_kind_task_and_job_and_may_hear_once(app: App) -> None:
    heard: dict[str, list[str]] = {name: [] for name in ("all", "mail", "ended", "once", "job", "two")}

    @app.on()
    async def everything(event: JobEvent) -> None:
        heard["all"].append(event.kind)

    @app.on("succeeded", task="mail.*")
    def mail(event: JobEvent) -> None:
        heard["mail"].append(event.task)

    @app.on("ended")
    async def ended(event: JobEvent) -> None:
        heard["ended"].append(event.kind)

    @app.on("queued", once=True)
    async def first(event: JobEvent) -> None:
        heard["once"].append(event.task)

    @app.on(EventKind.STARTED, job="mine")
    async def mine(event: JobEvent) -> None:
        heard["job"].append(event.job_id)

    @app.on("queued", task="other")
    @app.on("failed")
    async def either(event: JobEvent) -> None:
        heard["two"].append(f"{event.task} {event.kind}")

    async with working(app):
        await app.get_task("mail.send").options(id="mine").run()
        outcome = await (await app.get_task("mail.bounce").enqueue()).outcome()
        await app.get_task("other").run()
    assert outcome.state is JobState.FAILED
    assert sorted(heard["all"]) == ["failed", *["queued"] * 3, *["started"] * 3, *["succeeded"] * 2]
    assert heard["mail"] == ["mail.send"]
    assert heard["ended"] == ["succeeded", "failed", "succeeded"]
    assert heard["once"] == ["mail.send"]
    assert heard["job"] == ["mine"]
    assert heard["two"] == ["mail.bounce failed", "other queued"]
    assert everything.called == 9


async def test_a_hook_that_fails_changes_nothing_and_hears_the_next_event(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.on()
    async def wrong(event: JobEvent) -> None:
        raise ValueError("a bad hook")

    @app.on()
    def leaves(event: JobEvent) -> None:
        raise SystemExit(3)

    runs: list[int] = []

    @app.task(retry=Retry(2, wait=[0.0]))
    async def work() -> int:
        runs.append(1)
        return 7

    async with working(app):
        assert await work.run() == 7
        await until(lambda: wrong.failed == leaves.failed == 3)
        assert await work.run() == 7
    assert (wrong.called, wrong.failed, wrong.dropped) == (6, 6, 0)
    assert (leaves.called, leaves.failed) == (6, 6)
    assert len(runs) == 2
    assert caplog.text.count("wrong failed on") == 1  # the others are counted, and not logged one by one
    assert "a bad hook" in caplog.text


async def test_a_slow_hook_holds_up_nobody_and_what_is_too_much_for_it_is_counted(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "BUFFER", 3)
    monkeypatch.setattr(hooks, "FINISH_SECONDS", 0.01)
    quick_heard: list[EventKind] = []

    @app.on()
    async def stuck(event: JobEvent) -> None:
        await sleep_forever()

    @app.on()
    async def quick(event: JobEvent) -> None:
        quick_heard.append(event.kind)

    async with working(app):
        assert await app.get_task("mail.send").run() == 3
        await until(lambda: len(quick_heard) == 3)
        assert await app.get_task("mail.send").run() == 3
        await until(lambda: len(quick_heard) == 6)
        assert (stuck.called, stuck.dropped) == (1, 2)
    assert stuck.dropped == 5  # with those that waited when the app was left
    assert "too slow" in caplog.text


async def test_a_def_hook_runs_in_a_thread_and_the_loop_goes_on(app: App) -> None:
    inside, go_on = Event(), threading.Event()
    threads: list[bool] = []
    main = threading.get_ident()

    @app.on("succeeded", once=True)
    def blocks(event: JobEvent) -> None:
        threads.append(threading.get_ident() != main)
        go_on.wait(DEADLINE)

    @app.on("succeeded", once=True)
    async def beside(event: JobEvent) -> None:
        inside.set()

    async with working(app):
        await app.get_task("mail.send").run()
        with fail_after(DEADLINE):
            await inside.wait()
        assert await app.get_task("mail.send").run() == 3
        go_on.set()
    assert threads == [True]


async def test_a_hook_may_submit_also_while_the_app_is_being_left(app: App) -> None:
    seen: list[str] = []

    @app.on("succeeded", task="mail.send")
    async def follow_up(event: JobEvent) -> None:
        await app.get_task("other").options(queue="later").enqueue()
        seen.append(event.job_id)

    async with working(app):
        handle = await app.get_task("mail.send").enqueue()
        await handle
    assert seen == [handle.id]
    assert follow_up.failed == 0


async def test_a_hook_can_be_added_while_the_app_is_open_and_removed(app: App) -> None:
    heard: list[str] = []

    async def late(event: JobEvent) -> None:
        heard.append(event.kind)

    async with working(app):
        hook = app.on("queued")(late)
        await app.get_task("other").run()
        await until(lambda: heard)
        hook.remove()
        await app.get_task("other").run()
    assert heard == ["queued"]


def test_without_a_loop_a_def_hook_is_called_at_once_and_an_async_one_is_counted(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    @app.on("queued")
    def here(event: JobEvent) -> None:
        heard.append(event.task)
        raise ValueError("bad here")

    @app.on("queued")
    async def nowhere(event: JobEvent) -> None: ...

    with app.use_broker(FaultyBroker(MemoryBroker(), threads=True)):
        app.sync.enqueue(app.get_task("other").job())
    assert heard == ["other"]
    assert (here.called, here.failed, nowhere.called, nowhere.dropped) == (1, 1, 0, 1)
    assert "bad here" in caplog.text


def test_a_kind_that_does_not_exist_is_refused(app: App) -> None:
    with pytest.raises(InvalidOptions, match="kinds='done': expected ended, or one of queued, started"):
        app.on("done")
    with pytest.raises(InvalidOptions, match="task=3: expected a task's name or a pattern"):
        app.subscribe(print, task=3)  # type: ignore[arg-type]
