"""`async with app` entered by one task and left by another, as fixtures of pytest-asyncio and start-up hooks do it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from support import DEADLINE

from nursery_tasks import App, JobState
from nursery_tasks.errors import AppNotOpen

pytestmark = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)


async def enter(manager: AbstractAsyncContextManager[Any]) -> None:
    await asyncio.create_task(manager.__aenter__())


async def leave(manager: AbstractAsyncContextManager[Any], error: BaseException | None = None) -> None:
    async with asyncio.timeout(DEADLINE):
        kind = None if error is None else type(error)
        await asyncio.create_task(manager.__aexit__(kind, error, None))


async def test_an_app_and_a_worker_may_be_left_by_another_task(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    before = asyncio.all_tasks()
    for _ in range(2):
        worker = app.open_worker()
        await enter(app)
        await enter(worker)
        assert await add.run(1, 2) == 3
        await leave(worker)
        waits = await add.options(delay=60).enqueue(1, 2)
        assert await waits.status() is JobState.SCHEDULED
        await waits.cancel()
        await leave(app)
        with pytest.raises(AppNotOpen):
            await add.run(1, 2)
    assert asyncio.all_tasks() == before


async def test_the_task_that_entered_goes_on_undisturbed(memory_app: App) -> None:
    go_on, left = asyncio.Event(), asyncio.Event()

    async def host() -> str:
        await memory_app.__aenter__()
        go_on.set()
        await left.wait()
        async with asyncio.timeout(DEADLINE):
            await asyncio.sleep(0.01)
        return "undisturbed"

    hosting = asyncio.create_task(host())
    await go_on.wait()
    await leave(memory_app, ValueError("of the other task"))
    left.set()
    assert await hosting == "undisturbed"
