"""A job in a process that is to end: asked, then made to, with all that it has started; and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import process_tasks
import pytest
from anyio import CancelScope, create_task_group, fail_after, move_on_after
from host_tools import (
    ASYNCIO,
    TRIO,
    UVLOOP,
    children_of,
    descriptors,
    hosts_of,
    hosts_of_this_process,
    lives,
    pool_of,
    register,
    wait_gone,
)
from support import DEADLINE, until, until_state, working

from nursery_tasks import App, JobState, Retry
from nursery_tasks.errors import HostDied, JobCancelled, JobTimedOut

HOWS = ["sleep", "ignores SIGTERM", "regex", "c"]


def start_program(began: Path, how: str) -> subprocess.Popen[bytes]:
    """Start a worker that will be killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    program = Path(__file__).with_name("orphan_program.py")
    return subprocess.Popen([sys.executable, str(program), str(began), how], env=environment, stdout=subprocess.DEVNULL)


async def pids_in(path: Path) -> list[int]:
    """Wait until a handler has told its processes."""
    await until(path.exists)
    return [int(pid) for pid in path.read_text().split()]


# --- asked -------------------------------------------------------------------------------------------------------------------


async def test_a_handler_that_listens_ends_by_itself_and_its_process_goes_on(app: App, tmp_path: Path) -> None:
    listen, double = register(app, process_tasks.listen, process_tasks.double)
    async with working(app, processes=1) as worker:
        handle = await listen.enqueue(str(tmp_path / "began"))
        (pid,) = await pids_in(tmp_path / "began")
        began = time.monotonic()
        outcome = await handle.cancel("not needed")
        with pytest.raises(JobCancelled, match="not needed"):
            await handle
        assert time.monotonic() - began < 1
        assert outcome is not None
        assert (tmp_path / "began.cleaned").exists()
        assert await double.run(4) == 8
        assert [host.pid for host in hosts_of(worker)] == [pid]


async def test_a_timeout_asks_and_stays_a_timeout(memory_app: App, tmp_path: Path) -> None:
    listen = register(memory_app, process_tasks.listen, timeout=0.2)
    double = register(memory_app, process_tasks.double)
    async with working(memory_app, processes=1):
        await double.run(1)  # imports the module, which takes time of the first job
        with pytest.raises(JobTimedOut):
            await listen.run(str(tmp_path / "began"))
        assert (tmp_path / "began.cleaned").exists()


async def test_who_finishes_while_being_asked_has_finished(memory_app: App, tmp_path: Path) -> None:
    answer = register(memory_app, process_tasks.listen_and_answer)
    async with working(memory_app, processes=1):
        handle = await answer.enqueue(str(tmp_path / "began"))
        await pids_in(tmp_path / "began")
        await handle.cancel()
        assert await handle == "finished all the same"


@TRIO
async def test_a_job_that_was_asked_to_end_is_not_asked_again_on_its_next_attempt(memory_app: App, tmp_path: Path) -> None:
    hold = register(memory_app, process_tasks.listen_twice, timeout=0.2, retry=Retry(2, wait=0))
    double = register(memory_app, process_tasks.double)
    async with working(memory_app, processes=1):
        await double.run(1)  # imports the module, which takes time of the first job
        assert await hold.run(str(tmp_path / "began")) == 2


@TRIO
async def test_what_a_handler_in_a_process_awaits_ends_with_it(tmp_path: Path) -> None:
    here = App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    own, _listen = register(here, process_tasks.own, process_tasks.listen)
    async with working(here, processes=2):
        handle = await own.enqueue(here.url, str(tmp_path / "began"))
        await pids_in(tmp_path / "began")
        await handle.cancel("not needed")
        await until_state(here, handle.id, JobState.CANCELLED)
        assert (tmp_path / "began.cleaned").exists()


