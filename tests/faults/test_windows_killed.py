"""A debounce and a throttle over the command line, whose submitter and whose worker are killed: no key is stuck."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from .test_kill import DEADLINE, until
from .test_limits import Crew, crew_on

pytestmark = pytest.mark.timeout(150)  # a debounce, a lease that is over, and three programs that start on a busy machine

MODULE = """
import os
import time

import anyio

from nursery_tasks import App, Debounce, Throttle

app = App()


async def work(name, number, seconds):
    with open(os.environ["LOG"], "a") as log:
        log.write(f"begin {name} {number} {os.getpid()} {time.time()}\\n")
    await anyio.sleep(seconds)
    return number


@app.task(debounce=Debounce(1, key="{document}"), max_crashes=5)
async def save(document: str, number: int, seconds: float) -> int:
    return await work("save", number, seconds)


@app.task(throttle=Throttle(600, key="{user}"))
async def mail(user: str, number: int) -> int:
    return await work("mail", number, 0)
"""
SUBMITTER = """
from itertools import count

import limited

for number in count():
    jobs = [limited.save.job("a", number, 60.0), limited.mail.job("anna", number)]
    saved, mailed = limited.app.sync.enqueue_many(jobs)
    print(number, saved.id, mailed.id, flush=True)
"""


@pytest.fixture(params=["sqlite", "redis"])
def crew(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Crew, None, None]:
    with crew_on(request.param, tmp_path, MODULE) as crew:
        yield crew


def submit_until_killed(crew: Crew, times: int) -> list[list[str]]:
    """Let a program submit again and again, kill it after *times*, and return what it has printed of each time."""
    command = [sys.executable, "-c", SUBMITTER]
    with subprocess.Popen(command, cwd=crew.folder, env=crew.environment, stdout=subprocess.PIPE, text=True) as submitter:
        assert submitter.stdout is not None
        told = [submitter.stdout.readline().split() for _ in range(times)]
        submitter.kill()
        return told + [line.split() for line in submitter.stdout if line.endswith("\n")]  # it was killed in the middle of one


def test_neither_a_killed_submitter_nor_a_killed_worker_leaves_a_key_behind(crew: Crew) -> None:
    [victim] = crew.start("trio")
    told = submit_until_killed(crew, 30)
    assert len({saved for _, saved, _ in told}) == len({mailed for *_, mailed in told}) == 1
    until(lambda: bool(crew.notes("save")), "the debounced job")
    [(_, number, *_)] = crew.notes("save")
    assert number - int(told[-1][0]) in (0, 1)  # the last submission, which may have had no time to tell
    assert [number for _, number, *_ in crew.notes("mail")] == [0]
    victim.kill()
    victim.wait()
    [following, mailed] = crew.app.sync.enqueue_many(
        [crew.app.get_task("save").job("a", 1000, 0.0), crew.app.get_task("mail").job("anna", 1000)]
    )
    assert following.created
    assert following.id != told[0][1]
    assert (mailed.id, mailed.created) == (told[0][2], False)
    crew.start("asyncio")
    assert following.result(timeout=DEADLINE) == 1000
    assert mailed.result(timeout=DEADLINE) == 0
    lost = crew.app.sync.handle(told[0][1])
    until(lambda: len(crew.notes("save")) == 3, "the job of the worker that was killed, again")
    assert [each for _, each, *_ in crew.notes("save")].count(number) == 2
    lost.cancel()
    assert [each for _, each, *_ in crew.notes("mail")] == [0]
