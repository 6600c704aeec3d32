"""Programs, classes and resources, where the handler runs in a process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import process_tasks
import pytest
from anyio import current_time
from host_tools import lives, register
from support import until, working

from nursery_tasks import App, JobState, resource
from nursery_tasks.errors import InvalidOptions


async def test_a_cancelled_job_ends_the_programs_that_it_runs(app: App, tmp_path: Path) -> None:
    run_tree, file = register(app, process_tasks.run_tree), tmp_path / "pids"

    def pids() -> list[int]:
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    async with working(app, processes=1):
        job = await run_tree.options(timeout=None).enqueue(str(file))
        await until(lambda: len(pids()) == 2)
        assert all(map(lives, pids()))
        began = current_time()
        await job.cancel()
        assert await job.status() is JobState.CANCELLED
        assert not any(map(lives, pids()))  # asked, and not killed: that would have taken `kill_after`
        assert current_time() - began < 5


async def test_a_class_runs_in_a_process() -> None:
    async with working(process_tasks.app, processes=1):
        tripled, pid, attempt = await process_tasks.triple.run(7)
        assert (tripled, attempt) == (21, 1)
        assert pid != os.getpid()


@pytest.mark.parametrize("place", ["process", "interpreter"])
def test_a_resource_stays_in_the_workers_process(memory_app: App, place: str) -> None:
    @memory_app.lifespan
    async def number() -> AsyncIterator[int]:
        yield 1

    def add(a: int, b: int = resource(number)) -> int:
        return a + b

    with pytest.raises(InvalidOptions, match="loop or thread, because 'b' is a resource: it lives in the worker's own process"):
        memory_app.task(run_in=place)(add)
