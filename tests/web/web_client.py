"""A client that can misbehave: requests as bytes over a socket, and answers read to their end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import SocketStream

from nursery_tasks import App
from nursery_tasks.web.server import ServerOptions
from nursery_tasks.web.server.connection import Pace
from nursery_tasks.web.serving import ServedDoor, open_door
from nursery_tasks.web.settings import DoorOptions

DEADLINE_SECONDS = 20.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """The end of a problem's type."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == self.status
        return str(self.json["type"]).rpartition(":")[2]


@dataclass
class Client:
    """Asks one door.

    Attributes:
        headers: Of each request.
    """

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    async def connect(self) -> SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def raw(self, *parts: bytes) -> bytes:
        """Send bytes, and return all that comes until the server closes."""
        async with await self.connect() as stream:
            for part in parts:
                try:
                    await stream.send(part)
                except anyio.BrokenResourceError:
                    break
            return await read_all(stream)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Make one request; a body that is no bytes is JSON, and underscores in headers are dashes."""
        return parse(await self.raw(self.request(method, path, body, **headers)))

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.ask("POST", path, body, **headers)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, **headers)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = {"Host": f"localhost:{self.port}", "Connection": "close", "Content-Length": str(len(data))}
        if data:
            given["Content-Type"] = "application/json"
        given |= self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
        return "\r\n".join([*lines, "", ""]).encode() + data


async def read_all(stream: SocketStream) -> bytes:
    data = b""
    with anyio.fail_after(DEADLINE_SECONDS):
        try:
            while True:
                data += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return data


def parse(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return Answer(int(first.split(" ")[1]), headers, body)


def unchunked(body: bytes) -> bytes:
    data = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        data, body = data + rest[:length], rest[length + 2 :]
        if not length:
            break
    return data


@asynccontextmanager
async def served(
    app: App, *, worker: bool = True, pace: Pace | None = None, connections: int = 256, **options: Any
) -> AsyncGenerator[tuple[Client, ServedDoor], None]:
    """Open an app, a worker and a door."""
    server = ServerOptions(port=0, pace=pace or Pace(), connections=connections)
    given: DoorOptions = options  # type: ignore[assignment]
    async with app, app.open_worker(slots=8 if worker else 1, jobs=worker), open_door(app, server, given) as door:
        yield Client(int(door.url.rpartition(":")[2])), door
