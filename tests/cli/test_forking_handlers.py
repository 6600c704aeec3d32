"""Handlers that fork: the child is a process like others, and the worker does not notice."""

from __future__ import annotations

import os
import signal

import pytest
from cli_shell import Shell, eventually

MODULE = """
import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import anyio

from nursery_tasks import App

app = App("sqlite:///jobs.db")
fork = multiprocessing.get_context("fork")
kept = []


def start_and_terminate() -> int:
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(10)
    return child.exitcode


@app.task
async def terminated_child() -> list[int]:
    return [start_and_terminate() for _ in range(3)]


@app.task
def terminated_child_of_a_thread() -> list[int]:
    return [start_and_terminate() for _ in range(3)]


def interrupted(pause: float = 0.0) -> int:
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(pause)
    for _ in range(20):  # Python forgets a signal that comes to a child in its first moment
        os.kill(child.pid, signal.SIGINT)
        child.join(0.5)
        if child.exitcode is not None:
            break
    return child.exitcode


@app.task
async def interrupted_child() -> int:
    return interrupted()


late = []
os.register_at_fork(after_in_child=lambda: time.sleep(0.3 if late else 0))


@app.task
async def interrupted_in_a_hook() -> int:
    late.append(True)
    try:
        return interrupted(0.15)
    finally:
        late.clear()


@app.task
async def pool() -> int:
    executor = ProcessPoolExecutor(1, mp_context=fork)
    kept.append(executor)
    return executor.submit(os.getpid).result()


@app.task
async def child_that_stays() -> int:
    child = fork.Process(target=time.sleep, args=(3600,))
    child.start()
    return child.pid


@app.task
async def child_that_returns() -> int:
    pid = os.fork()
    return os.waitpid(pid, 0)[1] if pid else 0


@app.task
def child_of_a_thread_that_returns() -> int:
    pid = os.fork()
    return os.waitpid(pid, 0)[1] if pid else 0


@app.task
async def child_that_exits() -> int:
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.task(run_in="process")
def child_of_a_process_that_exits() -> int:
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.task
async def child_that_awaits() -> int:
    pid = os.fork()
    if pid == 0:
        await anyio.sleep(0)
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def forked(child) -> int:
    pid = os.fork()
    if pid == 0:
        return await child()
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        await anyio.sleep(0.02)
    codes.append(os.waitstatus_to_exitcode(ended[1]))


async def come_back() -> None:
    pass


async def fail() -> None:
    raise ValueError("in the child of a child task")


async def sleep() -> None:
    await anyio.sleep(0)
    os._exit(99)


codes = []


@app.task
async def children_of_child_tasks() -> list[int]:
    codes.clear()
    for child in (come_back, fail, sleep):
        async with anyio.create_task_group() as group:
            group.start_soon(forked, child)
    return codes[1:]  # the first is 0 or 1: on asyncio AnyIO fails in the child when its task is done


@app.task
async def ready_all_the_time(until: str) -> int:
    while not os.path.exists(until):
        await anyio.sleep(0)
        if os.getpid() != worker:
            with open("in-a-child", "w"):
                pass
    return os.getpid()


worker = os.getpid()


@app.task
def child_of_a_thread_that_raises_generator_exit() -> int:
    pid = os.fork()
    if pid == 0:
        raise GeneratorExit
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.task
async def exec_child() -> int:
    pid = os.fork()
    if pid == 0:
        os.execvp("sleep", ["sleep", "60"])
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.task
async def subprocess_with_preexec() -> int:
    child = subprocess.Popen(["sleep", "60"], preexec_fn=os.setsid)
    child.terminate()
    return child.wait(10)


@app.task
async def healthy(seconds: float) -> int:
    await anyio.sleep(seconds)
    return os.getpid()
"""

