"""A workflow whose function is run a second time, because its first worker has stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import fail_after
from support import DEADLINE, Gate

from nursery_tasks import App, JobHandle, JobState, Workflow


class Interrupted:
    """Stops a workflow's worker in the middle of its function, once: the next one runs it again from the beginning."""

    def __init__(self) -> None:
        self.runs = 0
        self.gate = Gate()

    async def here(self) -> None:
        """Hang in the first run."""
        self.runs += 1
        if self.runs == 1:
            await self.gate.pass_through()


async def nothing(_: JobHandle[Any]) -> None:
    """Do nothing."""


async def run_twice(
    app: App,
    flow: Workflow[[], Any],
    interrupted: Interrupted,
    between: Callable[[JobHandle[Any]], Awaitable[None]] = nothing,
    *,
    during: Callable[[JobHandle[Any]], Awaitable[None]] = nothing,
) -> Any:
    """Run *flow* on a worker that stops where it says `interrupted.here()`, do *between*, and run it on another worker.

    *during* is done while the first one runs.
    """
    with fail_after(DEADLINE):
        async with app:
            handle = await flow.enqueue()
            async with app.open_worker(drain=0):
                await during(handle)
                await interrupted.gate.wait_for(1)
            assert await handle.status() is JobState.READY
            await between(handle)
            async with app.open_worker():
                return await handle.result()
