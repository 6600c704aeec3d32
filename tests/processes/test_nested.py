"""Handlers in processes that wait for other jobs: they lend their slot and their place among the hosts."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, move_on_after
from host_tools import TRIO
from support import DEADLINE, admin, until, working

from nursery_tasks import JobState
from nursery_tasks.model.listing import JobFilter


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The module, on a broker that processes can share."""
    monkeypatch.setenv("NURSERY_TASKS_BROKER", f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    sys.modules.pop("nested_tasks", None)
    return importlib.import_module("nested_tasks")


@TRIO
async def test_one_slot_and_one_process_are_enough_for_nested_waits(nested: Any) -> None:
    async with working(nested.app, slots=1, processes=1) as worker:
        assert await nested.dig.run(2) == 2
        hosts = worker._runner.executors.hosts
        assert hosts is not None
        await until(lambda: hosts.limit == 1)
        assert worker._hand_over.released_slots == 0


@TRIO
async def test_the_job_that_a_process_waits_for_ends_with_it(nested: Any) -> None:
    async with working(nested.app, slots=2, processes=1):
        with move_on_after(DEADLINE) as scope:

            async def leave() -> None:
                def is_running() -> bool:
                    return any(job.progress for job in admin(nested.app).list_jobs(JobFilter(task="hang"), 10))

                await until(is_running)
                scope.cancel()

            async with create_task_group() as tg:
                tg.start_soon(leave)
                await nested.hang_below.run()
        found = {job.task: job.state for job in admin(nested.app).list_jobs(JobFilter(), 10)}
        assert found == {"hang_below": JobState.CANCELLED, "hang": JobState.CANCELLED}
