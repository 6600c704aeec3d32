"""Limits, as tasks with them behave in a worker: the excess waits and lets others pass, or is refused."""

from __future__ import annotations

import pytest
from anyio import Event, sleep
from support import Gate, admin, until, until_state, working

from nursery_tasks import App, Concurrency, JobState, RateLimit, Retry
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.needed import limits_of
from nursery_tasks.errors import JobCancelled, NotSupported
from nursery_tasks.model.listing import LimitRecord

pytestmark = pytest.mark.anyio


def list_limits(app: App) -> list[LimitRecord]:
    return limits_of(app.connection.gateway.broker).list_limits(9)


async def test_the_excess_waits_without_a_slot_and_lets_others_pass(app: App) -> None:
    gate = Gate()

    @app.task(limits=Concurrency(2))
    async def few(number: int) -> int:
        await gate.pass_through()
        return number

    @app.task
    async def plain() -> str:
        return "passed"

    async with working(app, slots=3):
        jobs = [await few.enqueue(number) for number in range(6)]
        await gate.wait_for(2)
        assert await plain.run() == "passed"
        assert gate.inside == 2
        record = admin(app).job(jobs[5].id)
        assert (record.state, record.waits_for) == (JobState.READY, "concurrency:few")
        assert [(each.name, each.running, each.waiting) for each in list_limits(app)] == [("concurrency:few", 2, 4)]
        gate.open()
        assert [await job for job in jobs] == list(range(6))
        assert gate.most == 2
        assert list_limits(app) == []


async def test_each_key_has_a_limit_of_its_own(app: App) -> None:
    gates = {"anna": Gate(), "bert": Gate()}

    @app.task(limits=[Concurrency(1, key="{user}"), Concurrency(3, name="all")])
    async def send(user: str, size: int = 1) -> None:
        await gates[user].pass_through()

    async with working(app, slots=10):
        jobs = [await send.enqueue(user) for user in ("anna", "anna", "bert", "bert")]
        for gate in gates.values():
            await gate.wait_for(1)
        assert [each.name for each in list_limits(app)] == [
            "concurrency:all",
            "concurrency:send anna",
            "concurrency:send bert",
        ]
        for gate in gates.values():
            gate.open()
        for job in jobs:
            await job
        assert [gate.most for gate in gates.values()] == [1, 1]


async def test_three_of_five_run_and_two_are_refused(app: App) -> None:
    gate = Gate()

    @app.task(limits=[Concurrency(3, excess="reject")])
    async def strict(number: int) -> int:
        await gate.pass_through()
        return number

    async with working(app, slots=10):
        jobs = await app.enqueue_many([strict.job(number) for number in range(5)])
        for job in jobs[3:]:
            with pytest.raises(JobCancelled, match="there was no room in its limit concurrency:strict"):
                await job
        gate.open()
        assert [await job for job in jobs[:3]] == [0, 1, 2]


async def test_a_rate_holds_for_the_whole_of_a_queue(app: App) -> None:
    @app.task(limits=[RateLimit("50/s", burst=1)])
    async def tick() -> None: ...

    async with working(app, slots=10):
        jobs = await app.enqueue_many([tick.job() for _ in range(11)])
        for job in jobs:
            await job
        records = [admin(app).job(job.id) for job in jobs]
        ended = sorted(record.ended_at for record in records)
        assert ended[-1] - ended[0] >= 0.15  # ten intervals of 20 ms; the first end may be late


async def test_a_retry_waits_for_its_turn_again(app: App) -> None:
    order: list[str] = []

    @app.task(limits=Concurrency(1), retry=Retry(2, wait=0))
    async def shaky(name: str) -> None:
        order.append(name)
        if order.count(name) == 1:
            raise OSError("once")

    async with working(app, slots=4):
        jobs = await app.enqueue_many([shaky.job(name) for name in ("a", "b")])
        for job in jobs:
            await job
    assert sorted(order) == ["a", "a", "b", "b"]


async def test_a_handler_that_waits_for_another_job_keeps_its_place(app: App) -> None:
    gate = Gate()

    @app.task
    async def child() -> None:
        await gate.pass_through()

    @app.task(limits=Concurrency(1))
    async def parent(number: int) -> int:
        await child.run()
        return number

    async with working(app, slots=1):
        jobs = [await parent.enqueue(number) for number in range(2)]
        await gate.wait_for(1)
        assert [(each.running, each.waiting) for each in list_limits(app)] == [(1, 1)]
        gate.open()
        assert [await job for job in jobs] == [0, 1]
        assert gate.most == 1


async def test_a_job_that_waits_is_cancelled_at_once_and_a_worker_that_stops_gives_places_back(app: App) -> None:
    began = Event()

    @app.task(limits=Concurrency(1))
    async def slow(number: int) -> int:
        began.set()
        if number == 0:
            await sleep(60)
        return number

    async with app:
        async with app.open_worker(slots=2, drain=0.01):
            first, second, third = [await slow.enqueue(number) for number in range(3)]
            await began.wait()
            await until(lambda: admin(app).job(second.id).waits_for)
            assert await second.cancel() == "cancelled"
        await until_state(app, first.id, JobState.READY)
        assert [(each.running, each.waiting) for each in list_limits(app)] == [(0, 2)]
        await first.cancel()
        async with app.open_worker(slots=2):
            assert await third == 2


async def test_a_broker_without_limits_refuses_such_jobs(memory_app: App) -> None:
    broker = MemoryBroker()
    broker.limits = None

    @memory_app.task(limits=Concurrency(1))
    async def one() -> None: ...

    with memory_app.use_broker(broker):
        async with memory_app:
            with pytest.raises(NotSupported, match="memory: has no limits of jobs"):
                await one.enqueue()
