"""Sequences and parallel groups: what comes out, in each of the three ways to run one and on each broker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import anyio
import pytest
from support import Gate, gather, until, working
from ways import result

from nursery_tasks import App, current_job, parallel, parallel_map, sequence
from nursery_tasks.task import AsyncTask


def make_double(app: App) -> AsyncTask[[int], int]:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    return double


async def test_steps_follow_each_other_and_branches_get_the_same(app: App, how: str) -> None:
    double = make_double(app)
    branches = parallel(double, double, double.job(), then=sum)
    async with working(app):
        assert await result(sequence(double, double.job(), double), how, 2) == 16
        assert await result(branches, how, 2) == 12
        assert await result(sequence(branches, branches), how, 2) == 72
        assert await result(parallel(double, double, double), how, 2) == [4, 4, 4]
        assert await result(sequence(double.job(1), branches, double), how) == 24  # the first step has its own argument


async def test_one_becomes_five_then_three_then_one(app: App, how: str) -> None:
    @app.task
    async def begin(n: int) -> list[int]:
        return [n]

    @app.task
    def grow(seen: Any, by: int) -> list[Any]:
        return [seen, by]

    @app.task
    def count(seen: Any) -> int:
        return str(seen).count("7")

    flow = sequence(begin, parallel(*(grow.job(by=n) for n in range(5))), parallel(*(grow.job(by=n) for n in range(3))), count)
    async with working(app):
        assert await result(flow, how, 7) == 15


async def test_branches_run_at_the_same_time_also_nested_ones(app: App, how: str) -> None:
    gate = Gate()

    @app.task
    async def meet(n: int) -> int:
        await gate.pass_through()
        return n

    four = parallel(meet, parallel(meet, sequence(parallel(meet, meet))))
    flow = sequence(make_double(app), four)
    async with working(app, slots=5):

        async def let_go() -> None:
            await gate.wait_for(4)
            gate.open()

        assert (await gather(lambda: result(flow, how, 1), let_go))[0] == [2, [2, [2, 2]]]


async def test_results_are_in_the_order_of_declaration(memory_app: App, how: str) -> None:
    gates = [Gate() for _ in range(3)]
    ended: list[int] = []

    @memory_app.task
    async def wait(place: int) -> int:
        await gates[place].pass_through()
        ended.append(place)
        return place

    flow = parallel(*(wait.job(place) for place in range(3)))
    async with working(memory_app):

        async def let_go() -> None:
            for place in (2, 0, 1):
                await gates[place].wait_for(1)
                gates[place].open()
                await until(lambda place=place: place in ended)  # type: ignore[misc]

        assert (await gather(lambda: result(flow, how), let_go))[0] == [0, 1, 2]
        assert ended == [2, 0, 1]


@pytest.mark.parametrize("value", [0, "", [], None, False, {}])
async def test_empty_values_go_from_step_to_step_unchanged(memory_app: App, how: str, value: Any) -> None:
    got: list[Any] = []

    @memory_app.task
    async def keep(given: Any) -> Any:
        got.append(given)
        return given

    async with working(memory_app):
        assert await result(sequence(keep, parallel(keep, keep), parallel_map(keep)), how, value) == [value, value]
    assert got == [value] * 5
    assert {type(one) for one in got} == {type(value)}


async def test_empty_groups_and_empty_lists(memory_app: App, how: str) -> None:
    double = make_double(memory_app)
    async with working(memory_app):
        assert await result(sequence(double, sequence(), double), how, 1) == 4
        assert await result(sequence(double, parallel()), how, 1) == []
        assert await result(sequence(double, parallel(then=sum)), how, 1) == 0
        assert await result(parallel_map(double), how, []) == []
        assert await result(parallel_map(double, then=len), how, []) == 0
        assert await sequence().run_local() is None
        assert await sequence().run(5) == 5
        assert await parallel().run_local(5) == []


@dataclass
class Photo:
    """What travels as a map and comes back as itself."""

    name: str
    taken: date


async def test_results_have_their_types_also_where_branches_differ(app: App, how: str) -> None:
    photo = Photo("cat", date(2026, 1, 2))

    @app.task
    async def take(name: str) -> Photo:
        return Photo(name, photo.taken)

    @app.task
    async def taken(one: Photo) -> date:
        return one.taken

    @app.task
    async def letters(one: Photo) -> set[str]:
        return set(one.name)

    @app.task
    def pair(one: Photo) -> tuple[int, bytes]:
        return 1, one.name.encode()

    many = sequence(take, parallel(taken, letters, parallel(pair, pair), sequence()))
    async with working(app):
        assert await result(parallel_map(take, then=sequence()), how, ["cat"]) == [photo]
        assert await result(sequence(take, sequence()), how, "cat") == photo
        assert await result(parallel_map(take), how, ["cat", "cat"]) == [photo, photo]
        got = await result(many, how, "cat")
        assert got[:3] == [photo.taken, set("cat"), [(1, b"cat"), (1, b"cat")]]
        assert type(got) is list


async def test_items_run_side_by_side_and_no_more_than_the_limit(memory_app: App, how: str) -> None:
    gate = Gate()

    @memory_app.task
    async def meet(n: int) -> int:
        await gate.pass_through()
        return n

    @memory_app.task
    async def numbers(below: int) -> list[int]:
        return list(range(below))

    flow = sequence(numbers, parallel_map(meet, limit=3, then=sum))
    async with working(memory_app, slots=12):

        async def let_go() -> None:
            await gate.wait_for(3)
            await anyio.wait_all_tasks_blocked()
            gate.open()

        assert (await gather(lambda: result(flow, how, 10), let_go))[0] == sum(range(10))
        assert gate.most == 3


async def test_a_job_in_a_flow_keeps_its_options(app: App) -> None:
    seen: list[tuple[str | None, tuple[str, ...], str | None]] = []

    @app.task
    async def note(n: int) -> int:
        job = current_job()
        seen.append((job.queue, job.tags, job.parent))
        return n

    flow = sequence(note.options(queue="a"), note.job().with_options(queue="b", tags=["t"]))
    async with working(app, queues=["a", "b"]):
        assert await flow.run(1) == 1
        handle = await flow.job(2).with_options(tags=["flow"]).enqueue()
        assert await handle == 2
        assert (await app.cancel_jobs(tag="flow")) == {}
    assert seen == [("a", (), None), ("b", ("t",), None), ("a", (), handle.id), ("b", ("t",), handle.id)]


async def test_one_slot_is_enough_for_a_nested_flow(app: App) -> None:
    double = make_double(app)
    flow = sequence(double, parallel(parallel(double, double, then=sum), double, then=sum), double)
    async with working(app, slots=1):
        assert await (await flow.enqueue(1)) == 24
        assert await gather(*[lambda: result(flow, "enqueue", 1)] * 5) == [24] * 5


async def test_a_flow_is_a_job_for_groups_lists_and_programs_without_a_loop(app: App) -> None:
    double = make_double(app)
    flow = sequence(double, double)
    async with working(app):
        async with app.create_task_group() as group:
            child = group.start_soon(flow, 1)
        assert child.return_value == 4
        assert [await one for one in await app.enqueue_many([flow.job(2), flow.job(3)])] == [8, 12]
        assert await anyio.to_thread.run_sync(lambda: app.sync.run(flow.job(4), timeout=10)) == 16
        assert await sequence(flow.job(1), double).run() == 8


async def test_a_flow_runs_inside_a_handler_and_belongs_to_it(app: App) -> None:
    double = make_double(app)

    @app.task
    async def outer(n: int) -> list[int]:
        return await parallel(double, sequence(double, double)).run(n)

    async with working(app, slots=1):
        assert await outer.run(3) == [6, 12]
