"""Tests in the lab: long times cost nothing, odd moments do not hold the clock, and what time brings still comes in time."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
import trio
from anyio import CancelScope, create_task_group, current_time, sleep, wait_all_tasks_blocked

from nursery_tasks import App, JobState, RateLimit, Task
from nursery_tasks import sleep as durable_sleep
from nursery_tasks.brokers.gateway import Gateway
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.client.waiting import OutcomeWaiter
from nursery_tasks.errors import JobExpired, JobTimedOut, UnknownJob
from nursery_tasks.events import EventKind
from nursery_tasks.testing import lab_backend, open_lab
from nursery_tasks.testing.contract.steps import job, submit_and_claim
from nursery_tasks.worker.in_flight import InFlightJobs
from nursery_tasks.worker.leases import LeaseKeeper

DAY = 86_400.0
FEW = 300  # steps of tasks, for a handful of jobs: a virtual day of somebody's looks each minute would be 1 440


class Steps(trio.abc.Instrument):
    """Counts what all tasks do."""

    def __init__(self) -> None:
        self.count = 0
        trio.lowlevel.add_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return lab_backend()


@pytest.fixture
def app() -> App:
    return App("memory:")


@pytest.fixture
def nap(app: App) -> Task[[float], float]:
    @app.task
    async def nap(seconds: float) -> float:
        await sleep(seconds)
        return seconds

    return nap


# --- a day costs nothing --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nap")
async def test_a_day_without_work_costs_nothing(app: App) -> None:
    steps = Steps()
    async with open_lab(app, workers=3):
        await sleep(DAY)
    assert steps.count < FEW


async def test_a_month_in_one_handler_costs_nothing(app: App, nap: Task[[float], float]) -> None:
    steps = Steps()
    async with open_lab(app) as lab:
        assert await nap.run(30 * DAY) == 30 * DAY
        assert lab.elapsed_seconds == pytest.approx(30 * DAY, abs=1)
    assert steps.count < FEW


async def test_a_job_for_tomorrow_costs_nothing_and_starts_in_time(app: App, nap: Task[[float], float]) -> None:
    steps = Steps()
    async with open_lab(app) as lab:
        await nap.options(delay=DAY).run(0.0)
        assert lab.elapsed_seconds == pytest.approx(DAY, abs=0.1)
    assert steps.count < FEW


async def test_a_day_at_a_lock_costs_nothing(app: App) -> None:
    steps = Steps()
    async with open_lab(app) as lab:

        async def hold() -> None:
            async with app.lock("reports"):
                await sleep(DAY)

        async with create_task_group() as tg:
            tg.start_soon(hold)
            await wait_all_tasks_blocked()
            async with app.lock("reports"):
                assert lab.elapsed_seconds == pytest.approx(DAY, abs=0.1)
    assert steps.count < FEW


async def test_a_workflow_that_sleeps_for_a_month_costs_nothing(app: App) -> None:
    steps = Steps()

    @app.workflow(durable=True)
    async def wait() -> str:
        await durable_sleep(30 * DAY)
        return "done"

    async with open_lab(app) as lab:
        assert await wait.run() == "done"
        assert lab.elapsed_seconds == pytest.approx(30 * DAY, abs=1)
    assert steps.count < FEW


# --- and what time brings comes in time -----------------------------------------------------------------------------------


async def test_a_job_that_nobody_starts_expires_in_time(app: App, nap: Task[[float], float]) -> None:
    async with open_lab(app, slots=1) as lab:
        await nap.enqueue(DAY)
        late = await nap.options(expires=60).enqueue(0.0)
        with pytest.raises(JobExpired):
            await late
        assert lab.elapsed_seconds == pytest.approx(60, abs=0.1)


async def test_an_outcome_is_forgotten_in_time(app: App, nap: Task[[float], float]) -> None:
    async with open_lab(app):
        kept = await nap.options(result_ttl=120).enqueue(1.0)
        await kept
        await sleep(110)
        assert await kept.status() is JobState.SUCCEEDED
        await sleep(20)
        with pytest.raises(UnknownJob):
            await kept.status()


async def test_a_rate_lets_jobs_through_in_time(app: App) -> None:
    @app.task(limits=[RateLimit("1/60s")])
    async def step() -> float:
        return current_time()

    async with open_lab(app) as lab:
        handles = [await step.enqueue() for _ in range(5)]
        moments = sorted([await handle for handle in handles])
        assert [later - sooner for sooner, later in itertools.pairwise(moments)] == pytest.approx([60] * 4, abs=0.1)
        assert lab.elapsed_seconds < 300


async def test_a_handler_that_does_not_end_is_given_up_in_time(app: App) -> None:
    @app.task(timeout=3600)
    async def stubborn() -> None:
        with CancelScope(shield=True):
            await sleep(2 * DAY)

    async with open_lab(app, cleanup=10) as lab:
        handle = await stubborn.enqueue()
        with pytest.raises(JobTimedOut):
            await handle
        assert lab.elapsed_seconds == pytest.approx(3610, abs=1)
        cancelled = await stubborn.options(timeout=None).enqueue()
        await sleep(100)
        await cancelled.cancel(wait=0)
        began = current_time()
        while EventKind.UNRESPONSIVE not in lab.history(cancelled.id):  # noqa: ASYNC110 - what is looked at has no event
            await sleep(1)
        assert current_time() - began == pytest.approx(10, abs=2)
        lab.workers[0].cancel_running()


async def test_what_waits_behind_a_long_job_goes_to_an_idle_worker(app: App, nap: Task[[float], float]) -> None:
    async with open_lab(app, workers=2, slots=1) as lab:
        for _ in range(20):  # short jobs, so that some are fetched ahead
            await nap.run(0.0)
        handles = await app.enqueue_many([nap.job(DAY), *[nap.job(0.0) for _ in range(50)]])
        for handle in handles[1:]:
            await handle
        assert lab.elapsed_seconds < 60


# --- moments that are a hair apart ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [4028.4083203218, 1e6 + 1 / 3, 1.7e9 + 1 / 3])
def test_a_pause_of_the_lease_keeper_moves_the_clock(now: float) -> None:
    held = InFlightJobs()
    keeper = LeaseKeeper(MemoryBroker(), held, 15.0, lambda: now, lambda call: call(), None)
    delivery = submit_and_claim(MemoryBroker(), "a")
    [item] = held.add([delivery], 0.0, 0.0)
    for age in (5.0, math.nextafter(5.0, 0.0), 5.0 - 4.5e-13, 5.0 - 1e-9, 4.99, math.nextafter(5.0, 6.0)):
        item.lease_from = now - age
        assert now + keeper._next_pause() > now


async def test_a_poll_that_is_a_hair_away_does_not_hold_the_clock() -> None:
    """A pause that is computed from the deadline may end before it, at the same moment, again and again."""
    broker = MemoryBroker()
    jitter = random.Random(7)
    for _ in range(200):
        await sleep(jitter.random() * 100)
        gateway = Gateway(broker)
        waiter = OutcomeWaiter(gateway)
        waiter.poll_seconds = 0.5 + jitter.random()
        broker.submit([job(f"{current_time()}")])
        steps = Steps()
        async with create_task_group() as tg:
            tg.start_soon(waiter.serve)
            await wait_all_tasks_blocked()
            with waiter.expecting(next(iter(broker._state.table.jobs)), look=False):
                await sleep(100 * jitter.random())
            tg.cancel_scope.cancel()
        assert steps.count < 2_000
        trio.lowlevel.remove_instrument(steps)


async def test_leases_that_are_renewed_at_odd_moments_do_not_hold_the_clock(app: App, nap: Task[[float], float]) -> None:
    jitter = random.Random(11)
    async with open_lab(app, lease=15, slots=20) as lab:
        await sleep(4028.4083203218 * jitter.random())
        handles = [await nap.options(delay=jitter.random() * 500).enqueue(jitter.random() * 1000) for _ in range(40)]
        for handle in handles:
            await handle
        assert not [event for event in lab.events if event.kind is EventKind.RELEASED]
