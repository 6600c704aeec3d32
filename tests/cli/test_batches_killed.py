"""Workers that are killed with a batch: nothing is lost, and who kills its batch is found without its neighbours."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cli_shell import Shell, eventually

from nursery_tasks import JobState

MODULE = """
import os
from pathlib import Path

import anyio

from nursery_tasks import App, Batch, current_job
from nursery_tasks.worker import options

options.LEASE_SECONDS = 1.0

app = App()


def note(numbers):
    with Path("calls").open("a") as log:
        log.write(" ".join(map(str, numbers)) + "\\n")


@app.task(batch=Batch(5, wait=0.1))
async def slow(numbers: list[int]) -> list[int]:
    note(numbers)
    if Path("hold").exists():
        await anyio.sleep(300)
    return numbers


@app.task(batch=Batch(5, wait=0.1))
async def poison(numbers: list[int]) -> list[int]:
    note(numbers)
    if 13 in numbers:
        os.kill(os.getpid(), 9)
    await anyio.sleep(0.05)
    return numbers
"""


def calls(directory: Path) -> list[list[int]]:
    log = directory / "calls"
    whole = log.read_text().rpartition("\n")[0] if log.exists() else ""
    return [[int(word) for word in line.split()] for line in whole.splitlines()]


def test_the_jobs_of_a_killed_worker_come_back_with_their_leases(shell: Shell, loop: list[str]) -> None:
    shell.write("batches.py", MODULE)
    shell.write("hold", "")
    app = shell.app
    victim = shell.worker("--slots", "2", *loop, app="batches:app")
    jobs = app.sync.enqueue_many([app.job("slow", number) for number in range(12)])  # two batches run, two jobs are collected
    eventually(lambda: len(calls(shell.directory)) == 2)
    victim.send(signal.SIGKILL)
    victim.end()
    (shell.directory / "hold").unlink()
    survivor = shell.worker("--slots", "2", *loop, app="batches:app")
    assert [job.result(30) for job in jobs] == list(range(12))
    survivor.send(signal.SIGTERM)
    assert survivor.end().code == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_job_that_kills_its_batch_is_found_and_its_neighbours_are_not_charged_for_it(shell: Shell, backend: str) -> None:
    shell.write("batches.py", MODULE)
    app = shell.app
    jobs = app.sync.enqueue_many([app.job("poison", number) for number in range(10, 15)])
    guilty = jobs[3]
    deaths = 0
    while not guilty.ready():
        worker = shell.worker("--slots", "4", "--backend", backend, app="batches:app")
        eventually(lambda worker=worker: guilty.ready() or worker.process.poll() is not None)  # type: ignore[misc]
        deaths += worker.process.poll() is not None
        assert deaths <= 6
    assert guilty.outcome().state is JobState.DEAD
    if worker.process.poll() is not None:
        worker = shell.worker("--slots", "4", "--backend", backend, app="batches:app")
    assert [job.result(30) for job in jobs if job is not guilty] == [10, 11, 12, 14]
    assert sorted(calls(shell.directory)[0]) == [10, 11, 12, 13, 14]
    assert calls(shell.directory).count([13]) >= 1
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0
