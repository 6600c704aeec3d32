"""Watching a job: its state and its progress, pushed; nothing is left behind by who leaves early."""

from __future__ import annotations

import gc
import threading
from contextlib import aclosing
from itertools import groupby

import pytest
from anyio import Event, create_task_group, fail_after, to_thread
from support import DEADLINE, working

from nursery_tasks import App, JobState, JobUpdate, Retry, current_job
from nursery_tasks.client import sync_watching
from nursery_tasks.errors import BrokerClosed, UnknownJob, WaitTimedOut, WouldBlockLoop


@pytest.fixture
def only_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody polls: what is not pushed is not seen."""
    monkeypatch.setattr(sync_watching, "POLL_SECONDS", 1000.0)
    monkeypatch.setattr("nursery_tasks.client.watching.POLL_SECONDS", 1000.0)


class Steps:
    """A task that says how far it is, and waits until it is told to go on."""

    def __init__(self, app: App) -> None:
        self.go_on = {number: threading.Event() for number in range(3)}

        @app.task
        def steps() -> str:
            for number, event in self.go_on.items():
                current_job().progress({"step": number})
                assert event.wait(DEADLINE)
            return "done"

        self.task = steps


@pytest.mark.usefixtures("only_pushed")
async def test_state_and_progress_are_pushed(app: App) -> None:
    steps = Steps(app)
    async with working(app, processes=1):
        handle = await steps.task.enqueue()
        seen: list[JobUpdate] = []
        async for update in handle.watch():
            seen.append(update)
            if update.progress is not None and update.state is JobState.STARTED:
                steps.go_on[update.progress["step"]].set()
    assert [update.progress for update in seen if update.state is JobState.STARTED and update.progress] == [
        {"step": 0},
        {"step": 1},
        {"step": 2},
    ]
    assert (seen[-1].state, seen[-1].attempts) == (JobState.SUCCEEDED, 1)
    assert JobState.STARTED in [update.state for update in seen]
    assert not any(update.state.ended for update in seen[:-1])


@pytest.mark.usefixtures("only_pushed")
async def test_so_they_are_in_a_thread_of_a_program_without_a_loop(app: App) -> None:
    steps = Steps(app)
    other = app if app.url == "memory:" else App(app.url)

    def follow(job_id: str) -> list[JobUpdate]:
        seen: list[JobUpdate] = []
        for update in other.sync.handle(job_id, "steps").watch():
            seen.append(update)
            if update.progress is not None and update.state is JobState.STARTED:
                assert other.sync.handle(job_id).progress() is not None
                steps.go_on[update.progress["step"]].set()
        return seen

    async with working(app):
        handle = await steps.task.enqueue()
        seen = await to_thread.run_sync(follow, handle.id)
    other.sync.close()
    assert seen[-1].state is JobState.SUCCEEDED
    steps_seen = [update.progress["step"] for update in seen if update.progress and not update.state.ended]
    assert [step for step, _ in groupby(steps_seen)] == [0, 1, 2]  # the first may be seen before its job counts as started


@pytest.mark.usefixtures("only_pushed")
async def test_a_retry_is_seen(app: App) -> None:
    first = threading.Event()

    @app.task(retry=Retry(2, wait=60))  # the usual wait is a random one, and may be over before anybody looks
    def twice() -> None:
        if current_job().attempt == 1:
            assert first.wait(DEADLINE)
            raise OSError("away")

    async with working(app):
        handle = await twice.enqueue()
        states: list[JobState] = []
        async for update in handle.watch():
            states.append(update.state)
            if update.state is JobState.STARTED:
                first.set()
            if update.state is JobState.SCHEDULED:
                await handle.cancel()
    assert states[-2:] == [JobState.SCHEDULED, JobState.CANCELLED]


async def test_a_job_that_has_ended_is_shown_once(app: App) -> None:
    @app.task
    async def quick() -> int:
        return 1

    async with working(app):
        handle = await quick.enqueue()
        await handle
        assert [update.state async for update in handle.watch()] == [JobState.SUCCEEDED]
        async with aclosing(handle.watch()) as updates:
            assert (await anext(updates)).state is JobState.SUCCEEDED
            with pytest.raises(StopAsyncIteration):
                await anext(updates)


async def test_who_leaves_early_leaves_nothing_behind(app: App) -> None:
    async with app:
        handle = await app.job("nobody").enqueue()
        async for update in handle.watch():
            assert update.state is JobState.READY
            break
        gc.collect()
        assert len(app.connection.watchers) == 0
        assert await handle.status() is JobState.READY


async def test_a_watch_ends_with_its_app(app: App) -> None:
    waiting = Event()
    errors: list[BaseException] = []

    async def follow() -> None:
        watch = handle.watch()
        await anext(watch)
        waiting.set()
        try:
            await anext(watch)
        except BrokerClosed as error:
            errors.append(error)

    with fail_after(DEADLINE):
        async with create_task_group() as group, app:
            handle = await app.job("nobody").enqueue()
            group.start_soon(follow)
            await waiting.wait()
    assert len(errors) == 1


async def test_what_cannot_be_watched_says_why(app: App) -> None:
    async with app:
        with pytest.raises(UnknownJob):
            await anext(app.handle("nosuch").watch())
        handle = await app.job("nobody").enqueue()
        with pytest.raises(WouldBlockLoop):
            next(app.sync.handle(handle.id).watch())

        def follow() -> list[JobState]:
            watch = app.sync.handle(handle.id, "nobody").watch(timeout=1.0)
            states = [next(watch).state]
            with pytest.raises(WaitTimedOut, match=r"nobody .* is still ready"):
                next(watch)
            return states

        assert await to_thread.run_sync(follow) == [JobState.READY]


async def test_a_handler_that_watches_gives_its_slot_back(app: App) -> None:
    @app.task
    async def inner() -> int:
        return 1

    @app.task
    async def outer() -> list[str]:
        handle = await inner.enqueue()
        return [str(update.state) async for update in handle.watch()]

    @app.task
    def outer_in_a_thread() -> list[str]:
        return [str(update.state) for update in app.sync.enqueue(inner.job()).watch()]

    async with working(app, slots=1):
        assert (await outer.run())[-1] == "succeeded"
        assert (await outer_in_a_thread.run())[-1] == "succeeded"