# --- killed ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ignores SIGTERM", "regex"])
async def test_a_stubborn_handler_is_killed_with_all_it_has_started(memory_app: App, tmp_path: Path, how: str) -> None:
    stubborn, double = register(memory_app, process_tasks.stubborn, process_tasks.double, kill_after=0.1)
    async with working(memory_app, processes=1) as worker:
        handle = await stubborn.enqueue(str(tmp_path / "began"), how)
        pids = await pids_in(tmp_path / "began")
        assert all(map(lives, pids))
        await handle.cancel("enough")
        await until_state(memory_app, handle.id, JobState.CANCELLED)
        assert not any(map(lives, pids))  # at the moment when the attempt has ended, not later
        assert await double.run(4) == 8
        assert len(hosts_of(worker)) == 1


async def test_a_timeout_kills_and_stays_a_timeout(memory_app: App, tmp_path: Path) -> None:
    stubborn = register(memory_app, process_tasks.stubborn, kill_after=0.1, timeout=0.3)
    double = register(memory_app, process_tasks.double)
    async with working(memory_app, processes=1):
        await double.run(1)  # imports the module, which takes time of the first job
        with pytest.raises(JobTimedOut):
            await stubborn.run(str(tmp_path / "began"), "sleep")
        assert not any(map(lives, await pids_in(tmp_path / "began")))


async def test_an_owner_that_leaves_ends_the_process(memory_app: App, tmp_path: Path) -> None:
    stubborn = register(memory_app, process_tasks.stubborn, kill_after=0.1)
    async with working(memory_app, processes=1):
        async with create_task_group() as owner:
            owner.start_soon(stubborn.run, str(tmp_path / "began"), "sleep")
            pids = await pids_in(tmp_path / "began")
            owner.cancel_scope.cancel()
        assert not any(map(lives, pids))


# --- died --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "told"), [("segfault", "SIGSEGV"), ("exit", "exited with 5"), ("kill", "killed by SIGKILL")], ids=str
)
async def test_a_death_is_charged_to_the_job_that_ran_and_to_no_other(memory_app: App, how: str, told: str) -> None:
    die, hold, double = register(memory_app, process_tasks.die, process_tasks.nap, process_tasks.double)
    async with working(memory_app, processes=2) as worker:
        neighbour = await hold.enqueue(0.3)
        with pytest.raises(HostDied, match=told) as caught:
            await die.run(how)
        assert (caught.value.signal, caught.value.exit_code) in {("SIGSEGV", None), (None, 5), ("SIGKILL", None)}
        assert await neighbour == "rested"
        assert [await double.run(number) for number in range(3)] == [0, 2, 4]
        assert len(pool_of(worker).hosts) <= 2


@UVLOOP
async def test_a_death_is_retried_by_the_tasks_policy(memory_app: App) -> None:
    die = register(memory_app, process_tasks.die_once, retry=Retry(2, wait=0))
    async with working(memory_app, processes=1):
        assert await die.run() == 2
        with pytest.raises(HostDied):
            await die.options(retry=Retry(2, on=(OSError,), wait=0)).run()
        assert await die.options(retry=Retry(2, on=(HostDied,), wait=0)).run() == 2


async def test_a_host_that_was_killed_while_it_was_idle_costs_no_job(memory_app: App) -> None:
    about = register(memory_app, process_tasks.about_me)
    async with working(memory_app, processes=1) as worker:
        first = (await about.run())["pid"]
        for _ in range(3):
            (host,) = hosts_of(worker)
            os.kill(host.pid, signal.SIGKILL)  # and at once, before anybody has seen it
            assert (await about.run())["pid"] != first


