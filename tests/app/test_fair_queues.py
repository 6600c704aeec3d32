"""Fair queues: jobs of one queue take turns among the values of a key."""

from __future__ import annotations

from typing import Any

import pytest
from support import Gate, working

from nursery_tasks import App
from nursery_tasks.errors import InvalidOptions

pytestmark = pytest.mark.anyio


async def test_ten_of_a_small_tenant_are_done_before_a_hundred_of_a_big_one(app: App) -> None:
    app.queue("reports", fair_by="{tenant}")
    gate, done = Gate(), list[str]()

    @app.task(queue="reports")
    async def make(tenant: str, number: int) -> None:
        await gate.pass_through()
        done.append(tenant)

    async with working(app, queues=["reports"], slots=4):
        await app.enqueue_many([make.job("big", number) for number in range(400)])
        handles = await app.enqueue_many([make.job("small", number) for number in range(10)])
        gate.open()
        for handle in handles:
            await handle
        last = max(place for place, tenant in enumerate(done) if tenant == "small")
        assert done.count("small") == 10
        assert done[:last].count("big") < 100  # what a worker has claimed ahead of them, and ten turns


async def test_weights_are_of_the_keys_values(memory_app: App) -> None:
    app = memory_app
    app.queue("reports", fair_by=lambda tenant, number: tenant, weights={7: 3, "small": 1})
    done: list[int | str] = []

    @app.task(queue="reports")
    async def make(tenant: int | str, number: int) -> None:
        done.append(tenant)

    async with app:
        jobs = [make.job(tenant, number) for tenant in (7, "small") for number in range(60)]
        handles = await app.enqueue_many(jobs)
        async with app.open_worker(queues=["reports"], slots=1):
            await handles[-1]
    assert 28 <= done[:40].count(7) <= 32


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"fair_by": 5}, r"fair_by=5: expected a text such as '{tenant}', a function of the job's arguments, or None"),
        ({"fair_by": "{0}"}, "names of parameters in the braces"),
        ({"weights": {"a": 2}}, "fair_by= beside it, which says what the weights are of"),
        ({"fair_by": "{a}", "weights": 5}, "a dict such as {'big': 2}"),
        ({"fair_by": "{a}", "weights": {"big": 0}}, "a number from 0.01 to 100 for 'big'"),
        ({"fair_by": "{a}", "weights": {"big": "2"}}, "a number from 0.01 to 100 for 'big'"),
        ({"fair_by": "{a}", "weights": {None: 2}}, "a text or a whole number, as fair_by makes it"),
    ],
)
def test_what_is_declared_is_checked(memory_app: App, given: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        memory_app.queue("reports", **given)
    assert expected in str(caught.value)


async def test_a_key_that_cannot_be_made_is_told_at_the_call(memory_app: App) -> None:
    memory_app.queue("reports", fair_by="{tenant}")

    @memory_app.task(queue="reports")
    async def make(number: int) -> None: ...

    async with memory_app:
        with pytest.raises(InvalidOptions, match=r"fair_by='{tenant}': expected something that can be made of the arguments"):
            await make.enqueue(1)
        await memory_app.job("not_known_here", 1).with_options(queue="reports").enqueue()


async def test_a_fair_queue_has_a_length_as_well(memory_app: App) -> None:
    memory_app.queue("reports", max_length=4, fair_by="{tenant}")
    done: list[str] = []

    @memory_app.task(queue="reports")
    async def make(tenant: str) -> None:
        done.append(tenant)

    async with memory_app, memory_app.open_worker(queues=["reports"], slots=1):
        handles = await memory_app.enqueue_many([make.job("big") for _ in range(40)])
        small = await make.enqueue("small")
        for handle in (*handles, small):
            await handle
    assert sorted(done) == ["big"] * 40 + ["small"]
