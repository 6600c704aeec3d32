"""Worker processes of the command line that are killed while they run jobs with an ordering key."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from .test_kill import DEADLINE, until
from .test_limits import Crew, crew_on

pytestmark = pytest.mark.timeout(150)  # a lease, and programs that start on a busy machine

KEYS = "abcd"
MODULE = """
import os
import time

import anyio

from nursery_tasks import App

app = App()


@app.task(ordering_key="{account}", max_crashes=20, retry=3)
async def book(account: str, number: int, seconds: float) -> int:
    note("begin", account, number)
    await anyio.sleep(seconds)
    note("end", account, number)
    return number


def note(word, account, number):
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{word} {account} {number} {os.getpid()} {time.time()}\\n")
"""


@pytest.fixture(params=["sqlite", "redis"])
def crew(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Crew, None, None]:
    with crew_on(request.param, tmp_path, MODULE) as crew:
        yield crew


def expect_order(crew: Crew, account: str, numbers: int) -> None:
    """Expect each number to begin only after the one before has ended. Until the next begins it may begin again.

    Also when it has noted its end: it was killed before that was stored.
    """
    begun = ended = -1
    for word, number, *_ in crew.notes(account):
        is_next = word == "begin" and number == begun + 1 and ended == begun
        assert is_next or number == begun, f"{word} {number} after the beginning of {begun} and the end of {ended}"
        begun, ended = number, number if word == "end" else number - 1
    assert ended == numbers - 1


def test_killed_workers_change_no_order(crew: Crew) -> None:
    """Workers under a supervisor, which ends the leases of those that die: three of them are killed in the middle."""
    crew.start("asyncio", slots=4, workers=2)
    handles = crew.submit("book", *[(account, number, 0.05) for number in range(12) for account in KEYS], task="book")
    killed: set[int] = set()
    for share in (1, 2, 3):
        until(lambda share=share: len(crew.notes("a")) >= 6 * share, "jobs that run")  # type: ignore[misc]
        victim = next((process for _, _, process, _ in reversed(crew.notes("a")) if process not in killed), 0)
        killed.add(victim)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    assert [handle.result(timeout=DEADLINE) for handle in handles] == [number for number in range(12) for _ in KEYS]
    for account in KEYS:
        expect_order(crew, account, 12)


def test_a_key_goes_on_after_the_lease_of_a_killed_worker(crew: Crew) -> None:
    [victim] = crew.start("trio", slots=4)
    [stuck] = crew.submit("book", ("a", 0, 60.0))
    later = crew.submit("book", *[("a", number, 0.0) for number in range(1, 5)])
    until(lambda: len(crew.notes("a")) == 1, "the first one")
    crew.start("asyncio")
    assert "order:book a" in crew.run("doctor", "--app", "limited:app")
    victim.kill()
    victim.wait()
    until(lambda: len(crew.notes("a")) == 2, "the first one again")  # nobody passes it: it has its turn
    assert [number for _, number, *_ in crew.notes("a")] == [0, 0]
    stuck.cancel(wait=0)
    assert [handle.result(timeout=DEADLINE) for handle in later] == [1, 2, 3, 4]
    assert [number for word, number, *_ in crew.notes("a") if word == "begin"] == [0, 0, 1, 2, 3, 4]
