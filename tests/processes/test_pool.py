"""The pool: its limit, its warmth, its order, and when a host is replaced."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import process_tasks
import pytest
from anyio import create_task_group, fail_after, sleep
from host_tools import ASYNCIO, TRIO, UVLOOP, hosts_of, hosts_of_this_process, pool_of, register
from support import until, working

from nursery_tasks import App, JobState
from nursery_tasks.errors import InvalidOptions, JobCancelled, JobExpired
from nursery_tasks.worker import WorkerOptions


async def test_one_host_is_warm_when_the_app_has_tasks_for_it(memory_app: App) -> None:
    register(memory_app, process_tasks.double)
    async with working(memory_app, processes=3) as worker:
        await until(lambda: len(hosts_of(worker)) == 1)
        await until(lambda: pool_of(worker)._idle)


@TRIO
async def test_no_process_is_started_for_an_app_without_such_tasks(memory_app: App) -> None:
    memory_app.task(name="here")(process_tasks.nap.spec.function)
    async with working(memory_app) as worker:
        await memory_app.job("here", 0).run()
        assert pool_of(worker).hosts == set()


async def test_the_limit_is_never_exceeded(memory_app: App) -> None:
    nap, about = register(memory_app, process_tasks.nap, process_tasks.about_me)
    most = 0

    async with working(memory_app, processes=2, process_jobs=2, slots=16) as worker:
        began = time.monotonic()
        async with create_task_group() as group:
            for _ in range(8):
                group.start_soon(nap.run, 0.05)
            while pool_of(worker)._limiter.borrowed_tokens or time.monotonic() - began < 0.1:
                most = max(most, len(hosts_of_this_process()), len(pool_of(worker).hosts))
                await sleep(0.005)
        assert (await about.run())["pid"]
    assert most == 2


@ASYNCIO
async def test_processes_run_at_the_same_time(memory_app: App, tmp_path: Path) -> None:
    hold = register(memory_app, process_tasks.hold)
    gate = tmp_path / "gate"
    async with working(memory_app, processes=2):
        handles = [await hold.enqueue(str(tmp_path / name), str(gate)) for name in ("a", "b")]
        await until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        gate.touch()
        assert len({await handle for handle in handles}) == 2


@TRIO
async def test_a_host_is_replaced_after_so_many_jobs(memory_app: App) -> None:
    about = register(memory_app, process_tasks.about_me)
    async with working(memory_app, processes=1, process_jobs=3):
        pids = [(await about.run())["pid"] for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


@UVLOOP
async def test_a_host_that_holds_too_much_memory_is_replaced(memory_app: App) -> None:
    hoard, about = register(memory_app, process_tasks.hoard, process_tasks.about_me)
    async with working(memory_app, processes=1, process_memory=120_000_000):
        small = await hoard.run(1000)
        assert (await about.run())["pid"] == small
        assert await hoard.run(120_000_000) == small
        assert (await about.run())["pid"] != small


async def test_an_idle_host_that_was_killed_is_replaced(memory_app: App) -> None:
    double = register(memory_app, process_tasks.double)
    async with working(memory_app, processes=1) as worker:
        await double.run(1)
        (host,) = hosts_of(worker)
        os.kill(host.pid, signal.SIGKILL)
        await until(lambda: hosts_of(worker) and hosts_of(worker)[0] is not host)
        assert host.signal == "SIGKILL"
        assert await double.run(4) == 8


async def test_who_is_cancelled_while_it_waits_for_a_host_leaves_at_once(memory_app: App, tmp_path: Path) -> None:
    hold = register(memory_app, process_tasks.hold)
    async with working(memory_app, processes=1, slots=3) as worker:
        first = await hold.enqueue(str(tmp_path / "began"), str(tmp_path / "gate"))
        await until((tmp_path / "began").exists)
        second = await hold.enqueue(str(tmp_path / "never"), str(tmp_path / "gate"))
        await until(lambda: pool_of(worker)._limiter.statistics().tasks_waiting == 1)
        began = time.monotonic()
        await second.cancel("too late")
        with pytest.raises(JobCancelled, match="too late"):
            await second
        assert time.monotonic() - began < 1
        assert not (tmp_path / "never").exists()
        (tmp_path / "gate").touch()
        await first


async def test_waiting_for_a_host_is_no_part_of_the_attempt(memory_app: App, tmp_path: Path) -> None:
    hold = register(memory_app, process_tasks.hold, timeout=8)
    double = register(memory_app, process_tasks.double, timeout=0.4)
    async with working(memory_app, processes=1, slots=4) as worker:
        first = await hold.enqueue(str(tmp_path / "began"), str(tmp_path / "gate"))
        await until((tmp_path / "began").exists)
        second = await double.enqueue(4)
        third = await double.options(expires=0.3).enqueue(4)
        with pytest.raises(TimeoutError):  # the caller's deadline is the job's
            with fail_after(0.3):
                await double.run(4)
        with pytest.raises(JobExpired):  # while it still waits
            await third
        await until(lambda: pool_of(worker)._limiter.statistics().tasks_waiting == 1)
        assert await second.status() is JobState.CLAIMED  # not started
        (tmp_path / "gate").touch()
        await first
        assert await second == 8  # it has waited for longer than its timeout


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"processes": 0}, "processes=0: expected 1 or more"),
        ({"process_jobs": 0}, "process_jobs=0: expected 1 or more"),
        ({"process_memory": -1}, "process_memory=-1: expected 1 or more"),
    ],
)
@ASYNCIO
async def test_limits_are_checked(memory_app: App, options: WorkerOptions, text: str) -> None:
    async with memory_app:
        with pytest.raises(InvalidOptions, match=text):
            async with memory_app.open_worker(**options):
                pass
