"""What a worker that dies held: noted where its supervisor can read it, and given back at once by another worker."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import anyio
import pytest

from nursery_tasks import App, JobState
from nursery_tasks.shared_leases import ENTRIES, NOWHERE, SharedLease, SharedLeases, open_shared_leases, read_shared_leases
from nursery_tasks.supervisor.link import DRAIN, LOST, LOST_MOST, read_lost, write_lost
from nursery_tasks.supervisor.member import Member
from nursery_tasks.testing import lab_backend, open_lab
from nursery_tasks.worker.options import LEASE_SECONDS


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return lab_backend()


@pytest.fixture
def descriptor() -> Generator[int, None, None]:
    opened = open_shared_leases()
    yield opened
    os.close(opened)


def test_the_other_side_reads_what_is_held_and_what_runs(descriptor: int) -> None:
    shared_leases = SharedLeases(os.dup(descriptor))
    places = [shared_leases.add(f"job-{n}", b"token-%d" % n, n) for n in range(4)]
    shared_leases.mark(places[1], running=True)
    shared_leases.mark(places[2], running=True)
    shared_leases.mark(places[2], running=False)
    shared_leases.remove(places[3])
    wanted = [SharedLease(n == 1, f"job-{n}", b"token-%d" % n, n) for n in range(3)]
    assert read_shared_leases(descriptor) == wanted
    assert read_lost(write_lost(wanted)) == wanted


def test_an_address_may_be_bytes_and_places_are_used_again(descriptor: int) -> None:
    shared_leases = SharedLeases(os.dup(descriptor))
    for _ in range(3):
        places = [shared_leases.add("a" * 32, b"t" * 30, b"%014d" % n) for n in range(ENTRIES)]
        assert len(set(places)) == ENTRIES
        assert shared_leases.add("one too many", b"t", 0) == NOWHERE
        for place in places:
            shared_leases.remove(place)
    shared_leases.mark(NOWHERE, running=True)
    shared_leases.remove(NOWHERE)
    assert shared_leases.add("a" * 200, b"t" * 30, 1) == NOWHERE
    assert read_shared_leases(descriptor) == []


def test_a_full_pipe_takes_no_half_line_of_what_was_lost(descriptor: int) -> None:
    shared_leases = SharedLeases(os.dup(descriptor))
    places = [shared_leases.add("a" * 64, b"t" * 30, b"%025d" % n) for n in range(ENTRIES)]
    assert NOWHERE not in places  # as long as an entry can be
    left = read_shared_leases(descriptor)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    member = Member("crew", "crew-1", 1, lambda member, report: None)
    member._commands = theirs
    member.send_leases(left)
    lines = os.read(ours, 1 << 20)
    member.drain()
    *lost, drain = (lines + os.read(ours, 1 << 20)).decode().splitlines()
    assert drain == DRAIN
    assert LOST_MOST <= sum(len(read_lost(line.removeprefix(f"{LOST} "))) for line in lost) < len(left)
    os.close(ours)
    os.close(theirs)


async def test_a_worker_notes_what_it_holds_until_it_is_stored(memory_app: App, descriptor: int) -> None:
    seen: list[list[SharedLease]] = []

    @memory_app.task
    async def look() -> None:
        await anyio.sleep(1)
        seen.append(read_shared_leases(descriptor))

    async with open_lab(memory_app), memory_app.open_worker(queues=["noted"], shared_leases=SharedLeases(os.dup(descriptor))):
        await look.options(queue="noted").run()
        await anyio.sleep(1)
        assert [(each.running, len(each.token)) for each in seen[0]] == [(True, 16)]
        assert read_shared_leases(descriptor) == []


async def test_a_worker_ends_the_leases_of_one_that_is_dead(memory_app: App) -> None:
    @memory_app.task(max_crashes=1)
    async def work() -> str:
        return "done"

    async with open_lab(memory_app) as lab:
        broker = memory_app.connection.gateway.broker
        handles = [await work.options(queue="dead").enqueue() for _ in range(3)]
        claimed, running, ended = broker.claim(["dead"], 3, "dead-1", 1_000_000.0)
        left = [
            SharedLease(False, claimed.id, claimed.token, claimed.address),
            SharedLease(True, running.id, running.token, running.address),
            SharedLease(True, ended.id, b"old token" + b"." * 7, ended.address),
        ]
        async with memory_app.open_worker(queues=["dead"]) as worker:
            worker.end_leases(left)
            assert await handles[0] == "done"
            outcome = await handles[1].outcome()
            assert (outcome.state, outcome.reason) == (JobState.DEAD, "the worker that ran it died")
            assert lab.elapsed_seconds < LEASE_SECONDS
            assert await handles[2].status() is JobState.CLAIMED
