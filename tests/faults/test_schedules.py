"""Schedules under kill -9: each slot has one job, and none is missing, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis_server import fresh_url

from nursery_tasks import App, JobInfo, JobState, ScheduleInfo

DEADLINE = 40.0
MODULE = """
from datetime import timedelta
from nursery_tasks import App, every

app = App()

@app.task(schedule=every({seconds}), result_ttl=timedelta(hours=1))
async def beat() -> None:
    pass
"""


class Fleet:
    """Workers by the command line, on one broker."""

    def __init__(self, folder: Path, url: str, seconds: float) -> None:
        self.folder, self.app = folder, App(url)
        self.every = timedelta(seconds=seconds)
        self._environment = {**os.environ, "NURSERY_TASKS_BROKER": url}
        self.stack = ExitStack()
        (folder / "fleet_module.py").write_text(MODULE.format(seconds=seconds))

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "nursery_tasks", "run", "fleet_module:app", "--quiet"]
        process = self.stack.enter_context(subprocess.Popen(command, cwd=self.folder, env=self._environment))
        self.stack.callback(process.kill)
        return process

    def info(self) -> ScheduleInfo | None:
        return self.app.sync.schedules.get("beat")

    def jobs(self) -> list[JobInfo]:
        found: list[JobInfo] = []
        while page := self.app.sync.jobs.list(task="beat", limit=1000, after=found[-1].cursor if found else 0):
            found += page
        return found


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str, None, None]:
    place = fresh_url() if request.param == "redis" else nullcontext(f"sqlite:///{tmp_path}/jobs.db")
    with place as url:
        yield url


def slot_of(job: JobInfo) -> datetime:
    return datetime.fromisoformat(job.id.partition("@")[2])


def wait_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


@pytest.mark.parametrize(
    ("seconds", "slots"),
    [(0.5, 20), pytest.param(1, 60, marks=pytest.mark.soak), pytest.param(0.5, 120, marks=pytest.mark.soak)],
)
def test_three_workers_of_which_two_are_killed(tmp_path: Path, url: str, seconds: float, slots: int) -> None:
    fleet = Fleet(tmp_path, url, seconds)
    with fleet.stack:
        workers = [fleet.start() for _ in range(3)]
        until = time.monotonic() + DEADLINE
        while (info := fleet.info()) is None or len(fleet.app.sync.broker().admin.list_workers()) < 3:  # type: ignore[union-attr]
            assert time.monotonic() < until, "no worker works"
            time.sleep(0.05)
        first = info.next_slot
        assert first is not None
        last = first + (slots - 1) * fleet.every
        for part in (1, 2):
            wait_until(first + part * slots / 3 * fleet.every)
            workers[part - 1].send_signal(signal.SIGKILL)
            workers.append(fleet.start())
        while (info := fleet.info()) is None or info.last_slot is None or info.last_slot < last:
            assert time.monotonic() < until + slots * seconds, f"the last slot does not come: {info}"
            time.sleep(0.05)
        expected = [first + number * fleet.every for number in range(slots)]
        while any(job.state is not JobState.SUCCEEDED for job in fleet.jobs() if slot_of(job) <= last):
            assert time.monotonic() < until + slots * seconds + 20, "a job does not end"
            time.sleep(0.1)
        assert sorted(slot for job in fleet.jobs() if first <= (slot := slot_of(job)) <= last) == expected
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        late = sorted(job.created_at - slot_of(job).timestamp() for job in fleet.jobs())
        median, most = late[len(late) // 2] * 1000, late[-1] * 1000
        print(f"{len(late)} runs, submitted after their slots: median {median:.1f} ms, most {most:.1f} ms")
    fleet.app.sync.close()
