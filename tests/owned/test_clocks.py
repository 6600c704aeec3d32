"""Deadlines on workers whose clocks are wrong: what travels is how much is left."""

from __future__ import annotations

import time

import pytest
from anyio import fail_after, move_on_after

from nursery_tasks import JobState
from nursery_tasks.errors import JobExpired, JobTimedOut

from .fleet import DEADLINE, Fleet, on_loops, unfinished

HOUR = 3600
TREE = {"kind": "loop", "how": "group", "children": [{"kind": "loop", "children": [{"kind": "loop"}]}, {"kind": "thread"}] * 2}
NODES = 7


@on_loops("asyncio")
async def test_clocks_that_are_an_hour_off_change_nothing_about_deadlines(fleet: Fleet, loop: str) -> None:
    ahead, behind = fleet.start("work", loop, slots=2, clock_off=HOUR), fleet.start("work", loop, slots=2, clock_off=-HOUR)
    fleet.wait_ready(ahead)
    fleet.wait_ready(behind)
    with fail_after(DEADLINE):
        async with fleet.app() as app:
            # The caller's deadline, and below the root that of a parent.
            with move_on_after(2) as scope:  # by then all of them have begun
                await app.job("node", "tree", TREE).run()
            assert scope.cancelled_caught
            assert unfinished(app) == []
            assert len(fleet.lines("start", "tree")) == len(fleet.lines("cancelled", "tree")) == NODES
            assert {line.pid for line in fleet.lines("start", "tree")} == {ahead.pid, behind.pid}

            # A timeout of its own, that ends nothing too early and nothing too late; while `expires` counts in the queue.
            limits = {"timeout": 10, "expires": 10}
            jobs = [await app.job("work", f"good{number}", 0.2).with_options(**limits).enqueue() for number in range(12)]
            for job in jobs:
                await job
            assert {line.pid for line in fleet.lines("done")} == {ahead.pid, behind.pid}
            for number in range(4):
                began = time.monotonic()
                with pytest.raises(JobTimedOut):
                    await app.job("work", f"late{number}", 60).with_options(timeout=0.1, expires=60).run()
                assert 0.1 <= time.monotonic() - began < 3
            never = await app.job("work", "never", 0).with_options(queue="nobody", timeout=60, expires=0.2).enqueue()
            with pytest.raises(JobExpired):
                await never
            assert await never.status() is JobState.EXPIRED
    assert not fleet.lines(below="never")
