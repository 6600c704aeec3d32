"""What stands in a server."""

from __future__ import annotations

import redis
from redis_server import RedisServer

LASTING = [f"{{nursery-tasks}}:{name}" for name in ("closed", "layout", "owners", "seq")]


def keys(server: RedisServer) -> list[str]:
    with redis.Redis(port=server.port, protocol=2, decode_responses=True) as client:
        return sorted(set(client.scan_iter("*")))  # a scan may meet a key twice
