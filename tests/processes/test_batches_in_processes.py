"""A batch in a process: one call there, and a result or an error for each job."""

from __future__ import annotations

import os

import process_tasks
import pytest
from host_tools import ASYNCIO, TRIO
from process_tasks import Point, app
from support import unchecked, until, working

from nursery_tasks import App
from nursery_tasks.errors import HostDied, InvalidArguments, InvalidBatchResult, JobCancelled, NotSerializable, RemoteError


@pytest.fixture
def app_of_tasks() -> App:
    """The app of the module itself, not open."""
    return app


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("trio", {})], ids=["asyncio", "trio"])
async def test_each_job_gets_its_own_result_or_error(app_of_tasks: App) -> None:
    async with working(app_of_tasks, processes=1):
        again, own, odd = await app_of_tasks.enqueue_many(process_tasks.look_up.job(Point(x, 0)) for x in range(3))
        assert await again == "found later"
        assert ((await again.outcome()).attempt, await again.progress()) == (2, 1)
        with pytest.raises(RemoteError, match="KeywordOnly: code 7"):
            await own
        with pytest.raises(NotSerializable):
            await odd
        wrong = unchecked(app_of_tasks, "look_up", "x")
        first, wrong_one, second = await app_of_tasks.enqueue_many(
            [process_tasks.look_up.job(Point(5, 0)), wrong, process_tasks.look_up.job(Point(6, 0))]
        )
        with pytest.raises(InvalidArguments):
            await wrong_one
        (x, pid), (y, other_pid) = await first, await second
        assert (x, y) == (5, 6)
        assert pid == other_pid != os.getpid()


@ASYNCIO
async def test_what_the_call_raises_is_judged_by_the_policy_of_each_job(app_of_tasks: App) -> None:
    bounded = process_tasks.look_up.options(retry=None)
    async with working(app_of_tasks, processes=1):
        jobs = await app_of_tasks.enqueue_many([process_tasks.look_up.job(Point(99, 0)), bounded.job(Point(5, 0))])
        for job in jobs:
            with pytest.raises(KeyError, match="all"):
                await job
        assert [(await job.outcome()).attempt for job in jobs] == [2, 1]


@ASYNCIO
async def test_a_list_of_another_length_is_a_failure_of_all(app_of_tasks: App) -> None:
    async with working(app_of_tasks, processes=1):
        for job in await app_of_tasks.enqueue_many([process_tasks.count_wrongly.job(1), process_tasks.count_wrongly.job(2)]):
            with pytest.raises(InvalidBatchResult, match="count_wrongly returned a list of 1 for 2 jobs"):
                await job


@TRIO
async def test_the_process_is_killed_when_all_of_its_jobs_are_cancelled(app_of_tasks: App) -> None:
    async with working(app_of_tasks, processes=1) as worker:
        jobs = await app_of_tasks.enqueue_many([process_tasks.hang.job(1), process_tasks.hang.job(2)])
        await until(lambda: len(worker.running) == 2)
        for job in jobs:
            await job.cancel("enough", wait=0)
        for job in jobs:
            with pytest.raises(JobCancelled, match="enough"):
                await job


@ASYNCIO
async def test_the_death_of_the_process_is_a_failure_of_all(app_of_tasks: App) -> None:
    async with working(app_of_tasks, processes=1):
        for job in await app_of_tasks.enqueue_many([process_tasks.die_with_all.job(1), process_tasks.die_with_all.job(2)]):
            with pytest.raises(HostDied):
                await job


@ASYNCIO
async def test_run_local_gets_a_process_and_a_list_of_one(app_of_tasks: App) -> None:
    x, pid = await process_tasks.look_up.run_local(Point(5, 0))
    assert (x, pid != os.getpid()) == (5, True)
    with pytest.raises(RemoteError, match="KeywordOnly: code 7"):
        await process_tasks.look_up.run_local(Point(1, 0))
