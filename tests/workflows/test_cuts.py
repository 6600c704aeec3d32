"""What a scope of the workflow's own function cuts short is cut in each run; and a worker that stops cleans up nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import anyio
import pytest
from anyio import CancelScope, move_on_after
from support import Gate, admin, until, working
from twice import Interrupted, run_twice

from nursery_tasks import App, JobHandle, sleep, step, wait_for_event
from nursery_tasks.model.codec import Codec
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.testing import FaultyBroker


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on two loops."""
    backend: str = request.param
    return backend


async def test_an_event_after_a_cut_wait_is_for_the_next_wait(memory_app: App) -> None:
    app, reminders = memory_app, Counter[str]()

    @app.workflow(durable=True)
    async def flow() -> Any:
        while True:
            with move_on_after(0.1):
                return await wait_for_event("approve")
            reminders["sent"] += 1

    async with working(app):
        handle = await flow.enqueue()
        await until(lambda: reminders["sent"] >= 2)
        await app.send_event(handle.id, "approve", "yes")
        assert await handle == "yes"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_timeout_of_asyncio_cuts_a_wait_like_a_scope(memory_app: App) -> None:
    app, reminders = memory_app, Counter[str]()

    @app.workflow(durable=True)
    async def flow() -> Any:
        while True:
            try:
                async with asyncio.timeout(0.1):
                    return await wait_for_event("approve")
            except TimeoutError:
                reminders["sent"] += 1

    async with working(app):
        handle = await flow.enqueue()
        await until(lambda: reminders["sent"] >= 2)
        await app.send_event(handle.id, "approve", "yes")
        assert await handle == "yes"


async def test_a_cut_wait_is_cut_again_although_its_event_has_come(memory_app: App) -> None:
    app, interrupted, seen = memory_app, Interrupted(), list[Any]()

    @app.workflow(durable=True)
    async def flow() -> Any:
        answer = None
        with move_on_after(0.1):
            answer = await wait_for_event("approve", timeout=60)
        seen.append(answer)
        await interrupted.here()
        return await wait_for_event("approve")

    async def send(handle: JobHandle[Any]) -> None:
        await app.send_event(handle.id, "approve", 1)

    assert await run_twice(app, flow, interrupted, send) == 1
    assert seen == [None, None]


async def test_an_event_that_came_in_the_moment_of_the_cut_has_come(memory_app: App) -> None:
    app, interrupted, scopes, seen = memory_app, Interrupted(), list[CancelScope](), list[Any]()

    @app.workflow(durable=True)
    async def flow() -> None:
        with CancelScope() as scope:
            scopes.append(scope)
            seen.append(await wait_for_event("approve"))
        await interrupted.here()

    async def send_and_cut(handle: JobHandle[Any]) -> None:
        await until(lambda: app.connection.waiter._tickets)  # it waits
        await app.send_event(handle.id, "approve", 1)
        scopes[0].cancel()

    await run_twice(app, flow, interrupted, during=send_and_cut)
    assert seen == [1, 1]


async def test_a_cut_sleep_is_cut_again_although_its_moment_is_over(memory_app: App) -> None:
    app, interrupted, seen = memory_app, Interrupted(), list[bool]()

    @app.workflow(durable=True)
    async def flow() -> None:
        with move_on_after(0.1) as scope:
            await sleep(0.3)
        seen.append(scope.cancelled_caught)
        await interrupted.here()
        await sleep(0.3)  # another call than the first

    async def let_it_pass(_: JobHandle[Any]) -> None:
        await anyio.sleep(0.4)

    await run_twice(app, flow, interrupted, let_it_pass)
    assert seen == [True, True]


async def test_a_cut_step_is_cut_again_and_not_called(memory_app: App) -> None:
    app, interrupted, seen, calls = memory_app, Interrupted(), list[Any](), Counter[str]()
    scopes: list[CancelScope] = []

    async def ask() -> int:
        calls["ask"] += 1
        if interrupted.runs == 0:
            scopes[0].cancel()
            await anyio.sleep_forever()
        return 1

    @app.workflow(durable=True)
    async def flow() -> None:
        answer = None
        with move_on_after(0.1 if interrupted.runs else None) as scope:
            scopes.append(scope)
            answer = await step(ask)
        seen.append(answer)
        await interrupted.here()
        await step(time.time)

    await run_twice(app, flow, interrupted)
    assert seen == [None, None]
    assert calls == {"ask": 1}


