"""`run --workers N`: a job that kills workers, and what becomes of its neighbours."""

from __future__ import annotations

import signal
import sys

import pytest
from cli_shell import Shell, eventually
from crew_shell import Crew, kill

from nursery_tasks import JobState
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.model.listing import JobFilter, JobRecord

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests look at processes through /proc")

# Leases of ten minutes: whoever waits for the end of one fails.
DYING = """
import os
from pathlib import Path

import anyio

from nursery_tasks import App
from nursery_tasks.worker import options

options.LEASE_SECONDS = 600.0

app = App()


@app.task
async def kill_at_once() -> None:
    with Path("starts").open("a") as log:
        log.write("start\\n")
    os.kill(os.getpid(), 9)


@app.task
async def kill_later() -> None:
    with Path("starts").open("a") as log:
        log.write("start\\n")
    await anyio.sleep(0.3)
    os._exit(1)


@app.task
async def short(number: int) -> int:
    await anyio.sleep(0.5)
    return number


@app.task
async def long() -> str:
    await anyio.sleep(300)
    return "done"
"""


def starts(shell: Shell) -> int:
    return len((shell.directory / "starts").read_text().splitlines())


def records(shell: Shell) -> list[JobRecord]:
    broker = SqliteBroker(shell.directory / "jobs.db")
    try:
        return broker.admin.list_jobs(JobFilter(), 100)
    finally:
        broker.close()


@pytest.mark.parametrize("killer", ["kill_at_once", "kill_later"])
def test_neighbours_of_a_job_that_kills_workers_wait_for_no_lease(shell: Shell, killer: str) -> None:
    shell.write("dying.py", DYING)
    crew = Crew(shell, "--slots", "4", module="dying:app").wait_until_all_work()
    app = shell.app
    before = app.sync.enqueue_many([app.job("short", number) for number in range(3)])
    poison = app.sync.enqueue(app.job(killer))
    behind = app.sync.enqueue_many([app.job("short", number) for number in range(3, 12)])
    assert [job.result(60) for job in (*before, *behind)] == list(range(12))
    dead = poison.outcome(60)
    assert (dead.state, dead.reason) == (JobState.DEAD, "3 workers died while they ran it")
    assert starts(shell) == 3
    crew.send(signal.SIGTERM)
    assert crew.end() == 0


def test_the_jobs_of_a_killed_worker_run_again_at_once_and_are_charged_as_ever(shell: Shell) -> None:
    shell.write("dying.py", DYING)
    crew = Crew(shell, "--slots", "2", module="dying:app").wait_until_all_work()
    app = shell.app
    jobs = app.sync.enqueue_many([app.job("long") for _ in range(4)])
    for _ in jobs:
        crew.wait_for("started")
    eventually(lambda: all(record.state is JobState.STARTED for record in records(shell)))
    before = {record.id: record.worker for record in records(shell)}
    victim = before[jobs[0].id]
    assert victim is not None
    kill(crew.pids[victim])
    crew.wait_for("started")
    crew.wait_for("started")
    assert {record.id: record.crashes for record in records(shell)} == {
        job_id: int(worker == victim) for job_id, worker in before.items()
    }
    for job in jobs:
        job.cancel()
    crew.send(signal.SIGTERM)
    assert crew.end() == 0
