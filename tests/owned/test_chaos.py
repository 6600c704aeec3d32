"""Random trees whose callers leave while workers are killed and frozen: late, but as sure as without."""

from __future__ import annotations

import random
import signal
import subprocess
import time

import pytest
from anyio import Event, create_task_group, fail_after, sleep, to_thread

from .fleet import Fleet, tree_job, unfinished
from .test_random import KINDS, by_child, by_handle, by_timeout, draw_tree

LEASE_SECONDS = 1.0  # much shorter than the eight seconds that a caller waits for what it owns to be gone
WORKERS = 3
RUNS = 60
DRIVERS = [by_timeout, by_handle, by_child]


class Killer:
    """Kills a worker now and then, or freezes it past its lease, and starts another one."""

    def __init__(self, fleet: Fleet, loop: str, chance: random.Random) -> None:
        self._fleet, self._loop, self._chance = fleet, loop, chance
        self._stopped = Event()
        self.workers = self._start(WORKERS)
        self.killed = 0

    def _start(self, count: int) -> list[subprocess.Popen[str]]:
        return self._fleet.work(*[self._loop] * count, slots=4, lease=LEASE_SECONDS)

    async def serve(self) -> None:
        """Do it until stopped."""
        while not self._stopped.is_set():
            await sleep(self._chance.uniform(0.1, 0.8))
            victim = self.workers.pop(self._chance.randrange(WORKERS))
            if self._chance.random() < 0.3:
                victim.send_signal(signal.SIGSTOP)
                self.workers += await to_thread.run_sync(self._start, 1)
                await sleep(LEASE_SECONDS * 1.5)
                victim.send_signal(signal.SIGCONT)
                await sleep(self._chance.uniform(0, 0.5))
                victim.kill()
            else:
                victim.kill()
                self.workers += await to_thread.run_sync(self._start, 1)
            self.killed += 1

    def stop(self) -> None:
        """End it after its next victim."""
        self._stopped.set()


@pytest.mark.soak
async def test_callers_that_leave_while_workers_die_leave_nothing_behind(fleet: Fleet, loop: str) -> None:
    chance = random.Random(loop)
    killer = Killer(fleet, loop, chance)
    async with fleet.app() as app, create_task_group() as tg:
        tg.start_soon(killer.serve)
        for number in range(RUNS):
            path, moment = f"run{number}", chance.uniform(0, 0.8)
            job, drive = tree_job(app, path, draw_tree(chance, KINDS) | {"seconds": 60}), chance.choice(DRIVERS)
            with fail_after(30):
                await drive(app, job, path, moment)
            left = time.monotonic()
            assert unfinished(app) == [], number
            await sleep(0.05)
            late = [line for line in fleet.lines(below=path) if line.at > left]
            assert late == [], number
        killer.stop()
    settled = len(fleet.lines())
    await sleep(LEASE_SECONDS)
    assert len(fleet.lines()) == settled
    assert killer.killed > 5