@pytest.mark.parametrize("kind", ["job", "step", "enqueue"])
async def test_a_call_that_was_cut_before_it_was_made_is_not_made_later(memory_app: App, kind: str) -> None:
    app, interrupted, seen, ran = memory_app, Interrupted(), list[Any](), Counter[int]()

    @app.task
    async def work(n: int) -> int:
        ran[n] += 1
        return n

    async def call() -> Any:
        if kind == "job":
            return await work.run(1)
        if kind == "step":
            return await step(work.run, 1)
        return await work.enqueue(1)

    @app.workflow(durable=True)
    async def flow() -> int:
        answer = None
        with CancelScope(deadline=anyio.current_time() + 0.1):
            if interrupted.runs == 0:  # so slow that the time is over before the call
                with CancelScope(shield=True):
                    await anyio.sleep(0.15)
            answer = await call()
        seen.append(answer)
        await interrupted.here()
        return await work.run(2)

    assert await run_twice(app, flow, interrupted) == 2
    assert seen == [None, None]
    assert ran == {2: 1}


async def test_a_child_that_succeeds_although_it_is_cut_has_succeeded_in_each_run(memory_app: App) -> None:
    app, interrupted, gate, seen = memory_app, Interrupted(), Gate(), list[Any]()
    scopes: list[CancelScope] = []

    @app.task
    async def stubborn() -> int:
        with CancelScope(shield=True):
            await gate.pass_through()
        return 1

    @app.workflow(durable=True)
    async def flow() -> None:
        answer = None
        with CancelScope() as scope:
            scopes.append(scope)
            answer = await stubborn.run()
        seen.append(answer)
        await interrupted.here()

    async def cut(_: JobHandle[Any]) -> None:
        await gate.wait_for(1)
        scopes[0].cancel()
        await anyio.sleep(0.05)
        gate.open()

    await run_twice(app, flow, interrupted, during=cut)
    assert seen == [1, 1]
    assert gate.entered == 1


@pytest.mark.parametrize("shielded", [False, True])
@pytest.mark.parametrize("kind", ["job", "step", "enqueue"])
async def test_a_worker_that_stops_cleans_up_nothing(memory_app: App, kind: str, shielded: bool) -> None:
    app, interrupted, log = memory_app, Interrupted(), list[str]()

    @app.task
    async def work() -> int:
        log.append("work")
        return 1

    @app.task
    async def clean() -> None:
        log.append("clean")

    async def release() -> None:
        log.append("clean")

    async def clean_up() -> Any:
        if kind == "job":
            return await clean.run()
        if kind == "step":
            return await step(release)
        return await clean.enqueue()

    @app.workflow(durable=True)
    async def flow() -> int:
        log.append("run")
        try:
            await interrupted.here()
            return await work.run()
        finally:
            with CancelScope(shield=shielded):
                await clean_up()

    assert await run_twice(app, flow, interrupted) == 1
    if kind != "enqueue":
        assert log == ["run", "run", "work", "clean"]
    else:
        assert log[:3] == ["run", "run", "work"]
        assert log.count("clean") <= 1  # it is detached


async def test_the_clean_up_of_a_cancelled_workflow_runs_where_it_is_shielded(memory_app: App) -> None:
    app, gate, log = memory_app, Gate(), list[str]()

    @app.task
    async def clean() -> None:
        log.append("clean")

    async def release() -> None:
        log.append("release")

    @app.workflow(durable=True)
    async def flow() -> None:
        try:
            await gate.pass_through()
        finally:
            with CancelScope(shield=True):
                await clean.run()
                await step(release)
            await step(release)  # cancelled: not called

    async with working(app):
        handle = await flow.enqueue()
        await gate.wait_for(1)
        assert await handle.cancel() == "cancelled"
    assert log == ["clean", "release"]


async def test_the_time_of_one_run_is_not_that_of_its_children(memory_app: App) -> None:
    app = memory_app

    @app.task
    async def work() -> None: ...

    @app.workflow(durable=True, timeout=60)
    async def flow() -> None:
        with move_on_after(3):
            await work.run()

    async with working(app):
        handle = await flow.enqueue()
        await handle
        with move_on_after(5):
            await flow.options(id="awaited").run()
        by_parent = {record.parent: record for record in admin(app).list_jobs(JobFilter(task="work"), 10)}
    remaining = {parent: Codec().decode_message(record.payload).remaining for parent, record in by_parent.items()}
    assert remaining[handle.id] is None
    assert 3 < (remaining["awaited"] or 0) <= 5  # its caller's


async def test_a_cut_that_the_broker_did_not_take_is_stored_before_the_next_call(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.workflows.recording.STORE_SECONDS", 0.1)
    app, seen = memory_app, list[str]()

    @app.workflow(durable=True)
    async def flow() -> Any:
        seen.append("waits")
        with move_on_after(0.1):
            await wait_for_event("approve")
        seen.append("goes on")
        return await wait_for_event("approve")

    async with working(app):
        handle = await flow.enqueue()
        end = faulty.fail("submit")
        await until(lambda: len(seen) == 2)
        end()
        await until(lambda: len(admin(app).list_jobs(JobFilter(parent=handle.id, task="event:approve"), 10)) == 1)
        await app.send_event(handle.id, "approve", "yes")
        assert await handle == "yes"
