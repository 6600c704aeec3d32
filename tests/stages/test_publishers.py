"""Publishers: what a generator yields goes out, once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from anyio import Event, fail_after
from stage_tools import StagedApp, bodies
from support import DEADLINE, until, working

from nursery_tasks.channels import Item
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.loop.threadsafe import loop_run_soon


async def test_what_generators_yield_goes_out_in_order(staged: StagedApp) -> None:
    app = staged.app

    @app.publisher("a:async")
    async def slow() -> AsyncIterator[int]:
        for number in range(500):
            yield number

    @app.publisher("a:sync")
    def fast() -> Iterator[str]:
        yield from ("x", "y")

    async with working(app):
        assert await bodies(staged.a, "async", 500) == [str(n).encode() for n in range(500)]
        assert await bodies(staged.a, "sync", 2) == [b"x", b"y"]
        while not (await slow.done() and await fast.done()):
            await bodies(staged.a, "async", 500)
        assert await slow.sent() == 500
        await fast.restart()
        await bodies(staged.a, "sync", 4)


@pytest.mark.parametrize("kind", ["index", "number", "own"])
async def test_a_publisher_goes_on_where_it_was(staged: StagedApp, kind: str) -> None:
    app = staged.app
    runs: list[object] = []

    if kind == "index":

        @app.publisher("a:n")
        async def numbers() -> AsyncIterator[int]:
            runs.append(None)
            for number in range(6):
                if number == 3 and len(runs) == 1:
                    raise OSError("gone")
                yield number
    elif kind == "number":

        @app.publisher("a:n")
        def counted(cursor: int | None = None) -> Iterator[int]:
            runs.append(cursor)
            for number in range(cursor or 0, 6):
                if number == 3 and len(runs) == 1:
                    raise OSError("gone")
                yield number
    else:

        @app.publisher("a:n")
        async def rows(cursor: str | None = None) -> AsyncIterator[Item[int]]:
            runs.append(cursor)
            for number in range(int(cursor) if cursor else 0, 6):
                if number == 3 and len(runs) == 1:
                    raise OSError("gone")
                yield Item(number, cursor=str(number + 1))

    async with working(app):
        assert await bodies(staged.a, "n", 6) == [str(n).encode() for n in range(6)]
    assert runs == {"index": [None, None], "number": [None, 3], "own": [None, "3"]}[kind]


async def test_a_publisher_waits_for_who_takes_its_items(staged: StagedApp) -> None:
    app = staged.app
    made: list[int] = []

    @app.publisher("a:n", buffer=50)
    async def numbers() -> AsyncIterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    staged.a.go_away()

    async with working(app):
        await until(lambda: len(made) >= 50)
        await until(lambda: len(made) >= 50)
        from anyio import sleep

        await sleep(0.3)
        assert len(made) <= 50 + 50 + 2


async def test_a_plain_generator_is_called_iterated_and_closed_in_one_thread(staged: StagedApp) -> None:
    app, closed = staged.app, Event()
    threads: set[int] = set()
    run_soon = loop_run_soon()

    @app.publisher("b:rows")
    def rows() -> Iterator[int]:
        connection = sqlite3.connect(":memory:")  # which refuses other threads
        threads.add(threading.get_ident())
        try:
            for number in range(500):
                yield connection.execute("select ?", [number]).fetchone()[0]
            threading.Event().wait(0.2)
            yield 500
        finally:
            connection.close()
            threads.add(threading.get_ident())
            run_soon(lambda: closed.set())

    async with working(app):
        assert len(await bodies(staged.b, "rows", 501)) == 501
        with fail_after(DEADLINE):
            await closed.wait()
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_what_a_stage_cannot_call_is_refused_where_it_is_declared(staged: StagedApp) -> None:
    app = staged.app

    def one() -> int:
        return 3

    async def promised() -> Iterator[int]:
        return iter([3])

    def given() -> Iterator[int]:
        return iter([3])

    for function in (one, promised):
        with pytest.raises(InvalidOptions, match="expected a function that yields the items"):
            app.publisher("a:b")(function)
    app.publisher("a:b")(given)
    with pytest.raises(InvalidOptions, match="expected a function of two: the total so far, and an item"):
        app.collector("a:c")(lambda total: total)  # type: ignore[arg-type, misc]
    for wrong in (one, lambda a, b: None):
        with pytest.raises(InvalidOptions, match="expected a function of one parameter, the message, for a listener"):
            app.listener("a:d")(wrong)
