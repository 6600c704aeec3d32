"""Resources of a worker, injected into handlers by a parameter's default."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support import gather, working

from nursery_tasks import App, current_job, resource
from nursery_tasks.errors import InvalidArguments, InvalidOptions, NoResource
from nursery_tasks.testing import open_lab

if TYPE_CHECKING:
    from decimal import Decimal


class Client:
    """Stands for an HTTP client; counts how often it was opened and closed."""

    opened = 0
    closed = 0

    def __init__(self, base: str = "") -> None:
        self.base = base

    def get(self, path: str) -> str:
        return f"{self.base}/{path}"

    @classmethod
    @asynccontextmanager
    async def open(cls, base: str) -> AsyncGenerator[Client, None]:
        cls.opened += 1
        yield cls(base)
        cls.closed += 1


@pytest.fixture(autouse=True)
def _count_from_zero() -> None:
    Client.opened = Client.closed = 0


def add_client(app: App) -> Any:
    @app.lifespan
    async def client() -> AsyncIterator[Client]:
        async with Client.open("http://a") as opened:
            yield opened

    return client


async def test_a_handler_gets_the_workers_resource(app: App) -> None:
    client = add_client(app)

    @app.task
    async def fetch(path: str, http: Client = resource(client)) -> str:
        return http.get(path)

    @app.task
    def fetch_in_thread(path: str, *, http: Client = resource(client), suffix: str = "") -> str:
        return http.get(path) + suffix

    async with working(app):
        assert await fetch.run("x") == "http://a/x"
        assert await fetch.run(path="x") == "http://a/x"
        assert await fetch_in_thread.run("y") == "http://a/y"
        assert await fetch_in_thread.run("y", suffix="z") == "http://a/yz"


async def test_there_is_one_per_worker_and_it_is_closed_after_the_last_job(memory_app: App) -> None:
    client, seen = add_client(memory_app), set[int]()

    @memory_app.task
    async def fetch(number: int, http: Client = resource(client)) -> int:
        seen.add(id(http))
        return Client.closed

    async with working(memory_app):
        assert Client.opened == 1
        assert await gather(*[lambda n=number: fetch.run(n) for number in range(20)]) == [0] * 20
    assert (Client.opened, Client.closed, len(seen)) == (1, 1, 1)


async def test_the_lab_injects_it_too(memory_app: App) -> None:
    client = add_client(memory_app)

    @memory_app.task
    def fetch(path: str, http: Client = resource(client)) -> str:
        return http.get(path)

    async with open_lab(memory_app, workers=2):
        assert await fetch.run("x") == "http://a/x"
        assert Client.opened == 2
    assert Client.closed == 2


async def test_in_a_plain_call_one_passes_it_oneself(memory_app: App) -> None:
    client = add_client(memory_app)

    @memory_app.task
    async def fetch(path: str, http: Client = resource(client)) -> str:
        return http.get(path)

    assert await fetch("x", Client("mine")) == "mine/x"
    assert await fetch("x", http=Client("mine")) == "mine/x"
    with pytest.raises(NoResource, match=r"pass it yourself: fetch\(\.\.\., http=\.\.\.\), or use run_local\(\)"):
        await fetch("x")


async def test_a_plain_call_inside_a_job_gets_it(memory_app: App) -> None:
    client = add_client(memory_app)

    @memory_app.task
    async def fetch(path: str, http: Client = resource(client)) -> str:
        return http.get(path)

    @memory_app.task
    async def outer() -> list[str]:
        return [await fetch("x"), await fetch.run_local("y")]

    async with working(memory_app):
        assert await outer.run() == ["http://a/x", "http://a/y"]
        assert Client.opened == 1


async def test_run_local_opens_it_for_the_call(memory_app: App) -> None:
    client = add_client(memory_app)

    @memory_app.lifespan
    async def another() -> AsyncIterator[int]:
        raise AssertionError("nobody wants this one")
        yield 1

    @memory_app.task
    def fetch(path: str, http: Client = resource(client)) -> str:
        assert Client.closed == 0
        return http.get(path)

    assert await fetch.run_local("x") == "http://a/x"
    assert (Client.opened, Client.closed) == (1, 1)


async def test_a_resource_may_want_another_and_the_app(memory_app: App) -> None:
    client = add_client(memory_app)

    @memory_app.lifespan
    @asynccontextmanager
    async def api(app: App, http: Client = resource(client)) -> AsyncGenerator[str, None]:
        yield f"{http.base} of {app.shown_url}"
        assert Client.closed == Client.opened - 1  # what it needs is closed after it

    @memory_app.task
    async def show(api: str = resource(api)) -> list[str]:
        return [api, current_job().state["api"]]

    async with working(memory_app):
        assert await show.run() == ["http://a of memory:"] * 2
    assert await show.run_local() == ["http://a of memory:"] * 2
    assert (Client.opened, Client.closed) == (2, 2)


# --- not on the wire ---------------------------------------------------------------------------------------------------------


async def test_it_does_not_travel(memory_app: App) -> None:
    client = add_client(memory_app)

    @memory_app.task
    async def fetch(path: str, http: Client = resource(client)) -> None: ...

    assert str(inspect.signature(fetch)) == "(path: 'str') -> 'None'"
    assert fetch.job("x").args == ("x",)
    assert fetch.job("x").kwargs == {}
    with pytest.raises(InvalidArguments, match="fetch: 'http' is a resource of the worker's, and cannot be sent"):
        fetch.job("x", http=Client())
    with pytest.raises(InvalidArguments, match="too many positional arguments"):
        fetch.job("x", Client())


async def test_nobody_can_send_it_from_elsewhere(memory_app: App) -> None:
    client = add_client(memory_app)

    @memory_app.task
    async def fetch(path: str, http: Client = resource(client)) -> None: ...

    spec = memory_app.registry.tasks.pop("fetch")  # as in a process that has not imported it
    job = memory_app.job("fetch", "x", http="mine")
    memory_app.registry.tasks["fetch"] = spec
    async with working(memory_app):
        with pytest.raises(InvalidArguments, match="'http' is a resource"):
            await job.run()


async def test_its_type_need_not_be_known_at_run_time(memory_app: App) -> None:
    @memory_app.lifespan
    async def number() -> AsyncIterator[Any]:
        yield 7

    @memory_app.task
    async def show(plus: int, number: Decimal = resource(number)) -> str:
        return str(number + plus)

    assert await show.run_local(1) == "8"


# --- refused at once ---------------------------------------------------------------------------------------------------------


def test_what_is_no_resource_of_this_app_is_refused(memory_app: App) -> None:
    other = add_client(App("memory:"))
    for wrong in (other, Client.open):
        with pytest.raises(InvalidOptions, match=r"http=<.*expected a function that was registered with @app\.lifespan"):

            @memory_app.task
            async def fetch(path: str, http: Client = resource(wrong)) -> None: ...

    with pytest.raises(InvalidOptions, match=r"registered with @app\.lifespan, above this one"):

        @memory_app.lifespan
        async def api(http: Client = resource(other)) -> AsyncIterator[int]:
            yield 1


def test_a_parameter_after_it_must_be_keyword_only(memory_app: App) -> None:
    client = add_client(memory_app)
    with pytest.raises(InvalidOptions, match="parameter='size': expected a place before the resource 'http', or keyword-only"):

        @memory_app.task
        async def fetch(path: str, http: Client = resource(client), size: int = 3) -> None: ...

    with pytest.raises(InvalidOptions, match="parameter='more'"):

        @memory_app.task
        async def fetch_many(http: Client = resource(client), *more: str) -> None: ...

    with pytest.raises(InvalidOptions, match="parameter='http': expected a name that can be used: no `/` after it"):

        @memory_app.task
        async def fetch_by_place(http: Client = resource(client), /) -> None: ...


def test_another_process_cannot_have_it(memory_app: App) -> None:
    client = add_client(memory_app)
    with pytest.raises(
        InvalidOptions, match="loop or thread, because 'http' is a resource: it lives in the worker's own process"
    ):

        @memory_app.task(run_in="process")
        def fetch(path: str, http: Client = resource(client)) -> None: ...


def test_a_function_that_yields_is_refused_as_ever(memory_app: App) -> None:
    client = add_client(memory_app)
    with pytest.raises(InvalidOptions, match="this one yields"):

        @memory_app.task
        async def numbers(http: Client = resource(client)) -> AsyncIterator[int]:
            yield 1


def test_a_lifespan_takes_the_app_or_nothing(memory_app: App) -> None:
    async def coroutine() -> None: ...

    for function in (lambda a, b: None, coroutine):
        with pytest.raises(InvalidOptions, match="takes nothing, or the app, and resources"):
            memory_app.lifespan(function)
