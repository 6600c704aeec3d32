"""The lease of a program on the jobs that it awaits."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio import create_task_group, fail_after, to_thread
from support import DEADLINE, Gate, admin, states, until, until_state, working

from nursery_tasks import App, JobState
from nursery_tasks.client.owner_lease import ABANDONED, OwnerLease
from nursery_tasks.current import owner_on
from nursery_tasks.errors import BrokerClosed, BrokerUnavailable, JobCancelled, NoWorkers
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.model.reasons import OWNER_ENDED, OWNER_GONE
from nursery_tasks.testing import FaultyBroker

LEASE = 0.3
KEPT = 1.0  # that of an owner who renews it; a busy machine may let a third of it pass


async def test_what_is_awaited_has_an_owner_and_what_is_enqueued_has_none(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app), create_task_group() as tg:
        tg.start_soon(hang.run)
        detached = await hang.enqueue()
        await gate.wait_for(2)
        owned = {record.id: record.owned for record in admin(app).list_jobs(JobFilter(), 10)}
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
        app.connection.owner.lease_seconds = KEPT
        results: list[str] = []

        async def run() -> None:
            results.append(await hang.run())

        async with create_task_group() as tg:
            tg.start_soon(run)
            await gate.wait_for(1)
            await to_thread.run_sync(time.sleep, KEPT + 1.1)  # and a sweep
            gate.open()
        assert results == ["done"]


async def test_a_program_that_blocks_its_loop_keeps_its_jobs(tmp_path: object) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    lease = OwnerLease(app._sync_broker, KEPT)
    with lease.awaiting() as seconds:
        assert seconds == KEPT
        broker = app._sync_broker()
        broker.submit([Submission("1", "default", "note", b"{}", owner=lease.id, owner_seconds=seconds)])
        time.sleep(1.3 * KEPT)  # noqa: ASYNC251 - nothing else happens in this thread
        assert broker.sweep(10).orphaned == 0
    time.sleep(1.3 * KEPT)  # noqa: ASYNC251 - likewise; nobody awaits it any more
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

        async def run() -> None:
            with pytest.raises(JobCancelled, match="nobody waits"):
                await hang.options(id="X").run()

        async with create_task_group() as tg:
            tg.start_soon(run)
            await gate.wait_for(1)
            app.connection.owner.abandon("X", "nobody waits")
            await until_state(app, "X", JobState.CANCELLED)
        assert gate.inside == 0


async def test_a_program_never_cancels_a_job_of_that_id_that_is_not_its_own(memory_app: App, faulty: FaultyBroker) -> None:
    @memory_app.task
    async def note() -> None:
        """Do nothing."""

    with fail_after(DEADLINE):
        async with memory_app:
            memory_app.connection.owner.lease_seconds = LEASE
            job = await note.options(id="order-1").enqueue()
            with faulty.failing("submit", effect=True), pytest.raises(BrokerUnavailable):
                await note.options(id="order-1").run()
            await anyio.sleep(0.7)  # in which it has tried
            assert await job.status() is JobState.READY


def test_a_refused_submission_cancels_no_job_of_that_id(app: App) -> None:
    @app.task
    async def note() -> None:
        """Do nothing."""

    job = app.sync.enqueue(note.options(id="order-1").job())
    app.sync._encoder.require_workers = True
    with pytest.raises(NoWorkers):
        app.sync.run(note.options(id="order-1").job())
    assert job.status() is JobState.READY
    app.sync.close()


async def test_a_detached_job_with_the_same_key_keeps_an_owned_one_alive(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> str:
        await gate.pass_through()
        return "done"

    keyed = hang.options(key="k")
    async with working(app):
        async with create_task_group() as tg:
            tg.start_soon(keyed.run)
            await gate.wait_for(1)
            job = await keyed.enqueue()
            tg.cancel_scope.cancel()
        gate.open()
        assert await job == "done"


@pytest.mark.parametrize("url", ["sqlite", "redis"], indirect=True)  # a broker in memory ends with its app
async def test_leaving_the_app_ends_what_others_still_await(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async def awaits() -> None:
        with pytest.raises(BrokerClosed):
            await hang.run()

    other = App(app.url)
    other.task(name="hang")(hang.spec.function)
    with fail_after(DEADLINE):
        async with other, other.open_worker(), create_task_group() as tg:
            async with app:
                tg.start_soon(awaits)
                await gate.wait_for(1)
            await until(lambda: gate.inside == 0)


async def test_a_lease_that_begins_anew_is_not_called_lost(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def note() -> None:
        """Do nothing."""

    async with working(app):
        app.connection.owner.lease_seconds = LEASE
        await note.run()
        await to_thread.run_sync(time.sleep, LEASE + 1.1)  # and a sweep
        await note.run()
        await to_thread.run_sync(time.sleep, LEASE / 2)
    assert "had run out" not in caplog.text


def test_a_forked_process_is_an_owner_of_its_own(app: App) -> None:
    lease = OwnerLease(app._sync_broker, LEASE)
    with lease.awaiting():
        before = lease.id
    lease.close()  # a thread does not survive a fork
    lease.begin_again()
    with lease.awaiting():
        assert lease.id != before
    lease.close()
    app.sync.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_second_cancel_of_asyncios_own_leaves_no_job_behind(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        keeping = asyncio.create_task(hang.run())  # it keeps the lease
        await gate.wait_for(1)
        broker = app.connection.gateway.broker
        submit, under_way, go_on = broker.submit, threading.Event(), threading.Event()

        def slow(jobs: Any) -> Any:
            under_way.set()
            go_on.wait(DEADLINE)
            return submit(jobs)

        app.connection.gateway._submit._method = slow
        leaving = asyncio.create_task(hang.options(id="X").run())
        await to_thread.run_sync(under_way.wait)
        for _ in range(2):
            leaving.cancel()
            await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await until(lambda: states(app).get("X") is JobState.CANCELLED)
        gate.open()
        await keeping


async def test_a_cancel_is_sent_while_others_submit_all_the_time(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    @app.task
    async def note() -> None:
        """Do nothing."""

    async def pump() -> None:
        while True:
            await note.options(queue="nobody").enqueue()

    async with working(app, queues=["default"]), create_task_group() as pumping:
        for _ in range(3):
            pumping.start_soon(pump)
        async with create_task_group() as tg:
            tg.start_soon(hang.run)
            await gate.wait_for(1)
            tg.cancel_scope.cancel()
        assert gate.inside == 0
        pumping.cancel_scope.cancel()
