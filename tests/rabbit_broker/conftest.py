"""A node, a virtual host of the test's own on it, whose connections a test may close, and a stranger who uses it, too."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import quote

import pika
import pytest
from rabbit_server import RabbitServer, need_server, shared_server
from support import until

SECONDS = 40.0
EXCHANGE, DEFAULT = "nursery-tasks", "default"


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


class Stranger:
    """A program with a plain, blocking AMQP client."""

    def __init__(self, host: Host) -> None:
        where = pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{host.server.port}/{host.name}")
        self._connection = pika.BlockingConnection(where)
        self.channel = self._connection.channel()

    def push(self, body: bytes, queue: str = DEFAULT, **properties: Any) -> None:
        self.channel.basic_publish(EXCHANGE, queue, body, pika.BasicProperties(**properties), mandatory=True)

    def answers(self, queue: str, number: int) -> list[tuple[str | None, bytes]]:
        """Take so many answers; returns their correlation ids and bodies."""
        found: list[tuple[str | None, bytes]] = []
        for _, properties, body in self.channel.consume(queue, auto_ack=True, inactivity_timeout=SECONDS):
            if body is None:
                break
            found.append((cast(Any, properties).correlation_id, body))
            if len(found) == number:
                break
        self.channel.cancel()
        return found

    def own_queue(self) -> str:
        return cast(str, self.channel.queue_declare("", exclusive=True).method.queue)

    def count(self, queue: str) -> int:
        """Count the messages that wait in a queue, by its name at the server."""
        return cast(int, self.channel.queue_declare(queue, passive=True).method.message_count)

    def get_and_return(self, queue: str) -> None:
        """Take a message out of a queue and give it back, if there is one."""
        found = cast(Any, self.channel.basic_get(queue)[0])
        if found is not None:
            self.channel.basic_nack(found.delivery_tag)

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()


@pytest.fixture
def stranger(host: Host) -> Generator[Stranger, None, None]:
    stranger = Stranger(host)
    yield stranger
    stranger.close()


async def wait_bound(host: Host, *names: str) -> None:
    """Wait until the worker has declared these queues, and bound them."""

    def bound() -> set[str]:
        return {each["routing_key"] for each in host.server.api("GET", f"bindings/{host.name}") if each["source"] == EXCHANGE}

    await until(lambda: set(names) <= bound(), SECONDS)


def dead_letters(host: Host, queue: str, count: int) -> list[dict[str, Any]]:
    """Take messages out of the queue for the dead; waits until there are so many."""
    path = f"queues/{host.name}/{quote(f'nursery-tasks.dead.{queue}', safe='')}/get"
    wanted = {"count": 100, "ackmode": "ack_requeue_false", "encoding": "base64"}
    found: list[dict[str, Any]] = []
    end = time.monotonic() + SECONDS
    while len(found) < count and time.monotonic() < end:
        with suppress(HTTPError):  # 404: nothing has died yet
            found += host.server.api("POST", path, wanted)
    return found
