"""A file that is locked for longer than a lease: what ended meanwhile is stored, and nobody takes it away before."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from anyio import fail_after, sleep
from support import Gate, open_file

from nursery_tasks import App
from nursery_tasks.brokers.sqlite.lockout import Lockout
from nursery_tasks.events import EventKind

LEASE = 4.0
DEADLINE = 40.0


@pytest.mark.parametrize("busy", [0.5, 30], ids=["calls that give up", "calls that wait"])
async def test_work_that_ended_while_the_file_was_locked_is_stored_though_every_lease_was_over(
    tmp_path: Path, busy: float
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?busy_timeout={busy}"
    app, beside = App(url), App(url)
    gate, runs, stale = Gate(), [], []

    async def work() -> int:
        runs.append(1)
        await gate.pass_through()
        return len(runs)

    for each in (app, beside):
        each.task(name="work")(work)
        each.subscribe(lambda event: stale.append(event) if event.kind is EventKind.STALE else None)
    with fail_after(DEADLINE):
        async with app, beside, app.open_worker(lease=LEASE), beside.open_worker(lease=LEASE):
            job = await app.job("work").enqueue()
            await gate.wait_for(1)
            with closing(open_file(tmp_path / "jobs.db")) as somebody:
                somebody.execute("BEGIN IMMEDIATE")
                gate.open()
                await sleep(LEASE + 1)  # what is tested is how long the file is locked
            assert await job == 1
    assert len(runs) == 1
    assert not stale


def test_leases_are_believed_to_be_over_by_who_could_write_for_a_moment() -> None:
    now = [100.0]
    lockout = Lockout(lambda: now[0])
    assert not lockout.is_past
    lockout.wrote()
    assert not lockout.is_past
    now[0] += 1.0  # the next sweep
    assert lockout.is_past
    lockout.wrote()
    now[0] += 4.0  # nothing was written for a while: it may not have been possible
    assert not lockout.is_past
    lockout.wrote()
    now[0] += 1.0
    with lockout.waiting():
        now[0] += 0.5
    lockout.wrote()
    assert lockout.is_past


def test_after_a_long_wait_for_the_lock_leases_are_believed_to_be_over_some_seconds_later() -> None:
    now = [100.0]
    lockout = Lockout(lambda: now[0])
    lockout.wrote()
    with lockout.waiting():
        now[0] += 3.0
    for _ in range(5):
        lockout.wrote()
        assert not lockout.is_past
        now[0] += 1.0
    assert lockout.is_past
