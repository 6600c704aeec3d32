"""Pauses: no worker starts jobs of a task, or those with one value of an argument, until somebody lets them go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from support import Gate, History, admin, until, until_heeded, until_state, working

from nursery_tasks import App, Batch, JobState
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.errors import InvalidOptions, JobCancelled, JobExpired, NotSupported
from nursery_tasks.events import EventKind
from nursery_tasks.model.pauses import MAX_PAUSES
from nursery_tasks.worker.pauses import PARK_SECONDS

pytestmark = pytest.mark.anyio


async def until_waiting(app: App, number: int) -> None:
    """Wait until so many jobs were put aside."""
    with anyio.fail_after(10):
        while sum(pause.waiting for pause in await app.pauses.list()) != number:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.005)


async def test_a_paused_task_waits_and_all_others_go_on(app: App) -> None:
    gate, done = Gate(), list[int]()

    @app.task
    async def import_orders(number: int) -> int:
        done.append(number)
        if number == 0:
            await gate.pass_through()
        return number

    @app.task
    async def other() -> str:
        return "passed"

    async with working(app, slots=4) as worker:
        running = await import_orders.enqueue(0)
        await gate.wait_for(1)
        pause = await app.pauses.pause("import_orders", note="their API is down")
        await until_heeded(app, worker)
        jobs = await app.enqueue_many([import_orders.job(number) for number in range(1, 9)])
        assert await other.run() == "passed"
        await until_waiting(app, 8)
        info = await app.jobs.get(jobs[0].id)
        assert info is not None
        assert (info.state, info.attempts, info.parked) == (JobState.SCHEDULED, 0, "paused import_orders")
        assert (pause.task, pause.where, pause.note) == ("import_orders", {}, "their API is down")
        assert (pause.by.endswith(f"@{app.node}"), abs(pause.paused_at - info.created_at) < 5) == (True, True)
        gate.open()
        assert await running == 0  # what ran goes on
        assert done == [0]
        assert await app.pauses.resume("import_orders")
        assert sorted([await job for job in jobs]) == list(range(1, 9))
        assert await app.pauses.list() == []
        assert not await app.pauses.resume("import_orders")


async def test_one_value_waits_and_other_values_go_on(app: App) -> None:
    done: list[tuple[str, int]] = []

    @app.task
    async def import_orders(customer: str, page: int = 1) -> None:
        done.append((customer, page))

    async with working(app, slots=2) as worker:
        await app.pauses.pause("import_orders", where={"customer": "eu-7"})
        await app.pauses.pause("import_orders", where={"page": 2})
        await app.pauses.pause("import_orders", where={"page": 3, "customer": "us-1"})
        await until_heeded(app, worker)
        calls = [("eu-7", 1), ("us-1", 1), ("us-1", 2), ("us-1", 3), ("eu-1", 3)]
        jobs = await app.enqueue_many([import_orders.job(customer, page) for customer, page in calls])
        named = await import_orders.enqueue(page=5, customer="eu-7")
        await until_waiting(app, 4)
        await jobs[1]
        await jobs[4]
        assert sorted(done) == [("eu-1", 3), ("us-1", 1)]
        assert await app.pauses.resume("import_orders", where={"customer": "eu-7"})
        await jobs[0]
        await named
        assert await app.pauses.resume("import_orders", where={"page": "2"})  # values are compared as texts
        await jobs[2]
        assert await app.pauses.resume("import_orders", where={"customer": "us-1", "page": 3})
        await jobs[3]


async def test_values_as_they_travel(memory_app: App) -> None:
    app, done = memory_app, list[str]()

    @app.task
    async def look(
        which: UUID | None = None, flag: bool = False, ratio: float = 1.0, tags: list[str] | None = None, **more: int
    ) -> None:
        done.append("ran")

    uuid = UUID(int=7)
    pauses: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"which": uuid}, {"which": uuid}),
        ({"which": str(uuid)}, {"which": uuid}),
        ({"flag": True}, {"flag": True}),
        ({"flag": "true"}, {"flag": True}),
        ({"ratio": 2}, {"ratio": 2.0}),
        ({"tags": ["a", "b"]}, {"tags": ["a", "b"]}),
        ({"size": 3}, {"size": 3}),
        ({"flag": False, "ratio": 1}, {}),  # defaults count
        ({"which": None}, {}),
    ]
    async with working(app) as worker:
        for where, arguments in pauses:
            await app.pauses.pause("look", where=where)
            await until_heeded(app, worker)
            job = await look.enqueue(**arguments)
            await until_waiting(app, 1)
            assert await app.pauses.resume("look", where=where)
            await job
    assert len(done) == len(pauses)


async def test_it_waits_in_its_order_and_its_owner_waits_with_it(memory_app: App) -> None:
    app, done = memory_app, list[int]()

    @app.task
    async def child(number: int) -> None:
        done.append(number)

    @app.task
    async def parent() -> str:
        await child.run(100)
        return "done"

    async with working(app, slots=1) as worker:
        await app.pauses.pause("child")
        await until_heeded(app, worker)
        owner = await parent.enqueue()
        await until_waiting(app, 1)
        jobs = await app.enqueue_many([child.job(number) for number in range(50)])
        await until_waiting(app, 51)
        await app.pauses.resume("child")
        assert await owner == "done"
        await jobs[-1]
    assert done == [100, *range(50)]  # what a handler awaits comes first


async def test_deadlines_expiry_and_cancels_hold(app: App) -> None:
    @app.task
    async def never() -> None:
        raise AssertionError("it was paused")

    async with working(app) as worker:
        await app.pauses.pause("never")
        await until_heeded(app, worker)
        late = await never.options(expires=0.5).enqueue()
        with anyio.move_on_after(0.3):
            await never.run()
        unwanted = await never.enqueue()
        await until_state(app, unwanted.id, JobState.SCHEDULED)
        await unwanted.cancel()
        with pytest.raises(JobCancelled):
            await unwanted
        with pytest.raises(JobExpired):
            await late
        await until_waiting(app, 0)


async def test_a_task_that_is_not_imported_here(app: App) -> None:
    async with working(app) as worker:
        await app.pauses.pause("elsewhere.make", where={"a": 1})
        await app.pauses.pause("elsewhere.make")
        await until_heeded(app, worker)
        job = await app.job("elsewhere.make").enqueue()
        await until_waiting(app, 1)
        info = await app.jobs.get(job.id)
        assert info is not None
        assert info.parked == "paused elsewhere.make"
        assert worker.processed == 0
        await app.pauses.resume("elsewhere.make")
        await until(lambda: admin(app).job(job.id).parked == "elsewhere.make")  # until a worker comes that knows it


async def test_a_worker_that_starts_knows_it_before_its_first_claim(app: App) -> None:
    ran = list[int]()

    @app.task
    async def quick(number: int) -> None:
        ran.append(number)

    async with app:
        await app.pauses.pause("quick", where={"number": 1})
        first, second = await app.enqueue_many([quick.job(1), quick.job(2)])
        for _ in range(2):
            async with app.open_worker():
                await second
                await until_waiting(app, 1)
        assert ran == [2]
        await app.pauses.resume("quick", where={"number": 1})
        async with app.open_worker():
            await first


async def test_a_lost_hint_costs_a_sweep(memory_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    app, gate = memory_app, Gate()
    monkeypatch.setattr("nursery_tasks.worker.pauses.PauseWatch.on_pause", lambda *_: None)

    @app.task
    async def slow() -> None:
        await gate.pass_through()

    async with working(app) as worker:
        await app.pauses.pause("slow")
        await until(lambda: worker._pauses.some)
        job = await slow.enqueue()
        await until_waiting(app, 1)
        await app.pauses.resume("slow")
        await gate.wait_for(1)
        gate.open()
        await job


async def test_what_waits_in_the_worker_is_looked_at_again(memory_app: App) -> None:
    app, gate, sizes = memory_app, Gate(), list[int]()

    @app.task
    async def block() -> None:
        await gate.pass_through()

    @app.task(batch=Batch(10, wait=0.5))
    async def store(items: list[int]) -> None:
        sizes.append(len(items))

    async with working(app, slots=1):
        jobs = await app.enqueue_many([store.job(number) for number in range(3)])
        await until_state(app, jobs[2].id, JobState.CLAIMED)
        await app.pauses.pause("store")
        await until_waiting(app, 3)  # when its time has come
        assert sizes == []
        await app.pauses.resume("store")
        for job in jobs:
            await job
        assert sum(sizes) == 3


async def test_events_say_why(memory_app: App) -> None:
    app = memory_app
    history = History(app)

    @app.task
    async def quiet(customer: str) -> None: ...

    async with working(app) as worker:
        await app.pauses.pause("quiet", where={"customer": "eu-7"}, note="ask Ada")
        await until_heeded(app, worker)
        job = await quiet.enqueue("eu-7")
        await until_waiting(app, 1)
    assert [event.detail for event in history.events if event.kind is EventKind.RELEASED] == [
        "quiet is paused where customer is 'eu-7': ask Ada"
    ]
    assert history.of(job.id) == [EventKind.QUEUED, EventKind.RELEASED]


async def test_a_durable_workflow_waits_for_a_paused_child(app: App) -> None:
    @app.task
    async def part(number: int) -> int:
        return number

    @app.workflow(durable=True)
    async def whole() -> int:
        return await part.run(1) + await part.run(2)

    async with working(app) as worker:
        await app.pauses.pause("part", where={"number": 2})
        await until_heeded(app, worker)
        job = await whole.enqueue()
        await until_waiting(app, 1)
        await app.pauses.resume("part", where={"number": 2})
        assert await job == 3


def test_the_blocking_twin(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    record = app.sync.pauses.pause("task", where={"a": 1}, note="why", by="me")
    assert (record.by, record.note, record.where) == ("me", "why", {"a": "1"})
    assert [(each.task, each.waiting) for each in app.sync.pauses.list()] == [("task", 0)]
    assert app.sync.pauses.resume("task", where={"a": 1})
    assert not app.sync.pauses.resume("task", where={"a": 1})
    app.sync.close()


async def test_what_makes_no_sense_is_refused(memory_app: App) -> None:
    app = memory_app

    @app.task
    async def send(customer: str) -> None: ...

    async with app:
        wrong: list[tuple[str, dict[str, Any], str]] = [
            ("send", {"where": {"custmer": 1}}, "names of parameters of send; it has customer"),
            ("send", {"where": {}}, "arguments by name, such as {'customer': 'eu-7'}, or None for all jobs"),
            ("send", {"where": "customer=eu-7"}, "arguments by name"),
            ("other", {"where": {"a b": 1}}, "arguments by their names"),
            ("send", {"where": {"customer": "x" * 1_001}}, "values of at most 1,000 characters"),
            ("send", {"note": "x" * 1_001}, "a text of at most 1,000 characters"),
            ("a b", {}, "1 to 200 characters without spaces"),
        ]
        for task, how, expected in wrong:
            with pytest.raises(InvalidOptions, match=expected):
                await app.pauses.pause(task, **how)
        with pytest.raises(InvalidOptions, match="a name, such as 'send'"):
            await app.pauses.pause(send)  # type: ignore[arg-type]
        assert await app.pauses.list() == []
        for number in range(MAX_PAUSES):
            await app.pauses.pause("send", where={"customer": number})
        await app.pauses.pause("send", where={"customer": 0}, note="again")
        with pytest.raises(InvalidOptions, match="no more than 1,000 pauses: pause the whole task, or its queue"):
            await app.pauses.pause("send")


async def test_a_broker_without_a_store_names_the_setting(memory_app: App) -> None:
    broker = MemoryBroker()
    broker.pauses, broker.step = None, "give it a store"
    with memory_app.use_broker(broker):
        async with memory_app, memory_app.open_worker():
            with pytest.raises(NotSupported, match=r"pauses of tasks(.|\n)*give it a store"):
                await memory_app.pauses.pause("task")


async def test_what_is_put_aside_is_looked_at_again_after_a_day(memory_app: App) -> None:
    app = memory_app
    assert PARK_SECONDS < 7 * 86_400  # the time for which Redis keeps a line that nobody adds to

    @app.task
    async def quick() -> None: ...

    async with working(app) as worker:
        await app.pauses.pause("quick")
        await until_heeded(app, worker)
        job = await quick.enqueue()
        await until_waiting(app, 1)
        info = await app.jobs.get(job.id)
        assert info is not None
        assert info.due_at - info.created_at == pytest.approx(PARK_SECONDS, abs=5)
