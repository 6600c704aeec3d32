"""A chain of stages: it ends by itself, and holds up its source where its end is slow."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

import pytest
from anyio import fail_after, sleep
from stage_tools import StagedApp, bodies, message, until_worked_off
from support import working

from nursery_tasks import App
from nursery_tasks.errors import PublisherFailed
from nursery_tasks.model.states import WAITING
from nursery_tasks.stages import backlog
from nursery_tasks.stages.backlog import Backlog


async def test_a_chain_over_two_channels_ends_by_itself_with_one_number(staged: StagedApp) -> None:
    app = staged.app
    totals: list[int] = []
    heard: list[int] = []

    @app.publisher("a:numbers")
    def numbers() -> Iterator[int]:
        yield from range(300)

    @app.handler("a:numbers", reply=["b:doubled", "copies"])
    async def double(number: int) -> int:
        return 2 * number

    @app.listener("copies")
    async def hear(number: int) -> None:
        heard.append(number)

    @app.collector("b:doubled", on_flush=totals.append)
    def add(total: int, number: int) -> int:
        return total + number

    with fail_after(30):
        async with app:
            await app.run_pipeline(slots=10)
    assert totals == [2 * sum(range(300))]
    assert sorted(heard) == [2 * n for n in range(300)]
    assert not staged.b.waiting("doubled")


async def test_a_chain_works_on_each_broker(app: App) -> None:
    totals: list[int] = []

    @app.publisher("numbers")
    async def numbers() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    @app.handler("numbers", reply="squares")
    def square(number: int) -> int:
        return number * number

    @app.collector("squares", on_flush=totals.append)
    async def add(total: int, number: int) -> int:
        return total + number

    with fail_after(30):
        async with app:
            await app.run_pipeline()
            await app.run_pipeline()  # nothing is left, and nothing is done again
    assert totals == [sum(number * number for number in range(100))]


async def test_a_stopped_consumer_holds_up_the_whole_chain(staged: StagedApp) -> None:
    app, made = staged.app, itertools.count()
    last = 0

    @app.publisher("first", buffer=20)
    async def numbers() -> AsyncIterator[int]:
        nonlocal last
        for last in made:
            if last == 1_000_000:
                return
            yield last

    @app.handler("first", reply="second", buffer=20, max_waiting=20)
    async def copy(number: int) -> int:
        return number

    @app.listener("second", max_waiting=20)
    async def take(number: int) -> None: ...

    async with app:
        await app.queues.pause("second")
        async with app.open_worker(slots=4, drain=0):
            before = -1
            with fail_after(30):
                while before < last or not last:
                    before = last
                    await sleep(1)
            queues = {each.name: sum(each.counts.get(state, 0) for state in WAITING) for each in await app.queues.list()}
            assert queues == {"first": 20, "second": 20}
            assert last < 10_000  # what one look at the outbox after the other lets through, and no more


@pytest.mark.parametrize("how", [OSError, SystemExit])
async def test_a_publisher_that_fails_for_good_is_told_at_the_end(
    memory_app: App, monkeypatch: pytest.MonkeyPatch, how: type[BaseException]
) -> None:
    app = memory_app
    monkeypatch.setattr("nursery_tasks.stages.publisher.AGAIN_SECONDS", (0.01, 0.01))

    @app.publisher("numbers")
    async def numbers() -> AsyncIterator[int]:
        yield 1
        raise how("the disk is gone")

    heard: list[int] = []

    @app.listener("numbers")
    async def hear(number: int) -> None:
        heard.append(number)

    with fail_after(20):
        async with app:
            with pytest.raises(PublisherFailed, match="the disk is gone"):
                await app.run_pipeline()
    assert heard == [1]


async def test_a_worker_with_nothing_to_do_does_not_look_what_is_on_its_way_out(
    staged: StagedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, looks = staged.app, 0
    counts = Backlog.counts

    async def count(self: Backlog, destinations: Iterable[str]) -> Mapping[str, int]:
        nonlocal looks
        looks += 1
        return await counts(self, destinations)

    @app.handler("a:in", reply="b:out")
    async def copy(body: bytes) -> bytes:
        return body

    monkeypatch.setattr(Backlog, "counts", count)
    monkeypatch.setattr(backlog, "LOOK_SECONDS", 0.01)
    async with working(app):
        staged.a.put("in", message(b"x"))
        await bodies(staged.b, "out", 1)
        await until_worked_off(app, "a.in")
        before = looks
        await sleep(0.3)
        assert looks <= before + 1
