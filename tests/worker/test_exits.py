"""`sys.exit()` in what a handler has started ends neither the worker nor, on a loop that is not ours, the program."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from support import DEADLINE, until, working

from nursery_tasks import App, JobState

ASYNCIO = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
]
pytestmark = pytest.mark.parametrize("anyio_backend", ASYNCIO)


async def leave(ended: list[str]) -> None:
    try:
        await checkpoint()
        sys.exit(3)
    finally:
        ended.append("left")


@contextmanager
def complaints() -> Generator[list[str], None, None]:
    """Collect what the loop says of exceptions that reach nobody, and AnyIO's runner would fail the test for."""
    said: list[str] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: said.append(f"{context['message']}: {context.get('exception')!r}"))
    try:
        yield said
    finally:
        loop.set_exception_handler(before)


async def test_a_task_that_nobody_awaits_ends_nothing_else(memory_app: App) -> None:
    ended: list[str] = []
    kept: list[asyncio.Task[None]] = []

    @memory_app.task
    async def forgetful() -> str:
        kept.append(asyncio.create_task(leave(ended)))
        return "done"

    with complaints() as said:
        async with working(memory_app):
            assert await forgetful.run() == "done"
            await until(lambda: ended)
            assert await forgetful.run() == "done"
            await until(lambda: len(ended) == 2)
            kept.clear()
            gc.collect()
    what = "Task exception was never retrieved: SystemError('a task of the handler raised SystemExit(3)')"
    assert said == [what, what]


async def test_the_one_who_waits_for_the_task_is_told(memory_app: App) -> None:
    @memory_app.task
    async def patient() -> str:
        with pytest.raises(SystemError, match=r"a task of the handler raised SystemExit\(3\)"):
            await asyncio.gather(leave([]), asyncio.sleep(DEADLINE))
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(leave([]))
        return "done"

    async with working(memory_app):
        assert await patient.run() == "done"


async def test_the_clean_up_of_a_generator_that_nobody_closes_may_exit(memory_app: App) -> None:
    ended: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await leave(ended)

    @memory_app.task
    async def take_one() -> int:
        async for number in numbers():
            return number
        return 0

    with complaints():
        async with working(memory_app):
            assert await take_one.run() == 1
            gc.collect()
            await until(lambda: ended)
            assert await take_one.run() == 1
            gc.collect()


async def test_a_cancelled_task_that_has_not_begun_is_none_that_nobody_awaited(memory_app: App) -> None:
    @memory_app.task
    async def hasty() -> str:
        task = asyncio.create_task(leave([]))
        task.cancel()
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else "ended"

    async with working(memory_app):
        assert await hasty.run() == "cancelled"
        gc.collect()  # Python would warn here, and warnings are errors


async def test_a_task_factory_of_the_programs_own_is_used_and_is_back_afterwards(memory_app: App) -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **options)

    @memory_app.task
    async def parent() -> None:
        await asyncio.create_task(leave([]))

    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(factory)
    try:
        async with working(memory_app):
            async with memory_app.open_worker():  # a second one, which is closed first
                pass
            outcome = await (await parent.enqueue()).outcome()
            assert outcome.state is JobState.FAILED
            assert "leave" in made
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(before)
    async with working(memory_app):
        assert (await (await parent.enqueue()).outcome()).state is JobState.FAILED
    assert loop.get_task_factory() is before


async def test_a_task_keeps_its_context_and_shows_its_own_stack(memory_app: App) -> None:
    @memory_app.task
    async def parent() -> list[str]:
        task = asyncio.create_task(asyncio.sleep(DEADLINE), name="mine")
        await checkpoint()
        try:
            coro: Any = task.get_coro()
            return [task.get_name(), coro.__qualname__, task.get_stack()[-1].f_code.co_name]
        finally:
            task.cancel()

    async with working(memory_app):
        assert await parent.run() == ["mine", "sleep", "sleep"]


PROGRAM = """
import asyncio, sys
import anyio
from nursery_tasks import App

app = App("memory:")

@app.task
async def hang() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        print("running", flush=True)

async def main() -> None:
    async with app, app.open_worker():
        await hang.enqueue()
        if sys.argv[1] == "exit":
            async with anyio.create_task_group() as group:
                group.start_soon(leave)
        await anyio.sleep(60)

async def leave() -> None:
    sys.exit(7)

anyio.run(main, backend_options={"use_uvloop": sys.argv[2] == "uvloop"})
"""


def run_program(directory: Path, what: str, loop: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, what, loop]
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def loop_name(anyio_backend: tuple[str, dict[str, Any]]) -> str:
    return "uvloop" if anyio_backend[1]["use_uvloop"] else "asyncio"


def test_a_task_of_the_programs_own_still_ends_it(tmp_path: Path, loop_name: str) -> None:
    with run_program(tmp_path, "exit", loop_name) as program:
        program.communicate(timeout=DEADLINE)
        assert program.returncode == 7


def test_ctrl_c_still_ends_a_program_with_a_worker(tmp_path: Path, loop_name: str) -> None:
    with run_program(tmp_path, "wait", loop_name) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=DEADLINE)
        assert "KeyboardInterrupt" in errors
        assert program.returncode == -signal.SIGINT
