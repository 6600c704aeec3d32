"""Limits and locks over three worker processes of the command line, and what is left of them when one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import cast

import pytest
from redis_server import fresh_url

from nursery_tasks import App, JobState
from nursery_tasks.client.sync_handle import SyncJobHandle

from .test_kill import DEADLINE, until

pytestmark = pytest.mark.timeout(150)  # ten seconds of a rate, or a lease; and three programs that start on a busy machine

BACKENDS = ("asyncio", "trio", "uvloop")  # one worker on each
SHORT_LEASE = """
import nursery_tasks.worker.options

nursery_tasks.worker.options.LEASE_SECONDS = 5.0  # instead of 15: those who were killed are waited for
"""
MODULE = """
import os
import time

import anyio

from nursery_tasks import App, Concurrency, RateLimit

app = App()


def note(word, name, number):
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{word} {name} {number} {os.getpid()} {time.time()}\\n")


async def work(name, number, seconds):
    note("begin", name, number)
    await anyio.sleep(seconds)
    note("end", name, number)
    return number


@app.task(limits=Concurrency(3))
async def few(number: int, seconds: float) -> int:
    return await work("few", number, seconds)


@app.task(limits=Concurrency(3, excess="reject"))
async def strict(number: int, seconds: float) -> int:
    return await work("strict", number, seconds)


@app.task(limits=RateLimit("10/s"))
async def tick(number: int) -> int:
    return await work("tick", number, 0)


@app.task(max_crashes=5)
async def notoverlap(number: int, seconds: float) -> int:
    async with app.lock("notoverlap", lease=2):
        return await work("notoverlap", number, seconds)


@app.task
def notoverlap_in_thread(number: int, seconds: float) -> int:
    with app.sync.lock("notoverlap", lease=2):
        note("begin", "notoverlap", number)
        time.sleep(seconds)
        note("end", "notoverlap", number)
    return number
"""


class Crew:
    """Workers of the command line on one broker, and a client."""

    def __init__(self, folder: Path, url: str, module: str = MODULE) -> None:
        self.folder, self.log = folder, folder / "log"
        self.environment = {**os.environ, "NURSERY_TASKS_BROKER": url, "LOG": str(self.log), "NO_COLOR": "1"}
        (folder / "limited.py").write_text(SHORT_LEASE + module)
        names: dict[str, object] = {"__name__": "limited"}
        exec(compile(module.replace("App()", f"App({url!r})"), "limited.py", "exec"), names)
        self.app = cast("App", names["app"])
        self._stack = ExitStack()

    def start(self, *backends: str, slots: int = 10, workers: int = 1) -> list[subprocess.Popen[str]]:
        """Start workers, and wait until all of them work."""
        started = [self._start(backend, slots, workers) for backend in backends]
        for process in started:
            assert process.stdout is not None
            assert any("to stop" in line for line in process.stdout), "the worker has ended"
        return started

    def _start(self, backend: str, slots: int, workers: int) -> subprocess.Popen[str]:
        how = ["--uvloop"] if backend == "uvloop" else ["--backend", backend]
        process = self._stack.enter_context(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "nursery_tasks",
                    "run",
                    "limited:app",
                    *how,
                    "--slots",
                    str(slots),
                    "--workers",
                    str(workers),
                ],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        return process

    def submit(self, name: str, *args: tuple[object, ...], task: str | None = None) -> list[SyncJobHandle[object]]:
        """Submit jobs as a program with the tasks' code does: it is what knows their limits."""
        known = self.app.get_task(task or name)
        return self.app.sync.enqueue_many([known.job(*each) for each in args])

    def run(self, *words: str) -> str:
        """Run a command of the command line, and return what it prints."""
        command = [sys.executable, "-m", "nursery_tasks", *words]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True).stdout

    def notes(self, name: str) -> list[tuple[str, int, int, float]]:
        """Return what handlers of this name have noted: word, number, process, moment."""
        lines = [line.split() for line in self.log.read_text().rpartition("\n")[0].splitlines()] if self.log.exists() else []
        return [(word, int(number), int(process), float(at)) for word, known, number, process, at in lines if known == name]

    def most_at_once(self, name: str) -> int:
        """Return how many of them ran at the same time, at most."""
        inside = most = 0
        for word, *_ in self.notes(name):
            inside += 1 if word == "begin" else -1
            most = max(most, inside)
        return most

    def close(self) -> None:
        self._stack.close()
        self.app.sync.close()