RESULTS = {
    "terminated_child": [-signal.SIGTERM] * 3,
    "terminated_child_of_a_thread": [-signal.SIGTERM] * 3,
    "interrupted_child": 1,
    "child_that_returns": 0,
    "child_of_a_thread_that_returns": 0,
    "child_that_exits": 7,
    "child_of_a_process_that_exits": 7,
    "child_that_awaits": 1,
    "children_of_child_tasks": [1, 1],
    "child_of_a_thread_that_raises_generator_exit": 1,
    "exec_child": -signal.SIGTERM,
    "subprocess_with_preexec": -signal.SIGTERM,
}


@pytest.fixture
def forking(shell: Shell) -> Shell:
    shell.write("forking.py", MODULE)
    del shell.environment["PYTHONWARNINGS"]  # Python 3.12 and later warn of forks where threads run
    return shell


def test_what_happens_to_a_forked_child_does_not_happen_to_the_worker(forking: Shell, loop: list[str]) -> None:
    worker = forking.worker(*loop, app="forking:app")
    app, here = forking.app, forking.app.sync
    bystander = here.enqueue(app.job("healthy", 1.0))
    results = {name: here.enqueue(app.job(name)).result(20) for name in RESULTS}
    assert results.pop("interrupted_child") in (1, -signal.SIGINT)  # a KeyboardInterrupt, or before Python was ready for one
    assert results == {name: result for name, result in RESULTS.items() if name != "interrupted_child"}
    assert bystander.result(20) == worker.process.pid
    outcomes = [here.enqueue(app.job("healthy", 0.0)).outcome(20) for _ in range(3)]
    assert {outcome.attempt for outcome in outcomes} == {1}
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 0, ended
    assert f"{len(RESULTS) + 4} jobs ended here" in ended.out
    assert "a forked child cannot await" in ended.err


def test_an_interrupt_while_other_hooks_of_the_fork_run_is_not_lost(forking: Shell, loop: list[str]) -> None:
    worker = forking.worker(*loop, app="forking:app")
    ended = [forking.app.sync.enqueue(forking.app.job("interrupted_in_a_hook")).result(20) for _ in range(3)]
    assert set(ended) <= {-signal.SIGINT, 1}  # 1: it came after the hook
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0


def test_no_other_job_runs_in_the_forked_child_of_a_handlers_task(forking: Shell, loop: list[str]) -> None:
    worker = forking.worker(*loop, app="forking:app")
    app, here = forking.app, forking.app.sync
    bystanders = [here.enqueue(app.job("ready_all_the_time", "done")) for _ in range(3)]
    assert [here.enqueue(app.job("children_of_child_tasks")).result(20) for _ in range(3)] == [[1, 1]] * 3
    forking.write("done", "")
    assert [bystander.result(20) for bystander in bystanders] == [worker.process.pid] * 3
    assert not (forking.directory / "in-a-child").exists()


def test_a_forked_child_that_is_still_there_does_not_delay_the_stop(forking: Shell, loop: list[str]) -> None:
    worker = forking.worker(*loop, "--drain", "60", app="forking:app")  # the watchdog would need longer than the test waits
    app, here = forking.app, forking.app.sync
    assert here.enqueue(app.job("pool")).result(20) != worker.process.pid
    pid = here.enqueue(app.job("child_that_stays")).result(20)
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 0, ended
    assert f"ending the processes that handlers have left behind: {pid}" in ended.err
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_worker_with_a_supervisor_stops_beside_forked_children_too(forking: Shell, loop: list[str]) -> None:
    crew = forking.start("run", "forking:app", "--workers", "2", "--drain", "60", *loop)
    crew.wait_for("works (process")
    crew.wait_for("works (process")
    app, here = forking.app, forking.app.sync
    pids = [here.enqueue(app.job("child_that_stays")).result(20) for _ in range(2)]
    assert here.enqueue(app.job("terminated_child")).result(20) == RESULTS["terminated_child"]
    crew.send(signal.SIGTERM)
    ended = crew.end()
    assert ended.code == 0, ended
    assert "another one starts" not in ended.out
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
