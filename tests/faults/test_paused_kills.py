"""Workers that are killed while what they claim is paused: none of it starts, is lost, or stays stuck."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from nursery_tasks import JobState

from .test_kill import DEADLINE, until
from .test_limits import Crew, crew_on

pytestmark = pytest.mark.timeout(150)  # leases, and programs that start on a busy machine

NUMBERS = 150  # of each customer
MODULE = """
import os
import time

import anyio

from nursery_tasks import App

app = App()


@app.task(max_crashes=20)
async def load(customer: str, number: int) -> int:
    with open(os.environ["LOG"], "a") as log:
        log.write(f"begin {customer} {number} {os.getpid()} {time.time()}\\n")
    await anyio.sleep(0.02)
    return number
"""


@pytest.fixture(params=["sqlite", "redis"])
def crew(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Crew, None, None]:
    with crew_on(request.param, tmp_path, MODULE) as crew:
        yield crew


def test_what_is_paused_waits_through_deaths_and_none_is_lost(crew: Crew) -> None:
    first, second = crew.start("asyncio", "trio", slots=4)
    calls = [(customer, number) for number in range(NUMBERS) for customer in ("eu-7", "us-1")]
    handles = crew.submit("load", *calls)
    of = {
        customer: [handle for handle, call in zip(handles, calls, strict=True) if call[0] == customer] for customer, _ in calls
    }
    pauses = crew.app.sync.pauses
    until(lambda: len(crew.notes("us-1")) >= 10, "jobs that run")
    pauses.pause("load", where={"customer": "eu-7"})
    first.kill()  # with jobs that it has claimed, started, and is giving back
    paused_at = time.time()
    first.wait()
    until(lambda: pauses.list()[0].waiting >= 20, "jobs that were put aside")
    second.kill()
    second.wait()
    crew.start("asyncio", slots=8)
    assert [handle.result(timeout=DEADLINE) for handle in of["us-1"]] == list(range(NUMBERS))

    def waiting() -> int:
        return sum(handle.status() is JobState.SCHEDULED for handle in of["eu-7"])

    done = {handle.id for handle in of["eu-7"] if handle.ready()}
    until(lambda: waiting() + len(done) == NUMBERS, "all others to be put aside, also what the dead have had")
    assert pauses.list()[0].waiting == waiting()
    assert all(moment < paused_at + 2.0 for _, _, _, moment in crew.notes("eu-7"))  # until each worker has heard of it
    assert {handle.id for handle in of["eu-7"] if handle.ready()} == done
    before = len(crew.notes("eu-7"))
    assert pauses.resume("load", where={"customer": "eu-7"})
    assert [handle.result(timeout=DEADLINE) for handle in of["eu-7"]] == list(range(NUMBERS))
    later = [number for _, number, _, _ in crew.notes("eu-7")[before:]]
    assert max(Counter(later).values()) == 1
    assert len(later) == NUMBERS - len(done)
    assert {info.name: info.counts for info in crew.app.sync.queues.list()} == {
        "default": {JobState.SUCCEEDED: 2 * NUMBERS},
    }
    assert "load" not in crew.run("paused")