@contextmanager
def crew_on(name: str, folder: Path, module: str = MODULE) -> Iterator[Crew]:
    with fresh_url() if name == "redis" else nullcontext(f"sqlite:///{folder / 'jobs.db'}") as url:
        crew = Crew(folder, url, module)
        try:
            yield crew
        finally:
            crew.close()


@pytest.fixture(params=["sqlite", "redis"])
def crew(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Crew, None, None]:
    with crew_on(request.param, tmp_path) as crew:
        yield crew


def test_three_workers_hold_a_limit_together_and_refuse_the_excess(crew: Crew) -> None:
    crew.start(*BACKENDS)
    few = crew.submit("few", *[(number, 0.2) for number in range(9)])
    until(lambda: len(crew.notes("few")) >= 4, "jobs that follow others")
    strict = crew.submit("strict", *[(number, 3.0) for number in range(5)])
    assert [handle.result(timeout=DEADLINE) for handle in few] == list(range(9))
    assert crew.most_at_once("few") <= 3
    outcomes = [handle.outcome(timeout=DEADLINE) for handle in strict]
    assert sorted(outcome.state for outcome in outcomes) == [JobState.CANCELLED] * 2 + [JobState.SUCCEEDED] * 3
    assert {outcome.reason for outcome in outcomes if outcome.reason} == {"there was no room in its limit concurrency:strict"}


def test_a_hundred_jobs_at_ten_a_second_take_ten_seconds_on_three_workers(crew: Crew) -> None:
    crew.start(*BACKENDS)
    handles = crew.submit("tick", *[(number,) for number in range(100)])
    handles[-1].result(timeout=DEADLINE)  # the last one to start
    assert [handle.result(timeout=DEADLINE) for handle in handles] == list(range(100))
    moments = sorted(at for word, _, _, at in crew.notes("tick") if word == "begin")
    took = moments[-1] - moments[0]
    assert 9 <= took <= 11, f"it took {took:.2f} s"
    assert len({process for _, _, process, _ in crew.notes("tick")}) == 3


def test_a_killed_worker_gives_its_places_and_its_lock_back(crew: Crew) -> None:
    [victim] = crew.start("trio", slots=4)  # full with what follows, so what is submitted later is not the victim's
    few = crew.submit("few", *[(number, 60.0) for number in range(3)])
    [locked] = crew.submit("notoverlap", (0, 60.0))
    until(lambda: len(crew.notes("few")) == 3 and len(crew.notes("notoverlap")) == 1, "jobs that run")
    crew.start("asyncio")
    later = crew.submit("few", *[(number, 0.1) for number in range(3, 6)])
    follower = crew.submit("notoverlap", (1, 0.1), task="notoverlap_in_thread")[0]
    shown = crew.run("doctor", "--app", "limited:app")
    assert "concurrency:few" in shown
    assert "notoverlap" in shown
    victim.kill()
    victim.wait()
    for handle in (*few, locked):
        handle.cancel(wait=0)  # they would run for long again
    assert follower.result(timeout=DEADLINE) == 1  # nobody gave the lock back: its lease was over
    assert [handle.result(timeout=DEADLINE) for handle in later] == [3, 4, 5]


def test_three_handlers_with_a_lock_do_not_overlap(crew: Crew) -> None:
    crew.start(*BACKENDS, slots=2)
    handles = [
        *crew.submit("notoverlap", (1, 0.3), (2, 0.3)),
        *crew.submit("notoverlap", (3, 0.3), (4, 0.3), task="notoverlap_in_thread"),
    ]
    assert [handle.result(timeout=DEADLINE) for handle in handles] == [1, 2, 3, 4]
    assert crew.most_at_once("notoverlap") == 1
