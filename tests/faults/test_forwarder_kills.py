"""Workers that are killed while they send messages: none is lost, doubles have equal ids, and the order stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from redis_server import fresh_url

from nursery_tasks.brokers.needed import outbox_of
from nursery_tasks.brokers.url import open_broker

from . import forwarder_program
from .forwarder_program import outgoing
from .test_kill import until

PROGRAM = Path(forwarder_program.__file__)

pytestmark = pytest.mark.timeout(120)  # four programs one after the other, three leases that are over, on a busy machine


class Place:
    """One broker, the file that messages are sent to, and the programs that send them."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.log = folder / "log"
        self._environment = {**os.environ, "NURSERY_TASKS_BROKER": url, "LOG": str(self.log)}
        self._folder, self._stack = folder, stack
        self._broker = open_broker(url)
        self.outbox = outbox_of(self._broker)
        stack.callback(self._broker.close)

    def start(self, backend: str, when: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(PROGRAM), backend, when]
        program = self._stack.enter_context(subprocess.Popen(command, cwd=self._folder, env=self._environment))
        self._stack.callback(program.kill)
        return program

    def left(self) -> int:
        return sum(record.count for record in self.outbox.list_outboxes(10))

    def sent(self) -> list[str]:
        """Return the ids in the order in which they came, doubles too."""
        return [line.split()[1] for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Place, None, None]:
    with (
        fresh_url() if request.param == "redis" else nullcontext(f"sqlite:///{tmp_path / 'jobs.db'}") as url,
        ExitStack() as stack,
    ):
        yield Place(url, tmp_path, stack)


def expect_all(sent: Sequence[str], wanted: Sequence[str]) -> None:
    assert list(dict.fromkeys(sent)) == list(wanted)


def test_workers_that_are_killed_while_they_send_lose_nothing(place: Place) -> None:
    """Killed before, in the middle of, and after a batch; the last one between its confirmation and the drop."""
    ids = [f"m-{number:03}" for number in range(650)]
    place.outbox.put_outgoing(outgoing(*ids))
    for backend, when in (("asyncio", "before"), ("trio", "half"), ("asyncio", "after")):
        assert place.start(backend, when).wait(60) == -9
        assert place.left() > 0
    twice = [each for each in set(place.sent()) if place.sent().count(each) > 1]
    assert len(twice) == 50  # of the half batch; that of the last one is not sent again yet
    place.start("trio", "never")
    until(lambda: place.left() == 0, "the rest is sent")
    expect_all(place.sent(), ids)
    assert len(place.sent()) == len(ids) + 50 + 100


def test_a_worker_that_is_killed_after_an_outcome_leaves_its_messages_to_others(place: Place) -> None:
    assert place.start("asyncio", "outcome").wait(60) == -9
    assert place.left() == 3
    place.start("trio", "never")
    until(lambda: place.left() == 0, "the messages are sent")
    assert place.sent() == ["o-1", "o-2", "o-3"]
