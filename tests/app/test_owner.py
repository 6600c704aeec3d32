"""The lease of a program on the jobs that it awaits."""

from __future__ import annotations

import time

import msgspec
import pytest
from anyio import create_task_group, fail_after, to_thread
from support import DEADLINE, Gate, admin, until, until_state, working

from nursery_tasks import App, JobState
from nursery_tasks.client.connection import ABANDONED
from nursery_tasks.client.owner import OwnerLease
from nursery_tasks.current import owner_on
from nursery_tasks.errors import BrokerUnavailable, JobCancelled
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.model.reasons import OWNER_ENDED, OWNER_GONE
from nursery_tasks.testing import FaultyBroker

LEASE = 0.3


async def test_what_is_awaited_has_an_owner_and_what_is_enqueued_has_none(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app), create_task_group() as tg:
        tg.start_soon(hang.run)
        detached = await hang.enqueue()
        await gate.wait_for(2)
        owned = {record.id: record.owned for record in admin(app).jobs(JobFilter(), 10)}
        assert owned.pop(detached.id) is False
        assert list(owned.values()) == [True]
        gate.open()


async def test_an_owner_that_prolongs_nothing_loses_its_jobs(app: App) -> None:
    """As one that was killed: only what it awaited ends."""
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        submission = hang.job().to_submission("owned", time.time(), 10_000)
        await app.connection.gateway.submit([msgspec.structs.replace(submission, owner=b"dead", owner_seconds=LEASE)])
        waiting = hang.options(queue="nobody").job().to_submission("waiting", time.time(), 10_000)
        await app.connection.gateway.submit([msgspec.structs.replace(waiting, owner=b"dead", owner_seconds=LEASE)])
        detached = await hang.enqueue()
        await gate.wait_for(2)
        for job_id in ("owned", "waiting"):
            with pytest.raises(JobCancelled, match=OWNER_GONE):
                await app.handle(job_id)
        assert gate.inside == 1
        gate.open()
        await detached


async def test_a_living_owner_keeps_its_jobs_for_longer_than_its_lease(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> str:
        await gate.pass_through()
        return "done"

    async with working(app):
        app.connection.owner.lease_seconds = LEASE
        results: list[str] = []

        async def run() -> None:
            results.append(await hang.run())

        async with create_task_group() as tg:
            tg.start_soon(run)
            await gate.wait_for(1)
            await to_thread.run_sync(time.sleep, 2 * LEASE + 1.1)  # and a sweep
            gate.open()
        assert results == ["done"]


async def test_a_program_that_blocks_its_loop_keeps_its_jobs(tmp_path: object) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    lease = OwnerLease(app._sync_broker, LEASE)
    with lease.awaiting() as seconds:
        assert seconds == LEASE
        broker = app._sync_broker()
        broker.submit([Submission("1", "default", "note", b"{}", owner=lease.id, owner_seconds=seconds)])
        time.sleep(3 * LEASE)  # noqa: ASYNC251 - nothing else happens in this thread
        assert broker.sweep(10).orphaned == 0
    time.sleep(2 * LEASE)  # noqa: ASYNC251 - likewise; nobody awaits it any more
    assert broker.sweep(10).orphaned == 1
    lease.close()
    app.sync.close()


async def test_jobs_that_a_handler_left_behind_end_with_its_attempt(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    @app.task
    async def careless() -> str:
        submission = hang.job().to_submission("left", time.time(), 10_000)
        owner = owner_on(app.connection.gateway.broker)
        assert owner is not None
        await app.connection.gateway.submit([msgspec.structs.replace(submission, owner=owner)])
        await gate.wait_for(1)
        return "ended"

    async with working(app):
        assert await careless.run() == "ended"
        with pytest.raises(JobCancelled, match=OWNER_ENDED):
            await app.handle("left")
        assert gate.inside == 0


async def test_a_submission_whose_answer_was_lost_leaves_no_job_behind(memory_app: App, faulty: FaultyBroker) -> None:
    gate = Gate()

    @memory_app.task
    async def hang() -> None:
        await gate.pass_through()

    with fail_after(DEADLINE):
        async with memory_app, memory_app.open_worker():
            memory_app.connection.owner.lease_seconds = LEASE
            with faulty.failing("submit", effect=True), pytest.raises(BrokerUnavailable):
                await hang.options(id="lost").run()
            with pytest.raises(JobCancelled, match=ABANDONED):
                await memory_app.handle("lost")
            assert gate.inside == 0


async def test_a_cancel_that_the_broker_has_not_heard_is_repeated_when_it_is_back(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        app.connection.owner.lease_seconds = LEASE
        job = await hang.enqueue()
        await gate.wait_for(1)
        app.connection.owner.abandon(job.id, "nobody waits")
        await until_state(app, job.id, JobState.CANCELLED)
        await until(lambda: gate.inside == 0)
