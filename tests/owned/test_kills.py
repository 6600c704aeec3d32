"""SIGKILL for who owns jobs: a program, and a worker whose handler awaits them."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest
from anyio import fail_after

from .fleet import DEADLINE, LOOPS, Fleet, on_loops, unfinished, until, until_started

OWNER_LEASE_SECONDS = 2.5  # a sweep comes each second, so a shorter one may be noticed later than 1.5 leases
TREE = {"kind": "loop", "how": "group", "children": [{"kind": "loop", "children": [{"kind": "loop"}]}, {"kind": "thread"}]}
NODES = 4


@pytest.fixture
def owned(tmp_path: Path) -> Generator[Fleet, None, None]:
    """A fleet whose programs have a short lease on what they own."""
    fleet = Fleet(tmp_path, {"OWNER_LEASE": str(OWNER_LEASE_SECONDS)})
    yield fleet
    fleet.close()


@pytest.mark.parametrize("anyio_backend", [pytest.param(LOOPS["asyncio"], id="asyncio")])  # one client for owners on all loops
async def test_what_a_killed_program_awaited_ends_within_one_and_a_half_leases_and_the_rest_lives_on(owned: Fleet) -> None:
    owned.work(*LOOPS, lease=30)
    owners = {
        loop: owned.start("own", loop, path=f"owned-{loop}", tree=TREE, enqueue=[f"free-{loop}"], seconds=4) for loop in LOOPS
    }
    with fail_after(DEADLINE):
        async with owned.app() as app:
            for loop in LOOPS:
                await until(lambda loop=loop: len(owned.lines("start", f"owned-{loop}")) == NODES, "the tree")  # type: ignore[misc]
                await until(lambda loop=loop: owned.lines("start", f"free-{loop}"), "what was enqueued")  # type: ignore[misc]
            killed = time.monotonic()
            for owner in owners.values():
                owner.kill()
            await until(
                lambda: sum(len(owned.lines("left", f"owned-{loop}")) for loop in LOOPS) == NODES * 3, "the trees to end"
            )
            ended = max(line.at for line in owned.lines("left") if line.path.startswith("owned"))
            await until(lambda: len(owned.lines("done")) == 3, "what was enqueued to end")
            await until(lambda: not unfinished(app), "everything to be stored")
    assert ended - killed < 1.5 * OWNER_LEASE_SECONDS
    assert not [line for line in owned.lines() if line.path.startswith("owned") and line.at > ended]
    assert all(owned.lines("done", f"free-{loop}") for loop in LOOPS)


@on_loops("uvloop")
async def test_children_of_a_killed_worker_are_gone_before_the_next_attempt(fleet: Fleet, loop: str) -> None:
    first, second = fleet.work(loop, loop, lease=1, slots=1, queues=["default"])
    [children] = fleet.work(loop, lease=30, queues=["children"])
    with fail_after(DEADLINE):
        async with fleet.app() as app:
            handle = await app.job("parent", "family", "children", 60).enqueue()
            await until(lambda: len(fleet.lines("start")) == 3, "the parent and two children")
            await until_started(handle)
            [parent] = fleet.lines("start", "family")[:1]
            (first if first.pid == parent.pid else second).kill()
            assert await handle == 2
    again = [line for line in fleet.lines("start") if line.attempt == 2]
    assert [line.path for line in again] == ["family"]
    left = [line for line in fleet.lines("left") if line.pid == children.pid]
    assert sorted(line.path for line in left) == ["family.0", "family.1"]
    assert max(line.at for line in left) < again[0].at
    assert not fleet.lines("done", "family.0")


@on_loops("asyncio")
async def test_the_cancel_of_a_job_whose_worker_was_killed_is_answered_when_it_is_gone(fleet: Fleet, loop: str) -> None:
    [victim] = fleet.work(loop, lease=1)
    with fail_after(DEADLINE):
        async with fleet.app() as app:
            handle = await app.job("work", "victim", 60).enqueue()
            await until_started(handle)
            fleet.work(loop, lease=1)
            victim.kill()
            assert await handle.cancel("enough") == "cancelled"
    assert len(fleet.lines("start")) == 1
