"""Ctrl-C in a program that awaits jobs, on each loop and without one: the jobs end before the program does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from anyio import to_thread
from support import Gate, admin, until, working

from nursery_tasks import App, JobState
from nursery_tasks.client.owner_lease import ABANDONED
from nursery_tasks.model.listing import JobFilter

PROGRAM = """
import sys, anyio
from nursery_tasks import App

app = App(sys.argv[1])

@app.task
async def hang() -> None:
    ...

async def awaits() -> None:
    async with app:
        await hang.run()

async def groups() -> None:
    async with app:
        async with app.create_task_group() as group:
            group.start_soon(hang)
            group.start_soon(hang)

if sys.argv[2] == "sync":
    app.sync.run(hang.job())
else:
    anyio.run(awaits if sys.argv[3] == "run" else groups, backend=sys.argv[2])
"""


@pytest.mark.parametrize(
    ("backend", "way", "jobs"),
    [("asyncio", "run", 1), ("asyncio", "group", 2), ("trio", "run", 1), ("trio", "group", 2), ("sync", "run", 1)],
)
async def test_ctrl_c_ends_the_jobs_that_a_program_awaits(tmp_path: Path, backend: str, way: str, jobs: int) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"
    app, gate = App(url), Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        program = subprocess.Popen(  # noqa: ASYNC220 - it is started at once
            [sys.executable, "-c", PROGRAM, url, backend, way], stderr=subprocess.PIPE, text=True, env={**os.environ}
        )
        await gate.wait_for(jobs)
        detached = await hang.enqueue()
        await gate.wait_for(jobs + 1)
        program.send_signal(signal.SIGINT)
        _, said = await to_thread.run_sync(program.communicate)
        assert "KeyboardInterrupt" in said
        found = {job.id: job for job in admin(app).list_jobs(JobFilter(), 10)}
        assert not found.pop(detached.id).state.ended
        assert [(job.state, job.cancel_reason) for job in found.values()] == [(JobState.CANCELLED, ABANDONED)] * jobs
        gate.open()
        await until(lambda: gate.inside == 0)
