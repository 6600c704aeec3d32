"""What `app.workers()` and `app.jobs` say of what runs and of what has just run."""

from __future__ import annotations

import pytest
from anyio import fail_after, sleep
from support import DEADLINE, Gate, working

from nursery_tasks import App
from nursery_tasks.worker import services


async def running(app: App) -> int:
    return sum(len(worker.running) for worker in await app.workers())


async def test_a_worker_that_is_busy_is_soon_known_to_be_and_one_that_is_idle_too(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BEAT_SECONDS", 1000.0)  # no heartbeat comes anyway
    gate = Gate()

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with working(app):
        handles = [await hold.enqueue() for _ in range(3)]
        await gate.wait_for(3)
        with fail_after(DEADLINE):
            while await running(app) != 3:  # noqa: ASYNC110 - nothing tells of heartbeats
                await sleep(0.05)
        gate.open()
        for handle in handles:
            await handle
        with fail_after(DEADLINE):
            while await running(app):  # noqa: ASYNC110 - likewise
                await sleep(0.05)


async def test_many_short_jobs_do_not_cost_a_heartbeat_each(app: App) -> None:
    task = app.task(name="quick")(lambda: None)
    beats = []
    async with working(app, slots=4) as worker:
        beat = worker._presence._beat

        async def count(ttl_seconds: float) -> bool:
            beats.append(ttl_seconds)
            return bool(await beat(ttl_seconds))

        worker._presence._beat = count
        async with app.create_task_group() as jobs:
            for _ in range(200):
                jobs.start_soon(task)
    assert len(beats) < 20


async def test_a_job_that_was_over_at_once_shows_when_it_began(app: App) -> None:
    task = app.task(name="quick")(lambda: None)
    async with working(app):
        handle = await task.enqueue()
        await handle
        record = await app.jobs.get(handle.id)
    assert record is not None
    assert record.started_at is not None
    assert record.ended_at is not None
    assert record.created_at - 0.1 <= record.started_at <= record.ended_at
