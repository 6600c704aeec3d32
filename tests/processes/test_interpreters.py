"""Handlers in sub-interpreters. No msgspec can be loaded in one so far, so all but the refusal runs against a fake of AnyIO's
`to_interpreter.run_sync` that calls the same function with the same arguments, in a thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import process_tasks
import pytest
from anyio import CapacityLimiter, to_thread
from host_tools import ASYNCIO
from support import unchecked, until, working

from nursery_tasks import App, program
from nursery_tasks.errors import FunctionNotFound, InvalidArguments, InvalidOptions
from nursery_tasks.execution import in_interpreter


class FakeInterpreters:
    """Calls in threads, takes and gives only what AnyIO could bring to an interpreter and back."""

    def __init__(self) -> None:
        self.inside = self.most = self.calls = 0
        self.broken: Exception | None = None
        self._lock = threading.Lock()

    async def run_sync(self, function: Callable[..., bytes], *args: Any, limiter: CapacityLimiter) -> bytes:
        if self.broken is not None:
            raise self.broken
        assert all(isinstance(arg, bytes | tuple) for arg in args)
        return await to_thread.run_sync(self._call, function, args, limiter=limiter)

    def _call(self, function: Callable[..., bytes], args: Any) -> bytes:
        with self._lock:
            self.calls += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            frame = function(*args)
            assert type(frame) is bytes
            return frame
        finally:
            with self._lock:
                self.inside -= 1


@pytest.fixture
def interpreters(monkeypatch: pytest.MonkeyPatch) -> FakeInterpreters:
    fake = FakeInterpreters()
    monkeypatch.setattr(in_interpreter, "_run_sync", lambda: fake.run_sync)
    monkeypatch.setattr(program, "why_no_interpreters", lambda: None)
    return fake


def register(app: App, task: Any, **options: Any) -> Any:
    return app.task(run_in="interpreter", name=task.name, **options)(task.spec.function)


@ASYNCIO
async def test_it_is_refused_where_it_cannot_work(memory_app: App) -> None:
    expected = "Python 3.13 or newer, this is 3.1" if sys.version_info < (3, 13) else "does not support loading in subinterp"
    with pytest.raises(InvalidOptions, match=rf"run_in='interpreter': expected 'process'.*{expected}"):
        register(memory_app, process_tasks.double)


async def test_arguments_results_and_the_job_are_those_of_any_handler(app: App, interpreters: FakeInterpreters) -> None:
    double, about = register(app, process_tasks.double), register(app, process_tasks.about_me)
    async with working(app, name="here"):
        assert await double.run(4) == 8
        handle = await about.options(tags=["red"]).enqueue()
        said = await handle
        assert (said["id"], said["attempt"], said["worker"], said["tags"]) == (handle.id, 1, "here", ["red"])
        with pytest.raises(InvalidArguments):
            await unchecked(app, "double", "nonsense").run()
    assert interpreters.calls == 3
    assert await double.run_local(5) == 10


@ASYNCIO
async def test_errors_and_retries_are_those_of_any_handler(memory_app: App, interpreters: FakeInterpreters) -> None:
    fail, again = register(memory_app, process_tasks.fail), register(memory_app, process_tasks.fail_until, retry=2)
    async with working(memory_app, fraction=lambda: 0.0):
        with pytest.raises(ExceptionGroup) as caught:
            await fail.run("group")
        assert [type(error) for error in caught.value.exceptions] == [ValueError, FileNotFoundError]
        assert await again.run(2) == 2
        with pytest.raises(ExceptionGroup):
            await fail.run_local("group")


@ASYNCIO
async def test_an_interpreter_that_cannot_do_it_says_so(memory_app: App, interpreters: FakeInterpreters) -> None:
    double = register(memory_app, process_tasks.double)
    interpreters.broken = ImportError("module x does not support loading in subinterpreters")
    async with working(memory_app):
        with pytest.raises(FunctionNotFound, match="module x does not support"):
            await double.run(4)


@ASYNCIO
async def test_no_more_at_once_than_there_are_cpus(
    memory_app: App, interpreters: FakeInterpreters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.worker.executors.default_limit", lambda: 2)
    nap = register(memory_app, process_tasks.nap)
    async with working(memory_app):
        handles = [await nap.enqueue(0.02) for _ in range(6)]
        for handle in handles:
            await handle
    assert interpreters.most == 2
    await until(lambda: interpreters.inside == 0)
