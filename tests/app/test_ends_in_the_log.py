"""Each job has one end among the events, also one that no worker has run; and a handler's progress is among them."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from anyio import CancelScope, create_task_group, fail_after, sleep
from support import DEADLINE, SECONDS_APART, until, working

from nursery_tasks import App, CancelAnswer, current_job
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.events import EventKind, JobEvent
from nursery_tasks.model.delivery import Finished, Released
from nursery_tasks.model.reasons import NOT_STARTED_IN_TIME
from nursery_tasks.testing import FaultyBroker

Told = tuple[str, EventKind, str | None]


def with_task(app: App) -> App:
    @app.task(name="mail.send")
    async def send(count: int = 0) -> int:
        for number in range(count):
            current_job().progress({"done": number + 1})
        return count

    return app


def what(event: JobEvent) -> Told:
    return event.job_id, event.kind, event.detail


async def ends_in_the_log(app: App, count: int) -> list[Told]:
    """Read all ends, of which there must be so many."""
    async with app.follow(kinds=["ended"], since="start") as events:
        with fail_after(DEADLINE):
            return [what(await anext(events)) for _ in range(count)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # the contract says which call of a broker tells what
async def test_each_end_is_told_once_by_the_program_whose_call_it_was(url: str) -> None:
    worker_app, client, other = (with_task(App(url, event_log=60)) for _ in range(3))
    heard: dict[str, list[Told]] = {"worker": [], "client": [], "other": []}
    for name, app in zip(heard, (worker_app, client, other), strict=True):
        app.on("ended")(lambda event, name=name: heard[name].append(what(event)))
    send = client.get_task("mail.send")
    async with client, other:
        await send.options(id="waits").enqueue()
        assert await other.handle("waits").cancel("enough") is CancelAnswer.CANCELLED
        await send.options(id="late", expires=0.01).enqueue()
        async with create_task_group() as group:
            with CancelScope() as scope:
                group.start_soon(_cancel_once_known, client, "owned", scope)
                await send.options(id="owned").run()
        async with working(worker_app):
            await send.options(id="runs").run()
            ends = await ends_in_the_log(client, 4)
            await until(lambda: len(heard["worker"]) == 2)
        async with client.follow(kinds=["ended"], since="start") as events:
            assert Counter(event.job_id for event in await events.read() or []) == Counter(end[0] for end in ends)
    assert heard["other"] == [("waits", EventKind.CANCELLED, "enough")]
    assert [end[:2] for end in heard["client"]] == [("owned", EventKind.CANCELLED)]
    assert sorted(heard["worker"]) == [
        ("late", EventKind.EXPIRED, NOT_STARTED_IN_TIME),
        ("runs", EventKind.SUCCEEDED, None),
    ]
    assert sorted(ends) == sorted([*heard["worker"], *heard["client"], *heard["other"]])


async def _cancel_once_known(app: App, job_id: str, scope: CancelScope) -> None:
    with fail_after(DEADLINE):
        while await app.jobs.get(job_id) is None:  # noqa: ASYNC110 - a job that is being submitted tells nobody
            await sleep(SECONDS_APART)
    scope.cancel()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_program_without_a_loop_hears_at_once(url: str) -> None:
    app = with_task(App(url, event_log=60))
    threads: list[tuple[Told, int]] = []

    @app.on("ended")
    def hear(event: JobEvent) -> None:
        threads.append((what(event), threading.get_ident()))

    handle = app.sync.enqueue(app.get_task("mail.send").job())
    assert handle.cancel("enough") is CancelAnswer.CANCELLED
    assert threads == [((handle.id, EventKind.CANCELLED, "enough"), threading.get_ident())]
    app.sync.close()
    with app.sync.follow(since="start", timeout=0) as events:
        assert [event.kind for event in events] == ["queued", "cancelled"]
    app.sync.close()


async def test_an_outcome_that_comes_too_late_is_no_end_in_the_log() -> None:
    inner = MemoryBroker()
    faulty, app = FaultyBroker(inner, threads=True), with_task(App("memory:", event_log=60))
    taken: list[str] = []

    def take_back(args: tuple[object, ...]) -> None:
        for item in args[0] if isinstance(args[0], list) else ():
            if isinstance(item, Finished) and not taken:
                taken.append(item.delivery.id)
                inner.settle([Released(item.delivery)])

    faulty.before("settle", take_back)
    with app.use_broker(faulty):
        async with working(app), app.follow(kinds=["ended", "stale"]) as events:
            await app.get_task("mail.send").options(id="a").run()
            seen = [await anext(events) for _ in range(2)]
            await app.get_task("mail.send").options(id="b").run()
            last = await anext(events)
    assert taken == ["a"]
    assert [event.kind for event in seen] == ["stale", "succeeded"]
    assert last.job_id == "b"


async def test_progress_is_told_now_and_then_and_the_last_one_always(memory_app: App) -> None:
    app = with_task(App("memory:", event_log=60))
    told: list[JobEvent] = []
    app.subscribe(told.append, kinds=["progress"])
    async with working(app), app.follow() as events:
        await app.get_task("mail.send").options(id="a").run(1000)
        seen = []
        async for event in events:
            seen.append(event)
            if event.kind is EventKind.SUCCEEDED:
                break
    progress = [event for event in seen if event.kind is EventKind.PROGRESS]
    assert progress[-1].detail == '{"done":1000}'
    assert len(progress) == len(told) < 10
    assert [event.kind for event in seen if event.kind is not EventKind.PROGRESS] == ["queued", "started", "succeeded"]
    assert seen[-2] == progress[-1]


async def test_two_apps_on_one_broker_tell_an_end_once(memory_app: App) -> None:
    broker: Broker = MemoryBroker()
    first, second = with_task(App("memory:")), with_task(App("memory:"))
    heard: list[str] = []
    for app in (first, second):
        app.subscribe(lambda event: heard.append(event.job_id), kinds=["ended"])
    with first.use_broker(broker), second.use_broker(broker):
        async with first:
            async with second:
                handle = await first.get_task("mail.send").options(id="a").enqueue()
                await handle.cancel()
            handle = await first.get_task("mail.send").options(id="b").enqueue()
            await handle.cancel()
    assert heard == ["a", "b"]
