"""Collectors: a total that counts each item once."""

from __future__ import annotations

import pytest
from stage_tools import StagedApp, bodies, message, until_worked_off
from support import until, working


@pytest.mark.parametrize(("running", "expected"), [(True, [3, 10, 15]), (False, [3, 7, 5])])
async def test_totals_leave_after_so_many_items_and_at_the_end(staged: StagedApp, running: bool, expected: list[int]) -> None:
    app = staged.app
    totals: list[int] = []

    @app.collector("a:numbers", every=2, running=running, reply="a:totals", on_flush=totals.append)
    def add(total: int, number: int) -> int:
        return total + number

    assert add(1, 2) == 3
    async with working(app, slots=1):
        for number in range(1, 6):
            staged.a.put("numbers", message(number, id=str(number)))
        await bodies(staged.a, "totals", 2)
        await until_worked_off(app, "a.numbers")
        assert await add.total() == expected[-1]
        assert await add.flush()
        assert not await add.flush()
        assert await bodies(staged.a, "totals", 3) == [str(n).encode() for n in expected]
        await until(lambda: totals == expected)
    assert len({each.id for each in staged.a.waiting("totals")}) == 3


async def test_squares_are_mapped_and_reduced(staged: StagedApp) -> None:
    app = staged.app

    @app.handler("a:numbers", reply="squares")
    async def square(number: int) -> int:
        return number * number

    @app.collector("squares", wait=0.3, reply="a:sum")
    async def add(total: int, number: int) -> int:
        return total + number

    staged.a.put("numbers", *(message(number) for number in range(1, 11)))
    async with working(app):
        sums = await bodies(staged.a, "sum", 1)
        while sum(map(int, sums)) < 385:
            sums = await bodies(staged.a, "sum", len(sums) + 1)
        assert sum(map(int, sums)) == 385


async def test_an_item_that_cannot_be_added_is_left_out_and_the_others_count(staged: StagedApp) -> None:
    app = staged.app

    @app.collector("a:numbers", every=3, reply="a:sum")
    def add(total: int, number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return total + number

    staged.a.put("numbers", *(message(n) for n in (1, -1, 2, b"?", 3)))
    async with working(app):
        assert await bodies(staged.a, "sum", 1) == [b"6"]
        await until_worked_off(app, "a.numbers")
        ended = await app.jobs.list(states=["failed", "dead"])
        assert len(ended) == 2