@TRIO
async def test_a_guard_that_was_killed_takes_its_host_with_it(memory_app: App, tmp_path: Path) -> None:
    hold, double = register(memory_app, process_tasks.hold, process_tasks.double)
    async with working(memory_app, processes=1) as worker:
        handle = await hold.enqueue(str(tmp_path / "began"), str(tmp_path / "never"))
        (pid,) = await pids_in(tmp_path / "began")
        (host,) = hosts_of(worker)
        os.kill(host.guard_pid, signal.SIGKILL)
        with pytest.raises(HostDied, match="guards it was killed"):
            await handle
        await until(lambda: not lives(pid))
        assert await double.run(4) == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_all_processes_means_the_worker_and_not_the_job(
    memory_app: App, tmp_path: Path, number: signal.Signals
) -> None:
    hold, echo = register(memory_app, process_tasks.hold, process_tasks.echo)
    async with working(memory_app, processes=1) as worker:
        handle = await hold.enqueue(str(tmp_path / "began"), str(tmp_path / "gate"))
        (pid,) = await pids_in(tmp_path / "began")
        (host,) = hosts_of(worker)
        for target in (host.pid, host.guard_pid):
            os.kill(target, number)
        (tmp_path / "gate").touch()
        assert await handle == pid
        os.kill(host.pid, number)  # idle, as AnyIO's own workers are when replies shift to the next caller
        assert [await echo.run(number) for number in range(4)] == [0, 1, 2, 3]


# --- the worker ends ---------------------------------------------------------------------------------------------------------


async def test_a_worker_that_stops_leaves_nothing(memory_app: App) -> None:
    double = register(memory_app, process_tasks.double)
    async with working(memory_app, processes=1):
        await double.run(1)  # what the loop itself opens for its first process stays open
    before = descriptors()
    async with working(memory_app, processes=2):
        async with create_task_group() as group:
            for number in range(4):
                group.start_soon(double.run, number)
        assert hosts_of_this_process()
    assert hosts_of_this_process() == []
    await until(lambda: descriptors() <= before)


async def test_a_cancelled_worker_interrupts_the_job_and_leaves_nothing(memory_app: App, tmp_path: Path) -> None:
    stubborn = register(memory_app, process_tasks.stubborn, kill_after=0.1)
    async with memory_app:
        with fail_after(DEADLINE), CancelScope() as scope:
            async with memory_app.open_worker(processes=1):
                handle = await stubborn.enqueue(str(tmp_path / "began"), "sleep")
                pids = await pids_in(tmp_path / "began")
                scope.cancel()
                await anyio.sleep_forever()
        assert not any(map(lives, pids))
        assert hosts_of_this_process() == []
        assert await handle.status() is JobState.READY


async def test_a_worker_that_ends_while_its_hosts_start_leaves_nothing(memory_app: App) -> None:
    double = register(memory_app, process_tasks.double)
    for delay in (0, 0.02, 0.1):
        async with memory_app:
            with move_on_after(delay):
                async with memory_app.open_worker(processes=2):
                    async with create_task_group() as group:
                        for number in range(3):
                            group.start_soon(double.run, number)
                    await anyio.sleep_forever()
        assert hosts_of_this_process() == []


@pytest.mark.parametrize("how", HOWS)
@ASYNCIO
async def test_nothing_is_left_within_a_second_of_the_workers_kill(tmp_path: Path, how: str) -> None:
    worker = start_program(tmp_path / "began", how)
    try:
        pids = await pids_in(tmp_path / "began")
        guards = children_of(worker.pid)
        assert guards
        assert all(map(lives, pids))
    finally:
        worker.kill()
        worker.wait()
    assert wait_gone([*pids, *guards], 1.0) < 1.0


@ASYNCIO
async def test_an_idle_host_does_not_outlive_its_worker(tmp_path: Path) -> None:
    worker = start_program(tmp_path / "began", "idle")
    try:
        pids = await pids_in(tmp_path / "began")
        guards = children_of(worker.pid)
    finally:
        worker.kill()
        worker.wait()
    assert pids
    assert wait_gone([*pids, *guards], 1.0) < 1.0


@TRIO
async def test_a_forked_child_that_has_a_copy_of_the_pipe_does_not_delay_the_end(memory_app: App) -> None:
    """As one has that was forked while Trio started the process, in a thread: AnyIO waits for the end of that pipe."""
    double, copies = register(memory_app, process_tasks.double), list[int]()
    try:
        async with working(memory_app, processes=1):
            assert await double.run(4) == 8
            [guard] = hosts_of_this_process()
            copies.append(os.open(f"/proc/{guard}/fd/1", os.O_WRONLY))
        assert hosts_of_this_process() == []
    finally:
        for copy in copies:
            os.close(copy)
