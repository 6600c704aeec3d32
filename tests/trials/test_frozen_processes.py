"""Processes that do not run for a while, stopped by `kill -STOP` or with the whole machine: what they do when they go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support import open_file

from nursery_tasks import App, Job
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.brokers.sqlite.clock import JUMP_SECONDS, BrokerClock
from nursery_tasks.brokers.sqlite.maintenance import CLOCK_SECONDS
from nursery_tasks.model.delivery import Delivery
from nursery_tasks.testing.contract import ManualClock
from nursery_tasks.testing.contract.steps import claim, claim_one, job, submit, submit_and_claim
from nursery_tasks.worker.attempt_context import LocalContext
from nursery_tasks.worker.in_flight import InFlightJobs
from nursery_tasks.worker.watchdog import Watchdog

PROGRAM = Path(__file__).with_name("frozen_program.py")
DEADLINE = 30.0
STOPPED_SECONDS = CLOCK_SECONDS + 2.0  # the others' clock is stored meanwhile


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nt") as name:  # pytest's own folders have names too long for sockets
        yield Path(name).resolve()


class Crew:
    """Workers on one file, and a client."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "jobs.db", folder / "log"
        self.url = f"sqlite:///{self.path}"
        self.client = App(self.url)
        self._stack = ExitStack()
        self._broker = SqliteBroker(self.path)
        self._stack.callback(self._broker.close)

    def start(self, backend: str = "asyncio", *arguments: str) -> subprocess.Popen[str]:
        """Start a worker, and wait until it works."""
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(PROGRAM), backend, *arguments],
                env={**os.environ, "NURSERY_TASKS_BROKER": self.url, "LOG": str(self.log)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def begun(self, name: str) -> int:
        """Say how often a job has begun."""
        return self.log.read_text().splitlines().count(f"begin {name}") if self.log.exists() else 0

    def stored_clock(self) -> float:
        """Return the latest moment that any process has stored."""
        with closing(open_file(self.path)) as connection:
            return max((value for (value,) in connection.execute("SELECT value FROM meta WHERE name = 'clock'")), default=0.0)

    def seen(self) -> list[float]:
        """Return when each worker told of itself for the last time."""
        return [record.seen_at for record in self._broker.admin.list_workers()]

    def close(self) -> None:
        """Kill what runs."""
        self._stack.close()
        self.client.sync.close()


@pytest.fixture
def crew(folder: Path) -> Iterator[Crew]:
    crew = Crew(folder)
    yield crew
    crew.close()


def until(condition: Callable[[], object], what: str) -> None:
    """Look until *condition* holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE:g} s for {what}"
        time.sleep(0.01)


# --- the clock of the file ------------------------------------------------------------------------------------------------


def test_workers_that_were_stopped_cost_a_healthy_one_no_lease_and_start_nothing_early(crew: Crew) -> None:
    idle = [crew.start(backend) for backend in ("asyncio", "trio", "asyncio", "trio", "asyncio")]
    healthy = crew.start()
    later: Job[str] = crew.client.job("work", "later", 0.0).with_options(delay=STOPPED_SECONDS + 3.0)
    for process in idle:
        process.send_signal(signal.SIGSTOP)
    began, stopped = time.time(), crew.stored_clock()
    long = [crew.client.job("work", f"long-{number}", STOPPED_SECONDS + 4.0) for number in range(4)]
    delayed, *handles = crew.client.sync.enqueue_many([later, *long])
    until(lambda: all(crew.begun(f"long-{number}") for number in range(4)), "the healthy worker to begin")
    until(lambda: time.time() > began + STOPPED_SECONDS and crew.stored_clock() > stopped, "the file's clock to move on")
    resumed = time.time()
    for process in idle:
        process.send_signal(signal.SIGCONT)
    until(lambda: sum(seen > resumed for seen in crew.seen()) == 6, "all workers to tell that they live")
    assert [handle.result(timeout=DEADLINE) for handle in handles] == [f"long-{number}" for number in range(4)]
    assert crew.stored_clock() <= time.time()
    assert [crew.begun(f"long-{number}") for number in range(4)] == [1, 1, 1, 1]
    started_at = delayed.outcome(timeout=DEADLINE).started_at
    assert started_at is not None
    assert started_at >= began + STOPPED_SECONDS + 3.0
    assert healthy.poll() is None


def test_a_process_that_did_not_run_takes_the_time_over_from_others_and_adds_nothing() -> None:
    source = ManualClock(1_000.0)
    clock = BrokerClock(source)
    source.advance(40)
    clock.raise_to(1_039.0)  # stored by a process that ran meanwhile
    assert clock() == 1_040
    source.advance(0.2)
    clock.raise_to(1_040.1)
    source.advance(0.2)
    assert clock() == pytest.approx(1_040.4)


def test_a_clock_that_was_set_back_goes_at_half_speed_also_through_a_stop() -> None:
    source = ManualClock(1_000.0)
    clock = BrokerClock(source)
    source.advance(-100)
    assert clock() == 1_000
    source.advance(40)  # in which another process went on, at half speed, too, and has stored where it is
    clock.raise_to(1_019.0)
    assert clock() == 1_020
    source.advance(10)
    clock.raise_to(1_030.0)  # from one that has not seen the step
    source.advance(10)
    assert clock() == 1_035


@pytest.mark.parametrize("gap_seconds", [0.5, 40.0])
def test_a_broker_that_was_not_used_for_a_while_is_not_ahead_of_the_others(folder: Path, gap_seconds: float) -> None:
    """Also one that was opened by a worker which then took its time to start."""
    source = ManualClock()
    healthy = SqliteBroker(folder / "jobs.db", clock=source)
    idle = SqliteBroker(folder / "jobs.db", clock=source)
    try:
        submit(healthy, job("later", delay_seconds=gap_seconds + 1.0, queue="other"))
        delivery = submit_and_claim(healthy, "long")
        for _ in range(8):
            source.advance(gap_seconds / 8)
            healthy.sweep(10)
            assert [renewal.state for renewal in healthy.renew([delivery], 1.0 + gap_seconds / 8)] == ["held"]
        for _ in range(2):
            swept = idle.sweep(10)
            assert (swept.due, swept.returned) == (0, 0)
        assert claim(idle, queues=["other"]) == []
        source.advance(1.0)
        assert idle.sweep(10).due == 1
        claim_one(healthy, "later", queues=["other"])
    finally:
        healthy.close()
        idle.close()


def test_a_stop_between_two_readings_is_no_jump_of_the_clock() -> None:
    wall, steady = ManualClock(1_000.0), ManualClock(0.0)
    stops = [0.0] * 4

    def read_wall() -> float:
        stop()
        return wall()

    def read_steady() -> float:
        stop()
        return steady()

    def stop() -> None:
        seconds = stops.pop() if stops else 0.0
        wall.advance(seconds)
        steady.advance(seconds)

    clock = BrokerClock(read_wall, steady=read_steady)
    for place in range(4):
        stops[:] = [0.0] * (3 - place) + [10 * JUMP_SECONDS] + [0.0] * place
        for _ in range(3):
            clock()
            assert not clock.has_jumped


# --- the worker itself ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_worker_that_was_stopped_for_longer_than_a_loop_may_block_goes_on(crew: Crew, backend: str) -> None:
    worker = crew.start(backend, "1.5")
    worker.send_signal(signal.SIGSTOP)
    time.sleep(4.0)  # the stop itself: more than 1.5 s and a pause of the lease keeper
    worker.send_signal(signal.SIGCONT)
    [handle] = crew.client.sync.enqueue_many([crew.client.job("work", "after", 2.0)])
    assert handle.result(timeout=DEADLINE) == "after"
    assert worker.poll() is None


async def test_a_handler_that_was_told_to_end_has_its_time_also_when_the_process_is_stopped_in_between() -> None:
    given_up: list[float] = []
    held = InFlightJobs()
    watchdog = Watchdog(held, lambda item, late: given_up.append(late), lambda count: None, cleanup_seconds=5.0)
    [item] = held.add([Delivery(id="a", queue="q", task="t", payload=b"{}", token=b"")], 0.0, 0.0)
    item.context = LocalContext(item, None, None)  # type: ignore[arg-type]  # neither is asked for
    item.cancel("no longer wanted")
    watchdog._look_at(item, 100.0, 0.0)  # it is told now
    watchdog._look_at(item, 141.0, 40.5)
    assert (item.watched, given_up) == (0, [])
    watchdog._look_at(item, 144.0, 0.0)
    assert (item.watched, given_up) == (1, [])
    watchdog._look_at(item, 145.6, 0.0)
    assert given_up == [pytest.approx(5.1)]
