"""Queues with a length: whoever submits waits for room, or is told that there is none."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from anyio import create_task_group, fail_after, move_on_after, sleep, to_thread
from anyio.lowlevel import checkpoint
from support import DEADLINE, Gate, admin, depth, until, working

from nursery_tasks import App, Queue
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Feature
from nursery_tasks.client.room import LONGEST_SECONDS, SHORTEST_SECONDS, Pace
from nursery_tasks.errors import InvalidOptions, NotSupported, QueueFull, WouldBlockLoop
from nursery_tasks.model.delivery import Released
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.testing import FaultyBroker

pytestmark = pytest.mark.anyio


def declare(app: App, max_length: int = 3) -> Any:
    app.queue("mail", max_length=max_length)

    @app.task(queue="mail")
    async def send(number: int) -> int:
        await checkpoint()
        return number

    return send


async def claim(app: App, number: int = 1) -> list[Any]:
    return await app.connection.gateway.claim(["mail"], number, "w", 60.0)


def test_a_queue_is_declared_once(memory_app: App) -> None:
    assert memory_app.queue("mail", max_length=5) == memory_app.queue("mail", max_length=5) == Queue("mail", 5)
    with pytest.raises(InvalidOptions, match="a queue that is declared once in an app; before, it was Queue"):
        memory_app.queue("mail", max_length=6)


@pytest.mark.parametrize("max_length", [0, -1, 1.5, "10", True, 10**9])
def test_a_length_is_a_whole_number(memory_app: App, max_length: Any) -> None:
    with pytest.raises(InvalidOptions, match=r"max_length=.*a whole number from 1 to 1,000,000: how many jobs may wait"):
        memory_app.queue("mail", max_length=max_length)


def test_a_queues_name_is_checked(memory_app: App) -> None:
    with pytest.raises(InvalidOptions, match="name='two words'"):
        memory_app.queue("two words")


async def test_enqueue_nowait_says_which_queue_is_full(app: App) -> None:
    send = declare(app)
    async with app:
        for number in range(3):
            await send.enqueue_nowait(number)
        with pytest.raises(QueueFull, match="is full: 3 jobs wait there") as caught:
            await send.enqueue_nowait(3)
        assert (caught.value.queue, caught.value.max_length) == ("mail", 3)
        with pytest.raises(QueueFull):
            await send.job(3).enqueue_nowait()
        await send.options(queue="other").enqueue_nowait(3)
        assert depth(app, "mail") == 3


async def test_enqueue_waits_until_there_is_room(app: App) -> None:
    send, done = declare(app), list[int]()

    async def submit(number: int) -> None:
        await send.enqueue(number)
        done.append(number)

    async with app:
        with fail_after(DEADLINE):
            await app.enqueue_many([send.job(number) for number in range(3)])
            async with create_task_group() as group:
                for number in range(3, 6):
                    group.start_soon(submit, number)
                    await until(lambda number=number: app.connection.submitter._room.waiting_for("mail") == number - 2)
                assert done == []
                await claim(app)
                await until(lambda: done == [3])
                await claim(app, 2)
                await until(lambda: done == [3, 4, 5])
        assert depth(app, "mail") == 3


async def test_a_wait_for_room_that_is_cancelled_leaves_nothing(app: App) -> None:
    send = declare(app)
    async with app:
        await app.enqueue_many([send.job(number) for number in range(3)])
        for call in (lambda: send.enqueue(7), lambda: send.run(7), lambda: app.enqueue_many([send.job(7)])):
            with move_on_after(0.1) as scope:
                await call()
            assert scope.cancelled_caught
        assert app.connection.submitter._room.waiting_for("mail") == 0
        await claim(app, 3)
        assert depth(app, "mail") == 0
        assert len(admin(app).list_jobs(JobFilter(), 100)) == 3


async def test_run_waits_for_room_and_then_for_the_result(app: App) -> None:
    send = declare(app, 1)
    async with app:
        await send.enqueue(1)
        results: list[int] = []

        async def run() -> None:
            results.append(await send.run(2))

        with fail_after(DEADLINE):
            async with create_task_group() as group:
                group.start_soon(run)
                await until(lambda: app.connection.submitter._room.waiting_for("mail") == 1)
                async with app.open_worker(queues=["mail"]):
                    await until(lambda: results == [2])


async def test_many_jobs_go_in_by_pieces_in_their_order(app: App) -> None:
    ran: list[int] = []
    app.queue("mail", max_length=40)

    @app.task(queue="mail")
    async def send(number: int) -> None:
        ran.append(number)
        await checkpoint()

    deepest = 0
    with fail_after(3 * DEADLINE):
        async with app, create_task_group() as group:

            async def submit() -> None:
                async with app.open_worker(queues=["mail"], slots=1):
                    handles = await app.enqueue_many([send.job(number) for number in range(400)])
                    await handles[-1]
                group.cancel_scope.cancel()

            group.start_soon(submit)
            while True:
                deepest = max(deepest, depth(app, "mail"))
                await sleep(0.01)
    assert ran == list(range(400))
    assert deepest <= 40


async def test_what_comes_back_finds_the_queue_open(app: App) -> None:
    send = declare(app)
    async with app:
        await app.enqueue_many([send.job(number) for number in range(3)])
        held = await claim(app, 3)
        await app.enqueue_many([send.job(number) for number in range(3)])
        assert await app.connection.gateway.settle([Released(each) for each in held]) == [True] * 3
        assert depth(app, "mail") == 6
        with pytest.raises(QueueFull):
            await send.enqueue_nowait(7)


async def test_a_repetition_waits_for_nothing(app: App) -> None:
    send = declare(app)
    async with app:
        for number in range(3):
            await send.options(id=f"id-{number}").enqueue(number)
        handle = await send.options(id="id-1").enqueue_nowait(1)
        assert (handle.id, handle.created) == ("id-1", False)
        assert not (await send.options(id="id-2").enqueue(2)).created


async def test_a_handler_that_waits_for_room_gives_its_slot_back(memory_app: App) -> None:
    app, gate = memory_app, Gate()
    app.queue("mail", max_length=2)

    @app.task(queue="mail")
    async def split(depth: int) -> int:
        if depth:
            await gate.pass_through()
            for _ in range(3):  # more than there is room for, and nobody else works here
                await split.enqueue(0)
        return depth

    async with working(app, queues=["mail"], slots=2):
        first, second = await split.enqueue(1), await split.enqueue(1)
        await gate.wait_for(2)
        gate.open()
        assert (await first, await second) == (1, 1)
        await until(lambda: depth(app, "mail") == 0)


async def test_waiting_costs_the_broker_little(memory_app: App) -> None:
    broker = FaultyBroker(MemoryBroker(), threads=True)
    calls: list[int] = []
    submit = broker.submit
    broker.submit = lambda jobs: (calls.append(len(jobs)), submit(jobs))[1]  # type: ignore[method-assign]
    send = declare(memory_app)
    with memory_app.use_broker(broker):
        async with memory_app:
            await memory_app.enqueue_many([send.job(number) for number in range(3)])
            calls.clear()
            with move_on_after(1.5):
                async with create_task_group() as group:
                    for number in range(200):
                        group.start_soon(send.enqueue, number)
    assert sum(calls) <= 200 + 20, "one of two hundred asks, and waits longer each time"


def test_a_pause_follows_how_fast_the_queue_is_worked_off() -> None:
    pace = Pace(lambda: 1.0)
    for _ in range(10):
        pace.note(1, 0)
        pause = pace.next_pause(1000)
    assert (pause, pace.piece) == (LONGEST_SECONDS, 1)
    pace.note(1, 1)
    pace.note(2, 2)
    assert pace.piece == 4
    for _ in range(10):
        pace.note(600, 500)
        pause = pace.next_pause(1000)
    assert (pause, pace.piece) == (SHORTEST_SECONDS, 1000)


def test_a_blocking_call_waits_and_gives_up(app: App) -> None:
    send = declare(app)
    app.sync.enqueue_many([send.job(number) for number in range(3)])
    with pytest.raises(QueueFull):
        app.sync.enqueue_nowait(send.job(3))
    for call in (app.sync.enqueue, app.sync.run):
        with pytest.raises(QueueFull):
            call(send.job(3), timeout=0.1)
    with pytest.raises(QueueFull):
        app.sync.enqueue_many([send.job(3), send.job(4)], timeout=0.1)
    broker = app.sync.broker()
    assert broker.admin is not None
    assert len(broker.admin.list_jobs(JobFilter(), 100)) == 3
    broker.claim(["mail"], 1, "w", 60.0)
    assert app.sync.enqueue(send.job(3), timeout=DEADLINE).created
    assert app.sync.queues.list()[0].max_length == 3


async def test_a_blocking_call_does_not_wait_in_a_loops_thread(memory_app: App) -> None:
    send = declare(memory_app)
    async with memory_app:
        for number in range(3):
            memory_app.sync.enqueue(send.job(number))
        with pytest.raises(WouldBlockLoop, match=r"await task\.enqueue"):
            memory_app.sync.enqueue(send.job(3))


async def test_blocking_calls_of_threads_get_in_one_after_the_other(app: App) -> None:
    send, done = declare(app), list[int]()

    def submit(number: int) -> None:
        app.sync.enqueue(send.job(number), timeout=DEADLINE)
        done.append(number)

    with fail_after(2 * DEADLINE):
        async with app:
            await app.enqueue_many([send.job(number) for number in range(3)])
            async with create_task_group() as group:
                for number in range(4):
                    group.start_soon(to_thread.run_sync, submit, number)
                for number in range(4):
                    await claim(app)
                    await until(lambda number=number: len(done) == number + 1)
                    assert depth(app, "mail") == 3


async def test_a_def_handler_that_waits_for_room_gives_its_slot_back(app: App) -> None:
    app.queue("mail", max_length=1)

    @app.task(queue="mail")
    def split(depth: int) -> int:
        for _ in range(3 if depth else 0):
            app.sync.enqueue(split.job(0))
        return depth

    async with working(app, queues=["mail"], slots=1):
        assert await split.run(1) == 1
        await until(lambda: depth(app, "mail") == 0)


async def test_a_durable_workflow_waits_and_does_not_ask(app: App) -> None:
    app.queue("mail", max_length=1)

    @app.task(queue="mail")
    async def send(number: int) -> int:
        return number

    @app.workflow(durable=True)
    async def all_of_them() -> list[int]:
        with pytest.raises(NotSupported, match="enqueue_nowait in the function of a durable workflow"):
            await send.enqueue_nowait(0)
        return [await job for job in [await send.enqueue(number) for number in range(4)]]

    async with working(app, queues=["mail", "default"], slots=1):
        assert await all_of_them.run() == [0, 1, 2, 3]


@pytest.mark.parametrize(("given", "said"), [({"max_length": 3}, "max_length"), ({"fair_by": "{number}"}, "fair_by")])
async def test_a_broker_that_cannot_hold_what_is_declared_says_so(
    memory_app: App, given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBroker, "features", MemoryBroker.features - {Feature.BOUNDS, Feature.SHARES})
    monkeypatch.setattr(MemoryBroker, "step", "give it a store")
    memory_app.queue("mail", **given)

    @memory_app.task(queue="mail")
    async def send(number: int) -> None: ...

    async with memory_app:
        for call in (send.enqueue, send.enqueue_nowait, send.run):
            with pytest.raises(NotSupported, match=f"has no {said} for its queues, which 'mail' has; give it a store"):
                await call(1)


async def test_other_errors_of_a_batch_are_told(memory_app: App) -> None:
    """A full queue of one caller is no affair of another one, whose jobs left in the same call."""
    broker = FaultyBroker(MemoryBroker(), threads=True)
    send = declare(memory_app)

    @memory_app.task
    async def plain() -> None: ...

    with memory_app.use_broker(broker):
        async with memory_app:
            await memory_app.enqueue_many([send.job(number) for number in range(3)])
            refused: list[QueueFull] = []

            async def try_it() -> None:
                try:
                    await send.enqueue_nowait(1)
                except QueueFull as full:
                    refused.append(full)

            async with create_task_group() as group:
                for _ in range(20):
                    group.start_soon(try_it)
                    group.start_soon(plain.enqueue)
            assert (len(refused), depth(memory_app)) == (20, 20)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(200)])])
async def test_a_producer_ten_times_faster_than_its_consumer_is_held_back(app: App, seconds: int) -> None:
    app.queue("mail", max_length=50)
    deepest, done, sent = 0, [0], [0]

    @app.task(queue="mail", result_ttl=0)
    async def send(number: int) -> None:
        await sleep(0.01)
        done[0] += 1

    async def produce() -> None:
        while True:
            await send.enqueue(sent[0])
            sent[0] += 1
            await sleep(0.001)

    async def give_up() -> None:
        """Wait now and then, and be cancelled."""
        while True:
            with move_on_after(0.05):
                await send.enqueue(-1)
                sent[0] += 1

    with fail_after(seconds + 2 * DEADLINE):
        async with app, app.open_worker(queues=["mail"], slots=1), create_task_group() as group:
            for work in (produce, produce, give_up):
                group.start_soon(work)
            await until(lambda: depth(app, "mail") == 50)
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            with move_on_after(seconds):
                while True:
                    deepest = max(deepest, depth(app, "mail"))
                    await sleep(0.02)
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            group.cancel_scope.cancel()
    assert deepest <= 50
    assert done[0] > 20 * seconds, "the worker has enough to do all the time"
    assert sent[0] <= done[0] + 50 + 3
    assert after - before < 4_000_000
