"""Worker processes of the command line that are killed while they run jobs which are delivered at most once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from nursery_tasks import JobState
from nursery_tasks.model.reasons import LOST_OR_GIVEN_BACK, WORKER_STOPS, once_over

from .test_kill import DEADLINE, until
from .test_limits import Crew, crew_on

pytestmark = pytest.mark.timeout(150)  # a lease, and programs that start on a busy machine

MODULE = """
import os
import time

import anyio

from nursery_tasks import App

app = App()


@app.task(delivery="at_most_once")
async def pay(number: int, seconds: float) -> int:
    note("begin", number)
    await anyio.sleep(seconds)
    note("end", number)
    return number


@app.task(delivery="at_most_once")
def pay_in_thread(number: int, seconds: float) -> int:
    note("begin", number)
    time.sleep(seconds)
    note("end", number)
    return number


def note(word, number):
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{word} pay {number} {os.getpid()} {time.time()}\\n")
"""


@pytest.fixture(params=["sqlite", "redis"])
def crew(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Crew, None, None]:
    with crew_on(request.param, tmp_path, MODULE) as crew:
        yield crew


def begun(crew: Crew) -> list[int]:
    return [number for word, number, *_ in crew.notes("pay") if word == "begin"]


def kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def test_killed_workers_start_no_job_twice(crew: Crew) -> None:
    """Workers under a supervisor, which ends the leases of those that die: three of them are killed in the middle."""
    crew.start("asyncio", slots=4, workers=2)
    handles = [
        *crew.submit("pay", *[(number, 0.15) for number in range(60)]),
        *crew.submit("pay", *[(number, 0.15) for number in range(60, 80)], task="pay_in_thread"),
    ]
    killed: set[int] = set()
    for _ in range(3):
        here = len(begun(crew))
        until(lambda here=here: len(begun(crew)) >= here + 6, "jobs that begin")  # type: ignore[misc]
        victim = next(process for _, _, process, _ in reversed(crew.notes("pay")) if process not in killed)
        killed.add(victim)
        kill(victim)
    outcomes = [handle.outcome(timeout=DEADLINE) for handle in handles]
    assert Counter(begun(crew)).most_common(1)[0][1] == 1
    states = Counter(outcome.state for outcome in outcomes)
    assert states.keys() == {JobState.SUCCEEDED, JobState.DEAD}
    assert states[JobState.DEAD] >= 1
    assert {outcome.reason for outcome in outcomes if outcome.state is JobState.DEAD} == {once_over(LOST_OR_GIVEN_BACK)}
    ended = {number for word, number, *_ in crew.notes("pay") if word == "end"}
    assert {number for number, outcome in enumerate(outcomes) if outcome.state is JobState.SUCCEEDED} <= ended


def test_what_was_lost_with_a_lone_worker_is_dead_after_its_lease_and_the_rest_runs(crew: Crew) -> None:
    [victim] = crew.start("trio", slots=3)
    lost = crew.submit("pay", *[(number, 60.0) for number in range(3)])
    until(lambda: len(begun(crew)) == 3, "jobs that run")
    waiting = crew.submit("pay", (3, 0.0), (4, 0.0))
    victim.kill()
    victim.wait()
    [stopped] = crew.start("asyncio", slots=1)
    assert [handle.result(timeout=DEADLINE) for handle in waiting] == [3, 4]
    assert {(handle.outcome(timeout=DEADLINE).state, handle.outcome().reason) for handle in lost} == {
        (JobState.DEAD, once_over(LOST_OR_GIVEN_BACK))
    }
    assert sorted(begun(crew)) == [0, 1, 2, 3, 4]
    [cut] = crew.submit("pay", (5, 60.0))
    until(lambda: 5 in begun(crew), "a job that runs")
    stopped.send_signal(signal.SIGINT)
    crew.run("retry", lost[0].id)  # a person decides anew; meanwhile the worker has heard
    assert lost[0].status() is JobState.READY
    stopped.send_signal(signal.SIGINT)  # the second one cancels what runs
    outcome = cut.outcome(timeout=DEADLINE)
    assert (outcome.state, outcome.reason) == (JobState.DEAD, once_over(WORKER_STOPS))
    assert stopped.stdout is not None
    assert "; 1 job cut short and dead, as delivered at most once\n" in stopped.stdout.read()
