"""A node, and a virtual host of the test's own on it, whose connections a test may close."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from rabbit_server import RabbitServer, need_server, shared_server


@dataclass(frozen=True)
class Host:
    """A virtual host of the shared node.

    Attributes:
        store: The URL of a store for its jobs.
    """

    server: RabbitServer
    name: str
    store: str

    def url(self, port: int | None = None, **options: object) -> str:
        """Return the broker's URL; *port* is that of a proxy."""
        words = {"store": self.store, **options}
        query = "&".join(f"{name.replace('__', '.')}={quote(str(value), safe='')}" for name, value in words.items())
        return f"amqp://guest:guest@127.0.0.1:{port or self.server.port}/{self.name}?{query}"

    def close_all_connections(self) -> None:
        self.server.control("close_all_connections", "--vhost", self.name, "a test")

    def queue(self, name: str) -> dict[str, object]:
        """Return what the server knows of a queue; its counts are some seconds old."""
        found: dict[str, object] = self.server.api("GET", f"queues/{self.name}/{quote(name, safe='')}")
        return found


@pytest.fixture
def host(tmp_path: Path) -> Generator[Host, None, None]:
    need_server()
    server = shared_server()
    with server.virtual_host() as name:
        yield Host(server, name, f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
