"""Real worker processes on one file or server, killed and frozen. What was accepted runs; what is late is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from redis_server import fresh_url

from nursery_tasks import App, Job, JobState
from nursery_tasks.client.sync_handle import SyncJobHandle

from . import program

PROGRAM = Path(program.__file__)
DEADLINE = 40.0
BACKENDS = ["asyncio", "uvloop", "trio"]


class Fleet:
    """Worker processes on one broker, and a client."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.log = folder / "log"
        self.client = App(self.url)
        self._stack = ExitStack()

    def start(self, backend: str, slots: int = 10) -> subprocess.Popen[str]:
        """Start a worker, and wait until it works."""
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(PROGRAM), backend, str(slots)],
                env={**os.environ, "NURSERY_TASKS_BROKER": self.url, "LOG": str(self.log)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def submit(self, *jobs: tuple[str, object]) -> list[SyncJobHandle[object]]:
        """Submit jobs by their tasks' names, as a program without their code would."""
        listed: list[Job[object]] = [
            self.client.job(task, *(args if isinstance(args, tuple) else (args,))) for task, args in jobs
        ]
        return self.client.sync.enqueue_many(listed)

    def lines(self, word: str) -> list[list[str]]:
        """Return the log's lines that begin with *word*: number, process, attempt."""
        text = self.log.read_text() if self.log.exists() else ""
        return [line.split()[1:] for line in text.splitlines() if line.startswith(f"{word} ")]

    def close(self) -> None:
        """Kill what runs."""
        self._stack.close()
        self.client.sync.close()


@pytest.fixture(params=["sqlite", "redis"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Fleet, None, None]:
    """Workers for one test."""
    with fresh_url() if request.param == "redis" else nullcontext(f"sqlite:///{tmp_path / 'jobs.db'}") as url:
        fleet = Fleet(tmp_path, url)
        yield fleet
        fleet.close()


def until(condition: Callable[[], bool], what: str) -> None:
    """Look until *condition* holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE:g} s for {what}"
        time.sleep(0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_killed_with_a_hundred_jobs_under_way_loses_none(fleet: Fleet, backend: str) -> None:
    victim = fleet.start(backend, slots=100)
    handles = fleet.submit(*[("work", (number, 0.3 if number < 100 else 1.0)) for number in range(200)])
    until(lambda: len(fleet.lines("end")) >= 20 and len(fleet.lines("begin")) >= 120, "jobs under way")
    victim.kill()
    victim.wait()
    unfinished = {number for number, *_ in fleet.lines("begin")} - {number for number, *_ in fleet.lines("end")}
    assert unfinished, "the kill came too late to cost anything"
    fleet.start(backend, slots=100)
    assert [handle.result(timeout=DEADLINE) for handle in handles] == list(range(200))
    assert {int(number) for number, *_ in fleet.lines("end")} == set(range(200))


def test_four_workers_run_each_job_once(fleet: Fleet) -> None:
    for backend in ("asyncio", "trio", "uvloop", "trio"):
        fleet.start(backend)
    handles = fleet.submit(*[("work", (number, 0.001)) for number in range(1000)])
    assert [handle.result(timeout=DEADLINE) for handle in handles] == list(range(1000))
    assert set(Counter(number for number, *_ in fleet.lines("begin")).values()) == {1}
    assert len({process for _, process, _ in fleet.lines("begin")}) == 4


def test_a_job_longer_than_three_leases_runs_once(fleet: Fleet) -> None:
    fleet.start("asyncio")
    fleet.start("trio")
    [handle] = fleet.submit(("work", (1, 3.2 * program.LEASE_SECONDS)))
    assert handle.result(timeout=DEADLINE) == 1
    assert len(fleet.lines("begin")) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_handler_that_blocks_the_loop_for_two_leases_keeps_its_jobs(fleet: Fleet, backend: str) -> None:
    fleet.start(backend)
    handles = fleet.submit(("work", (1, 0.5)), ("block", (2, 2.2 * program.LEASE_SECONDS)))
    fleet.start(backend)  # somebody who would take them
    assert [handle.result(timeout=DEADLINE) for handle in handles] == [1, 2]
    assert sorted(number for number, *_ in fleet.lines("begin")) == ["1", "2"]


def test_a_frozen_worker_that_wakes_up_cannot_overwrite_its_successor(fleet: Fleet) -> None:
    frozen = fleet.start("asyncio")
    [handle] = fleet.submit(("work", (1, 1.0)))
    until(lambda: len(fleet.lines("begin")) == 1, "the first begin")
    frozen.send_signal(signal.SIGSTOP)
    successor = fleet.start("trio")
    until(lambda: len(fleet.lines("begin")) == 2, "the second begin")
    frozen.send_signal(signal.SIGCONT)
    assert handle.result(timeout=DEADLINE) == 1
    outcome = handle.outcome()
    assert outcome.worker is not None
    assert f"-{successor.pid}-" in outcome.worker


def test_a_job_that_kills_its_workers_is_found_and_its_neighbours_are_not_blamed(fleet: Fleet) -> None:
    [killer] = fleet.submit(("kill_my_worker", 0))
    neighbours = fleet.submit(*[("work", (number, 0.2)) for number in range(1, 9)])
    deaths = 0
    while not killer.ready():
        worker = fleet.start("asyncio", slots=4)
        until(lambda worker=worker: killer.ready() or worker.poll() is not None, "a death or the end")  # type: ignore[misc]
        deaths += worker.poll() is not None
        assert deaths <= 5
    assert killer.outcome().state is JobState.DEAD
    assert 3 <= deaths <= 4  # the first one is not yet known to be its fault
    if worker.poll() is not None:
        fleet.start("asyncio", slots=4)
    assert [neighbour.result(timeout=DEADLINE) for neighbour in neighbours] == list(range(1, 9))
