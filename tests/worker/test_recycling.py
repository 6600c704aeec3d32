"""A worker that asks to be replaced: what it does with its jobs, and when it asks."""

from __future__ import annotations

import math
from itertools import count

import pytest
from anyio import sleep_forever
from support import Gate, until, until_state, working

from nursery_tasks import App, JobState
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.program import resident_bytes
from nursery_tasks.worker.recycle import LOOK_SECONDS, RecycleLimits

pytestmark = pytest.mark.anyio

Asked = list[tuple[str, float]]


async def test_no_more_jobs_begin_than_the_limit_says(app: App) -> None:
    @app.task
    async def note() -> None: ...

    asked: Asked = []
    async with app:
        jobs = await app.enqueue_many([note.job() for _ in range(18)])
        for _ in range(2):
            async with app.open_worker(max_jobs=10, on_recycle=lambda *a: asked.append(a)) as worker:
                if worker.processed < 8 and asked:
                    await until(lambda: worker.processed == 8)
                else:
                    await worker.wait_drained()
                    assert worker.processed == 10
                    assert worker.recycling == "it has begun 10 of 10 jobs"
        workers = [(await job.outcome()).worker for job in jobs]
    assert sorted(workers.count(name) for name in set(workers)) == [8, 10]
    assert asked == [("it has begun 10 of 10 jobs", math.inf)]


async def test_jobs_that_run_when_a_limit_is_reached_have_all_the_time_they_want(app: App) -> None:
    gate = Gate()

    @app.task
    async def wait() -> None:
        await gate.pass_through()

    async with working(app, max_jobs=1, drain=0.0, on_recycle=lambda *_: None) as worker:
        job = await wait.enqueue()
        await gate.wait_for(1)
        assert worker.recycling
        gate.open()
        await worker.wait_drained()
        assert (await job.outcome()).state is JobState.SUCCEEDED
        assert worker.interrupted == 0


async def test_a_stop_cuts_that_short(app: App) -> None:
    @app.task
    async def wait() -> None:
        await sleep_forever()

    async with working(app, max_jobs=1, drain=0.0, on_recycle=lambda *_: None) as worker:
        await wait.enqueue()
        await until(lambda: worker.running)
        worker.stop()
        await worker.wait_drained()
        assert worker.interrupted == 1


async def test_somebody_else_can_ask_and_the_drain_is_bounded(app: App) -> None:
    asked: Asked = []

    @app.task
    async def wait() -> None:
        await sleep_forever()

    async with working(app, drain=0.05, on_recycle=lambda *a: asked.append(a)) as worker:
        job = await wait.enqueue()
        await until(lambda: worker.running)
        assert worker.recycle("3 slots are lost")
        assert worker.recycle("another reason")
        await worker.wait_drained()
        assert (asked, worker.recycling, worker.interrupted) == ([("3 slots are lost", 0.05)], "3 slots are lost", 1)
        await until_state(app, job.id, JobState.READY)


async def test_a_worker_that_nobody_can_replace_goes_on(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with working(app, name="w") as worker:
        assert not worker.recycle("3 slots are lost")
        assert await add.run(1, 2) == 3
    assert "worker w should be replaced, and nobody here can do that: 3 slots are lost" in caplog.text


async def test_limits_are_refused_where_nobody_can_replace_the_worker(memory_app: App) -> None:
    async with memory_app:
        for options in ({"max_jobs": 10}, {"max_memory": 10}):
            with pytest.raises(InvalidOptions, match="nursery-tasks run --max-"):
                async with memory_app.open_worker(**options):  # type: ignore[arg-type]
                    pass
        with pytest.raises(InvalidOptions, match="1 or more"):
            async with memory_app.open_worker(max_jobs=0, on_recycle=lambda *_: None):
                pass


async def test_memory_above_the_limit_is_a_reason(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with working(app, max_memory=1 << 40, on_recycle=lambda *_: None) as worker:
        assert await add.run(1, 2) == 3
        assert worker.recycling is None
        async with app.open_worker(queues=["small"], max_memory=1 << 20, on_recycle=lambda *_: None) as small:
            job = await add.options(queue="small").enqueue(1, 2)
            await small.wait_drained()
            assert "MiB of memory, above" in (small.recycling or "")
            assert await job == 3


def test_the_memory_of_this_process_is_known() -> None:
    before = resident_bytes()
    block = b"x" * (256 << 20)
    assert before + (128 << 20) < resident_bytes() < before + (512 << 20)
    del block


def test_a_limit_is_lowered_by_chance_and_small_ones_are_exact() -> None:
    for fraction, lowered in ((0.0, 1000), (0.5, 950), (0.99, 901)):
        assert RecycleLimits(10, None, lambda: fraction).max_jobs == 10  # noqa: B023 - called at once
        assert RecycleLimits(1000, None, lambda: fraction).max_jobs == lowered  # noqa: B023
    assert RecycleLimits(None, 1000, lambda: 0.5).max_memory_bytes == 950


def test_the_memory_is_not_looked_at_after_each_job() -> None:
    looks, now = count(), 0.0
    limits = RecycleLimits(None, 100, lambda: 0.0, memory=lambda: next(looks), clock=lambda: now)
    for _ in range(100):
        assert limits.ended() is None
    assert next(looks) == 1
    now += LOOK_SECONDS
    limits.ended()
    assert next(looks) == 3
