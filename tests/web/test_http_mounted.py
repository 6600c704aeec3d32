"""The door inside another program's app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from support import until
from web_app import make_app
from web_client import Client

from nursery_tasks import App
from nursery_tasks.errors import BrokerUnreachable
from nursery_tasks.web.server import ServerOptions, open_listener

pytestmark = pytest.mark.anyio


def mount(app: App, **options: Any) -> Starlette:
    async def own(request: Request) -> Response:
        return JSONResponse({"own": type(request.app).__name__})

    @asynccontextmanager
    async def lifespan(web: Starlette) -> AsyncIterator[None]:
        async with app:
            yield

    return Starlette(routes=[Route("/own", own), Mount("/jobs-api", app.asgi(**options))], lifespan=lifespan)


@asynccontextmanager
async def mounted(app: App, **options: Any) -> AsyncIterator[Client]:
    web = mount(app, **options)
    async with web.router.lifespan_context(web), app.open_worker(slots=2), open_listener(web, ServerOptions(port=0)) as server:
        yield Client(int(server.url.rpartition(":")[2]))


async def test_it_answers_below_its_path() -> None:
    async with mounted(make_app()) as client:
        assert (await client.get("/own")).json == {"own": "Starlette"}
        answer = await client.post("/jobs-api/tasks/add", {"args": [1, 2]}, Prefer="wait=10")
        assert (answer.status, answer.json) == (200, 3)
        assert answer.headers["location"].startswith("/jobs-api/jobs/")
        assert (await client.get(answer.headers["location"])).json["state"] == "succeeded"
        assert (await client.get("/jobs-api/healthz", Host="10.0.0.1")).status == 200
        assert (await client.get("/jobs-api/jobs", Host="evil.example")).status == 403
        assert (await client.get("/jobs-api/openapi.json")).json["servers"] == [{"url": "/jobs-api"}]
        assert (await client.get("/jobs-api/nowhere")).kind == "not-found"


async def test_a_program_that_has_checked_who_calls_is_trusted() -> None:
    async with mounted(make_app(), trusted="read") as client:
        assert (await client.get("/jobs-api/jobs", Host="shop.example", X_Forwarded_For="8.8.8.8")).status == 200
        assert (await client.post("/jobs-api/tasks/add", {"args": [1]})).status == 403


async def test_an_app_that_is_not_open_is_said_to_be_so() -> None:
    async with open_listener(make_app().asgi(), ServerOptions(port=0)) as server:
        client = Client(int(server.url.rpartition(":")[2]))
        answer = await client.post("/tasks/add", {"args": [1]})
        assert (answer.status, answer.kind) == (503, "not-open")
        assert (await client.get("/readyz")).status == 503


def live(app: App) -> tuple[list[Any], anyio.Event, Callable[[], Awaitable[None]]]:
    sent: list[Any] = []
    stopping, messages = anyio.Event(), iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        if sent:
            await stopping.wait()
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        await app.asgi()({"type": "lifespan"}, receive, send)

    return sent, stopping, run


async def test_it_opens_the_app_and_closes_it() -> None:
    app = make_app()
    sent, stopping, run = live(app)
    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await until(lambda: sent)
        assert app.open_connection is not None
        stopping.set()
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert app.open_connection is None


async def test_it_leaves_an_app_alone_that_is_open() -> None:
    app = make_app()
    sent, stopping, run = live(app)
    async with app:
        stopping.set()
        await run()
        assert app.open_connection is not None
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_an_app_that_cannot_be_opened_is_told_to_the_server() -> None:
    app = App("redis://127.0.0.1:1/0")
    sent, _, run = live(app)
    with pytest.raises(BrokerUnreachable):
        await run()
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "127.0.0.1:1" in sent[0]["message"]
