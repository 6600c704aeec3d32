"""Durable workflows whose workers are killed with -9, at random moments, on real files and servers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from redis_server import fresh_url

from nursery_tasks import App
from nursery_tasks.brokers.needed import admin_of
from nursery_tasks.client.sync_handle import SyncJobHandle
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.model.states import ENDED, JobState

PROGRAM = Path(__file__).parent / "kill_program.py"
DEADLINE = 50.0
STEPS = 50
TOTAL = sum(range(STEPS))
LEASE_SECONDS = 1.5


class Fleet:
    """Worker processes on one broker, and a client."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.log = folder / "log"
        self.client = App(url)
        self.workers: list[subprocess.Popen[str]] = []
        self._stack = ExitStack()

    def start(self, backend: str = "asyncio", slots: int = 10) -> subprocess.Popen[str]:
        """Start a worker; it need not be ready when this returns."""
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(PROGRAM), backend, str(slots)],
                env={**os.environ, "NURSERY_TASKS_BROKER": self.url, "LOG": str(self.log)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        self.workers.append(process)
        return process

    def kill(self, victim: subprocess.Popen[str]) -> None:
        victim.kill()
        victim.wait()
        self.workers.remove(victim)

    def submit(self, task: str, *args: object) -> SyncJobHandle[object]:
        # By its name, so that what its decorator says is not known here.
        return self.client.sync.enqueue(self.client.job(task, *args).with_options(max_crashes=1_000))

    def send_event(self, job_id: str, name: str, payload: object) -> None:
        async def send() -> None:
            async with App(self.url) as app:
                await app.send_event(job_id, name, payload)

        with start_blocking_portal() as portal:
            portal.call(send)

    def lines(self) -> list[tuple[str, int, int]]:
        """Return the log: what, to which step, in which process."""
        text = self.log.read_text() if self.log.exists() else ""
        words = [line.split() for line in text.splitlines()]
        return [(line[0], int(line[1]), int(line[2])) for line in words]

    def count(self, word: str) -> int:
        return sum(line[0] == word for line in self.lines())

    def process_of(self, word: str) -> subprocess.Popen[str]:
        """Return the worker that wrote the last line of this kind."""
        pid = [line[2] for line in self.lines() if line[0] == word][-1]
        return next(worker for worker in self.workers if worker.pid == pid)

    def unfinished(self) -> list[str]:
        """Say where things stand, for a test that has failed."""
        found = admin_of(self.client.sync.broker()).list_jobs(JobFilter(states=frozenset(JobState) - ENDED), 100)
        jobs = [f"{job.task} {job.id} {job.state} attempt {job.attempts} crashes {job.crashes} {job.worker}" for job in found]
        return [*jobs, *(f"worker {worker.pid}: {worker.poll()}" for worker in self.workers)]

    def close(self) -> None:
        self._stack.close()
        self.client.sync.close()


@pytest.fixture(params=["sqlite", "redis"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Fleet, None, None]:
    """Workers for one test."""
    with fresh_url() if request.param == "redis" else nullcontext(f"sqlite:///{tmp_path / 'jobs.db'}") as url:
        fleet = Fleet(tmp_path, url)
        yield fleet
        fleet.close()


def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.01)


def check_steps(lines: list[tuple[str, int, int]], runs: int) -> None:
    """Check that each step had its side effect, and that none began again after the function had its result."""
    assert {number for word, number, _ in lines if word == "end"} == set(range(STEPS))
    got: set[int] = set()
    for word, number, _ in lines:
        assert word != "begin" or number not in got, f"step {number} was repeated after it had ended"
        if word == "got":
            got.add(number)
    begun = Counter(number for word, number, _ in lines if word == "begin")
    assert max(begun.values()) <= runs, "a step began more often than workers died"


def run_under_fire(fleet: Fleet, kills: int, seed: int) -> None:
    """Run the fifty steps while workers are killed at random moments, until so many were; then check."""
    chance = random.Random(seed)
    backends = ["asyncio", "trio", "uvloop"]
    for backend in backends[:2]:
        fleet.start(backend)
    killed = 0
    while True:
        handle = fleet.submit("fifty")
        before = len(fleet.lines())
        killed_before = killed
        end = time.monotonic() + 20 * DEADLINE
        while not handle.ready():
            assert time.monotonic() < end, "the workflow does not end"
            if killed < kills:
                wait_for_life(fleet, handle)
                time.sleep(chance.uniform(0.0, 0.6))
                fleet.kill(chance.choice(fleet.workers))
                fleet.start(chance.choice(backends))
                killed += 1
            else:
                time.sleep(0.05)
        assert handle.result(timeout=DEADLINE) == TOTAL
        check_steps(fleet.lines()[before:], killed - killed_before + 1)
        if killed >= kills:
            return


def wait_for_life(fleet: Fleet, handle: SyncJobHandle[object]) -> None:
    """Wait until something has happened since the last kill, so that each kill costs something."""
    seen = len(fleet.lines())
    try:
        until(lambda: len(fleet.lines()) > seen or handle.ready(), "a sign of life")
    except AssertionError:
        print("\n".join(fleet.unfinished()))
        raise


def test_fifty_steps_under_fire(fleet: Fleet) -> None:
    run_under_fire(fleet, kills=6, seed=random.randrange(1_000_000))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_fifty_steps_under_a_hundred_kills(fleet: Fleet) -> None:
    run_under_fire(fleet, kills=100, seed=random.randrange(1_000_000))


def test_a_week_of_waiting_survives_all_workers(fleet: Fleet) -> None:
    fleet.start()
    handle = fleet.submit("patient", 2.0)
    until(lambda: fleet.count("run") == 1, "the first run")
    fleet.kill(fleet.workers[0])  # nobody is left
    fleet.send_event(handle.id, "word", "hello")
    fleet.start("trio")
    until(lambda: fleet.count("slept") == 1, "the end of the sleep")
    assert handle.result(timeout=DEADLINE) == "hello"
    assert fleet.count("run") == 2


@pytest.mark.parametrize("how", ["failure", "cancel"])
def test_undoing_goes_on_after_a_kill_in_the_middle_of_it(fleet: Fleet, how: str) -> None:
    fleet.start()
    handle = fleet.submit("three", how == "cancel")
    if how == "cancel":
        until(lambda: fleet.count("run") == 1, "the workflow")
        fleet.client.sync.handle(handle.id).cancel("enough", wait=0)
    until(lambda: fleet.count("undo") == 1, "the first undo")
    fleet.kill(fleet.workers[0])
    fleet.start("trio")
    until(lambda: fleet.count("undone") == 2, "both undos")
    assert [number for word, number, _ in fleet.lines() if word == "undone"] == [2, 1]
    outcome = handle.outcome(timeout=DEADLINE)
    if how == "failure":
        assert outcome.state is JobState.FAILED
        assert outcome.error is not None
        assert (outcome.error.type, outcome.error.text) == ("ValueError", "the third one")
        assert "what it had done was undone" in outcome.error.notes
    else:
        assert (outcome.state, outcome.reason) == (JobState.CANCELLED, "enough")
    assert fleet.count("end") == 2  # the steps themselves were not repeated
