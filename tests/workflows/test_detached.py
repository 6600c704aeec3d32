"""Detached jobs of a durable workflow: the same handles in each run, and few calls to the broker."""

from __future__ import annotations

from collections import Counter

import pytest
from support import admin, working
from twice import Interrupted, run_twice

from nursery_tasks import App, Debounce, JobHandle, Throttle
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.testing import FaultyBroker


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on two loops."""
    backend: str = request.param
    return backend


async def test_the_job_that_has_the_key_stands_for_ours_in_each_run(memory_app: App) -> None:
    app, interrupted = memory_app, Interrupted()
    seen: list[list[JobHandle[int]]] = []

    @app.task
    async def work(n: int) -> int:
        return n

    waits = work.options(queue="served-by-nobody")

    @app.workflow(durable=True)
    async def flow() -> None:
        first = await waits.options(key="a").enqueue(1)
        again = await waits.options(key="a").enqueue(1)
        named = await waits.options(id="named").enqueue(1)
        seen.append([first, again, named, *await app.enqueue_many([waits.job(1), waits.options(key="b").job(2)])])
        await interrupted.here()

    async def give_the_key_away(_: JobHandle[None]) -> None:
        assert await seen[0][0].cancel() == "cancelled"

    await run_twice(app, flow, interrupted, give_the_key_away)
    ids = [[handle.id for handle in run] for run in seen]
    assert ids[0] == ids[1]
    assert ids[0][0] == ids[0][1]
    assert [[handle.created for handle in run] for run in seen] == [[True, False, True, True, True]] * 2


async def test_the_job_of_a_window_stands_for_ours_in_each_run(memory_app: App) -> None:
    app, interrupted = memory_app, Interrupted()
    seen: list[list[JobHandle[int]]] = []

    @app.task(queue="served-by-nobody", throttle=Throttle(600))
    async def first(n: int) -> int:
        return n

    @app.task(queue="served-by-nobody", debounce=Debounce(600, key="{n}"))
    async def last(n: int) -> int:
        return n

    @app.workflow(durable=True)
    async def flow() -> None:
        seen.append(await app.enqueue_many([first.job(1), first.job(2), last.job(1), last.job(2), last.job(1)]))
        await interrupted.here()

    async def end_the_one_that_waits(_: JobHandle[None]) -> None:
        assert await seen[0][2].cancel() == "cancelled"

    await run_twice(app, flow, interrupted, end_the_one_that_waits)
    ids = [[handle.id for handle in run] for run in seen]
    assert ids[0] == ids[1]
    assert ids[0][0] == ids[0][1]
    assert ids[0][2] == ids[0][4] != ids[0][3]
    assert [[handle.created for handle in run] for run in seen] == [[True, False, True, True, False]] * 2


async def test_many_jobs_are_sent_together(memory_app: App, faulty: FaultyBroker) -> None:
    app, calls = memory_app, Counter[str]()

    @app.task(queue="other")
    async def work(n: int) -> int:
        return n

    @app.workflow(durable=True)
    async def flow() -> list[str]:
        before = faulty.calls["submit"]
        handles = await app.enqueue_many([work.job(n) for n in range(1500)])
        calls["submit"] = faulty.calls["submit"] - before
        return [handle.id for handle in handles]

    async with working(app):
        ids = await flow.run()
        assert len(set(ids)) == 1500
        records = admin(app).list_jobs(JobFilter(task="work"), 2000)
    assert calls["submit"] == 2
    assert [record.id for record in records] == ids
