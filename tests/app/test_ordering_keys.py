"""Ordering keys as users declare them, and what they see of them."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import fail_after
from support import DEADLINE, Gate, admin, until, working

from nursery_tasks import App, Concurrency, JobState, OrderingKey, Retry, current_job, sequence
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.cli.limits import limit_text
from nursery_tasks.errors import InvalidOptions, NotSupported
from nursery_tasks.model.limits import Limit


async def test_jobs_of_a_key_run_in_the_order_of_submission(app: App) -> None:
    order: list[tuple[str, int]] = []
    running: set[str] = set()

    @app.task(ordering_key="{account}", retry=Retry(3, wait=0.01))
    async def book(account: str, number: int) -> None:
        assert account not in running
        running.add(account)
        await anyio.lowlevel.checkpoint()
        running.remove(account)
        if number % 3 == 0 and current_job().attempt < 3:
            raise ValueError("not yet")
        order.append((account, number))

    async with working(app, slots=8):
        jobs = [book.job(account, number) for number in range(8) for account in "ab"]
        for job in await app.enqueue_many(jobs):
            await job
    for account in "ab":
        assert [number for name, number in order if name == account] == list(range(8))


async def test_tasks_with_one_name_share_an_order(memory_app: App) -> None:
    gate, order = Gate(), list[str]()

    @memory_app.task(ordering_key=OrderingKey("{account}", name="accounts"))
    async def open_account(account: str) -> None:
        await gate.pass_through()
        order.append("open")

    @memory_app.task(ordering_key=OrderingKey(lambda account, **_: account, name="accounts"), limits=[Concurrency(5)])
    async def pay(account: str, amount: int = 0) -> None:
        order.append("pay")

    async with working(memory_app):
        jobs = await memory_app.enqueue_many([open_account.job("a"), pay.job("a", amount=3), pay.job("b")])
        await jobs[2]
        assert order == ["pay"]
        assert admin(memory_app).job(jobs[1].id).waits_for == "order:accounts a"
        [limit] = [limit for limit in await memory_app.limits() if limit.name == "order:accounts a"]
        assert (limit.running, limit.waiting) == (1, 1)
        assert limit_text(limit, 0.0) == "order:accounts a: one has its turn, 1 job waits"
        gate.open()
        await jobs[1]
    assert order == ["pay", "open", "pay"]


async def test_a_call_can_say_another_key_or_none(memory_app: App) -> None:
    gate = Gate()

    @memory_app.task(ordering_key="{account}")
    async def book(account: str) -> None:
        await gate.pass_through()

    async with working(memory_app):
        await memory_app.enqueue_many([book.job("a"), book.job("a")])
        await book.options(ordering_key=None).enqueue("a")
        await book.options(ordering_key=lambda account: account.upper()).enqueue("a")
        await gate.wait_for(3)
        gate.open()
        await until(lambda: gate.entered == 4)


async def test_a_worker_that_stops_keeps_the_order(memory_app: App) -> None:
    gate, begun = Gate(), list[int]()

    @memory_app.task(ordering_key="{account}")
    async def book(account: str, number: int) -> None:
        begun.append(number)
        await gate.pass_through()

    async with memory_app:
        jobs = await memory_app.enqueue_many([book.job("a", number) for number in range(3)])
        with fail_after(DEADLINE):
            async with memory_app.open_worker(drain=0):
                await gate.wait_for(1)
            assert [await job.status() for job in jobs] == [JobState.READY] * 3
            gate.open()
            async with memory_app.open_worker():
                for job in jobs:
                    await job
    assert begun == [0, 0, 1, 2]


async def test_once_and_in_order_go_together(memory_app: App) -> None:
    gate, begun = Gate(), list[int]()

    @memory_app.task(ordering_key="{account}", delivery="at_most_once")
    async def book(account: str, number: int) -> None:
        begun.append(number)
        await gate.pass_through()

    async with memory_app:
        first, second = await memory_app.enqueue_many([book.job("a", number) for number in range(2)])
        with fail_after(DEADLINE):
            async with memory_app.open_worker(drain=0):
                await gate.wait_for(1)
            assert await first.status() is JobState.DEAD
            gate.open()
            async with memory_app.open_worker():
                await second
    assert begun == [0, 1]


def test_what_makes_no_sense_is_refused(memory_app: App) -> None:
    def book(account: str) -> None: ...

    for wrong in (3, ["{account}"], Concurrency(1)):
        given: Any = {"ordering_key": wrong}
        with pytest.raises(InvalidOptions, match="expected a text such as"):
            memory_app.task(**given)(book)
    with pytest.raises(InvalidOptions, match="names of parameters of book in the braces; it has account"):
        memory_app.task(ordering_key="{user}")(book)
    nothing: Any = None
    with pytest.raises(InvalidOptions, match="expected a text such as"):
        OrderingKey(nothing)
    with pytest.raises(InvalidOptions, match="no ordering key for a raw task"):
        memory_app.task(raw=True, queue="raw", ordering_key="{account}")(book)
    task = memory_app.task(ordering_key="{account}")(book)
    with pytest.raises(InvalidOptions, match="names of parameters of book"):
        task.options(ordering_key="{user}")
    given = {"group_id": "x"}
    with pytest.raises(InvalidOptions, match="expected ordering_key="):
        task.options(**given)


def test_it_becomes_the_first_limit(memory_app: App) -> None:
    @memory_app.task(ordering_key="{account}", limits=[Concurrency(2)])
    def book(account: str) -> None: ...

    submission = book.job("a").to_submission("1", 0.0, 1_000)
    turn, other = submission.limits
    assert turn == Limit("order:book a", most=1, ordered=True)
    assert other == Limit("concurrency:book", most=2)
    assert repr(OrderingKey("{a}", name="b")) == "OrderingKey('{a}', name='b')"
    assert repr(book.spec.options.ordering_key) == "OrderingKey('{account}')"
    assert OrderingKey("{a}") == OrderingKey("{a}") != OrderingKey("{b}")


async def test_it_travels_in_no_flow_but_as_the_tasks_own(memory_app: App) -> None:
    @memory_app.task(ordering_key="{account}")
    async def book(account: str) -> str:
        return account

    async with working(memory_app):
        assert await (await sequence(book.job("a"), book).enqueue()) == "a"
        with pytest.raises(InvalidOptions, match="one that is given by options"):
            await sequence(book.options(ordering_key="x").job("a"), book).enqueue()


async def test_a_broker_without_limits_refuses_it(memory_app: App) -> None:
    class Plain(MemoryBroker):
        def __init__(self) -> None:
            super().__init__()
            self.limits = None  # type: ignore[assignment]

    @memory_app.task(ordering_key="{account}")
    async def book(account: str) -> None: ...

    with memory_app.use_broker(Plain()):
        async with memory_app:
            with pytest.raises(NotSupported, match="has no limits of jobs"):
                await book.enqueue("a")
