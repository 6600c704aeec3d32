"""Servers and links that a test may break."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from proxy import Proxy
from redis_server import RedisServer, need_server


@pytest.fixture
def server() -> Generator[RedisServer, None, None]:
    """A server of the test's own that logs every write before it answers."""
    need_server()
    with TemporaryDirectory() as folder, RedisServer(Path(folder), "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Generator[Proxy, None, None]:
    """A link to `server` that breaks on demand."""
    with Proxy(server.port) as proxy:
        yield proxy
