"""What the server's management plugin knows of queues: its HTTP API, where it is there.

It is asked only when a person looks at queues, and what it does not answer is left out: the plugin is no part of a server, and
its user may not look. The counts are of the last few seconds.
"""

from __future__ import annotations

import http.client
import ssl
from base64 import b64encode
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from ...model.listing import TransportQueue
from .address import Address

API_PORT: Final = 15672
API_TLS_PORT: Final = 15671
API_SECONDS: Final = 3.0


class _Rate(msgspec.Struct, frozen=True):
    rate: float = 0.0


class _Stats(msgspec.Struct, frozen=True):
    publish_details: _Rate = _Rate()
    ack_details: _Rate = _Rate()


class _Queue(msgspec.Struct, frozen=True):
    messages_ready: int = 0
    messages_unacknowledged: int = 0
    consumers: int = 0
    memory: int | None = None
    message_stats: _Stats = _Stats()


_decode: Final = msgspec.json.Decoder(_Queue).decode


def read_queue(address: Address, queue: str) -> TransportQueue | None:
    """Ask for one queue, by its name among the jobs; None: nobody answers, or there is no such queue."""
    parts = urlsplit(address.url)
    vhost = quote(unquote(parts.path[1:]) or "/", safe="")
    path = f"/api/queues/{vhost}/{quote(address.place(queue).name, safe='')}"
    user = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
    try:
        connection = _connect(parts.scheme, parts.hostname or "localhost", address.api_port)
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {b64encode(user.encode()).decode()}"})
            answer = connection.getresponse()
            body = answer.read(1 << 20)
            found = _decode(body) if answer.status == 200 else None
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, msgspec.MsgspecError):
        return None
    if found is None:
        return None
    return TransportQueue(
        ready=found.messages_ready,
        unacknowledged=found.messages_unacknowledged,
        consumers=found.consumers,
        memory_bytes=found.memory,
        in_per_second=found.message_stats.publish_details.rate,
        out_per_second=found.message_stats.ack_details.rate,
    )


def _connect(scheme: str, host: str, port: int | None) -> Any:
    if scheme == "amqps":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port or API_TLS_PORT, timeout=API_SECONDS, context=context)
    return http.client.HTTPConnection(host, port or API_PORT, timeout=API_SECONDS)
