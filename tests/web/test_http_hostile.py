"""Clients that mean no good, or are broken: none of them costs more than its time, and none holds the server's end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from web_app import make_app
from web_client import Client, parse, read_all, served

from nursery_tasks.web.server.connection import Pace
from nursery_tasks.web.serving import ServedDoor

pytestmark = pytest.mark.anyio


@pytest.fixture(
    scope="module", params=[("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})], ids=["asyncio", "uvloop", "trio"]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run the test on each kind of socket."""
    return request.param


FAST = Pace(head_seconds=0.3, write_seconds=0.3)
HEAD = b"POST /tasks/add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def opened(**options: Any) -> AsyncGenerator[tuple[Client, ServedDoor], None]:
    async with served(make_app(), worker=False, pace=FAST, body_timeout=0.3, **options) as (client, door):
        yield client, door
        with anyio.fail_after(5):
            assert (await client.get("/healthz")).status == 200  # whatever came before


async def drip(stream: SocketStream, data: bytes, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        while True:
            try:
                await stream.send(data)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
            await anyio.sleep(0.02)


async def test_a_head_has_its_time() -> None:
    async with opened() as (client, _), await client.connect() as stream:
        began = anyio.current_time()
        await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        async with anyio.create_task_group() as group:
            group.start_soon(drip, stream, b"x", 5.0)
            assert await read_all(stream) == b""
            group.cancel_scope.cancel()
        assert anyio.current_time() - began < 3.0


async def test_a_body_has_its_time() -> None:
    async with opened() as (client, _), await client.connect() as stream:
        await stream.send(HEAD + b"Content-Length: 100000\r\n\r\n")
        async with anyio.create_task_group() as group:
            group.start_soon(drip, stream, b" ", 5.0)
            answer = parse(await read_all(stream))
            group.cancel_scope.cancel()
        assert (answer.status, answer.kind) == (408, "too-slow")


NOT_PLAIN: list[tuple[bytes, int]] = [
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    (b"nonsense\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400),  # no host
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 422),  # of that one all is well
    (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
]


async def test_what_is_no_plain_http_is_refused() -> None:
    async with opened() as (client, _):
        for sent, status in NOT_PLAIN:
            assert parse(await client.raw(sent)).status == status, sent[:100]


async def test_an_upgrade_is_not_heeded() -> None:
    async with opened() as (client, _):
        for protocol in ("h2c", "websocket"):
            answer = await client.get(
                "/healthz", Connection="Upgrade, HTTP2-Settings, close", Upgrade=protocol, HTTP2_Settings="AAMAAABkAAQCAAAA"
            )
            assert (answer.status, answer.json) == (200, {"status": "alive"})


async def test_a_body_is_counted_and_not_believed() -> None:
    async with opened() as (client, _):
        declared = await client.raw(HEAD + b"Content-Length: 100000000\r\n\r\n", *[b" " * 1_000_000] * 100)
        assert (parse(declared).status, parse(declared).kind) == (413, "too-large")
        chunks = [b"186A0\r\n" + b" " * 100_000 + b"\r\n"] * 20
        lied = parse(await client.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *chunks))
        assert (lied.status, lied.kind) == (413, "too-large")


async def test_a_client_that_sends_less_than_it_has_said_gets_nothing_stored() -> None:
    async with opened() as (client, _):
        async with await client.connect() as stream:
            await stream.send(HEAD + b'Content-Length: 100\r\n\r\n{"args": [1]}')
        assert (await client.get("/jobs")).json["jobs"] == []


async def test_requests_that_come_too_early_are_answered_in_their_order() -> None:
    async with opened() as (client, _):
        request = client.request("GET", "/healthz", Connection="keep-alive")
        data = await client.raw(request * 3, client.request("GET", "/readyz"))
        assert data.count(b"HTTP/1.1 200") == 4
        assert data.endswith(b'{"status":"ready"}')
        async with await client.connect() as stream:  # but one after the other they may be
            for _ in range(3):
                await stream.send(request)
                data = b""
                while not data.endswith(b'{"status":"alive"}'):
                    data += await stream.receive()


async def test_a_stranger_does_not_come_in() -> None:
    async with opened() as (client, _):
        for headers in (
            {"Host": "evil.example"},
            {"Host": f"evil.example:{client.port}"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
        ):
            answer = await client.get("/jobs", **headers)
            assert (answer.status, answer.kind.partition("-")[0]) == (403, "wrong"), headers
        answer = await client.get("/jobs", X_Forwarded_For="8.8.8.8")
        assert (answer.status, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
        own = await client.get("/jobs", Origin=f"http://localhost:{client.port}", Sec_Fetch_Site="same-origin")
        assert own.status == 200
        assert (await client.get("/healthz", Host="10.1.2.3")).status == 200  # who watches comes by the address


async def test_so_many_connections_and_no_more() -> None:
    async with opened(connections=2) as (client, _):
        async with await client.connect(), await client.connect(), anyio.create_task_group() as group:
            answers: list[int] = []

            async def ask() -> None:
                answers.append((await client.get("/healthz")).status)

            group.start_soon(ask)
            await anyio.sleep(0.1)
            assert answers == []  # until the first two have had their time
        assert answers == [200]


async def test_so_many_requests_and_no_more() -> None:
    app = make_app()
    async with served(app, in_flight=1) as (client, _):
        async with await client.connect() as stream:
            await stream.send(client.request("POST", "/tasks/nap", {"args": [60]}, Prefer="wait=50"))
            answers = []
            while not answers or answers[-1].status != 503:  # until that one has come in
                answers.append(await client.get("/tasks"))
        assert (answers[-1].kind, answers[-1].headers["retry-after"]) == ("busy", "1")
    async with served(make_app(), worker=False, requests_per_second=1) as (client, _):
        statuses = [(await client.get("/tasks")).status for _ in range(4)]
        assert statuses == [200, 200, 429, 429]


@pytest.mark.parametrize("who", ["slow reader", "slow head", "slow body", "idle", "waits"])
async def test_nobody_holds_the_end(who: str) -> None:
    app = make_app()
    big = "x" * 900_000
    async with served(app) as (client, door):
        result = (await client.post("/tasks/echo", {"args": [big]}, Prefer="wait=10")).headers["location"] + "/result"
        async with anyio.create_task_group() as group:
            streams = [await client.connect() for _ in range(3)]
            for stream in streams:
                if who == "slow reader":
                    await stream.send(client.request("GET", result, Connection="keep-alive") * 1)
                elif who == "slow head":
                    await stream.send(b"GET / HTTP/1.1\r\nX: ")
                    group.start_soon(drip, stream, b"x", 20.0)
                elif who == "slow body":
                    await stream.send(HEAD + b"Content-Length: 100000\r\n\r\n")
                    group.start_soon(drip, stream, b" ", 20.0)
                elif who == "waits":
                    await stream.send(client.request("POST", "/tasks/nap", {"args": [60]}, Prefer="wait=50"))
            await anyio.sleep(0.1)
            began = anyio.current_time()
            await door.finish(0.2)
            took = anyio.current_time() - began
            if who == "waits":
                assert [parse(await read_all(stream)).kind for stream in streams] == ["draining"] * 3
            group.cancel_scope.cancel()
        began = anyio.current_time()
    assert took + anyio.current_time() - began < 2.5
    for stream in streams:
        await anyio.aclose_forcefully(stream)


async def test_a_client_that_does_not_read_is_left_in_time() -> None:
    app = make_app()
    async with served(app, pace=Pace(head_seconds=10, write_seconds=0.2), connections=1) as (client, _):
        # Each answer is nearly a megabyte; the system buffers some, so one client asks for many.
        located = (await client.post("/tasks/echo", {"args": ["x" * 900_000]}, Prefer="wait=10")).headers["location"]
        async with await client.connect() as stream:
            request = client.request("GET", f"{located}/result", Connection="keep-alive")
            with anyio.fail_after(15):
                try:
                    for _ in range(200):
                        await stream.send(request)
                        await anyio.sleep(0.02)
                except anyio.BrokenResourceError:
                    pass
            assert (await client.get("/healthz")).status == 200  # it has the one place that there is


async def test_a_job_that_does_not_end_does_not_hold_the_end_either(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    async with served(app) as (client, door), await client.connect() as stream:
        await stream.send(client.request("POST", "/tasks/stubborn", {"args": [3.0]}, Prefer="wait=50"))
        while not await app.jobs.list(task="stubborn", states=["started"]):  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(0.005)
        began = anyio.current_time()
        await door.finish(0.1)
        answer = parse(await read_all(stream))
        assert anyio.current_time() - began < 2.5
        assert answer.kind in ("draining", "job-still-running")  # it is cut short, and its job does not end: either may be told
        assert "had not ended 1 s later; still running: stubborn" in caplog.text


async def test_while_it_drains_it_says_so() -> None:
    app = make_app()
    async with served(app) as (client, door):
        async with anyio.create_task_group() as group:
            answers: list[Any] = []

            async def ask() -> None:
                answers.append(await client.post("/tasks/nap", {"args": [0.3]}, Prefer="wait=10"))

            group.start_soon(ask)
            while not await app.jobs.list(task="nap", states=["started"]):  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.005)
            door.drain()
            for path in ("/readyz", "/tasks"):
                refused = await client.get(path)
                assert (refused.status, refused.kind) == (503, "draining")
                assert refused.headers["retry-after"] == "1"
            assert (await client.get("/healthz")).status == 200
        assert answers[0].status == 200
        await door.finish()
