"""`sys.exit()` in what a handler leaves on the loop: the worker goes on, and its exit code is its own."""

from __future__ import annotations

import signal

import pytest
from cli_shell import Shell

MODULE = """
import asyncio
import gc
import os
import signal
import sys

import anyio

from nursery_tasks import App, current_job

app = App("sqlite:///jobs.db")
kept = []


async def leave() -> None:
    sys.exit(0)


@app.task
async def child() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(leave)


@app.task
async def grandchild() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(child.function)


@app.task
def thread_that_waits() -> None:
    current_job().wait(leave)


@app.task
def thread_that_calls() -> None:
    anyio.from_thread.run_sync(sys.exit, 0)


@app.task
async def interrupted_child() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)


async def interrupt() -> None:
    raise KeyboardInterrupt


@app.task
async def outliving_task() -> None:
    kept.append(asyncio.create_task(leave()))


@app.task
async def soon() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 0)


@app.task
async def later() -> None:
    asyncio.get_running_loop().call_later(0.01, sys.exit, 0)


@app.task
async def from_a_signal() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, sys.exit, 0)
    os.kill(os.getpid(), signal.SIGUSR1)


@app.task
async def done_callback() -> None:
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda _: sys.exit(0))
    future.set_result(None)


@app.task
async def protocol() -> None:
    class Leaves(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            sys.exit(0)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Leaves, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"x")
    kept.append((server, writer))


@app.task
async def finalizer() -> None:
    async def numbers():
        try:
            yield 1
        finally:
            await anyio.sleep(0)
            sys.exit(0)

    async for _ in numbers():
        break
    gc.collect()


@app.task
async def leaves_a_task_for_the_end() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            sys.exit(5)

    kept.append(asyncio.create_task(stubborn()))


@app.task
async def healthy(seconds: float) -> str:
    await anyio.sleep(seconds)
    return f"pid {os.getpid()}"
"""

ANYWHERE = ["child", "grandchild", "interrupted_child", "thread_that_waits", "thread_that_calls"]
ON_ASYNCIO = ["outliving_task", "soon", "later", "from_a_signal", "done_callback", "protocol"]


@pytest.fixture
def exiting(shell: Shell) -> Shell:
    shell.write("exiting.py", MODULE)
    del shell.environment["PYTHONWARNINGS"]  # these handlers leave things behind on purpose
    return shell


def test_an_exit_of_a_handler_anywhere_is_no_end_of_the_worker(exiting: Shell, loop: list[str]) -> None:
    worker = exiting.worker(*loop, app="exiting:app")
    app, here = exiting.app, exiting.app.sync
    bystander = here.enqueue(app.job("healthy", 1.0))
    for name in ANYWHERE:
        assert here.enqueue(app.job(name)).outcome(20).error is not None, name
    if "trio" not in loop:
        for name in ON_ASYNCIO:
            here.enqueue(app.job(name)).result(20)
            here.enqueue(app.job("healthy", 0.05)).result(20)  # and meanwhile the loop is told to end
    here.enqueue(app.job("finalizer")).result(20)
    if "trio" not in loop:
        here.enqueue(app.job("leaves_a_task_for_the_end")).result(20)
    assert bystander.result(20) == f"pid {worker.process.pid}"
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 0, ended
    if "trio" not in loop:
        assert "SystemExit(0) at" in ended.err
        assert ": ends the callback or the task that raised it, and not the event loop" in ended.err


def test_an_exit_costs_no_worker_of_a_group(exiting: Shell, loop: list[str]) -> None:
    crew = exiting.start("run", "exiting:app", "--workers", "2", *loop)
    crew.wait_for("works (process")
    crew.wait_for("works (process")
    app, here = exiting.app, exiting.app.sync
    outcome = here.enqueue(app.job("child")).outcome(20)
    assert (outcome.state, outcome.attempt) == ("failed", 1)
    crew.send(signal.SIGTERM)
    ended = crew.end()
    assert ended.code == 0, ended
    assert "another one starts" not in ended.out
