"""What one queue is at the server, and how messages get there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class QueueTopology:
    """Where the messages of one queue go.

    Attributes:
        queue: The queue's name among the jobs.
        exchange, exchange_type: Where messages are published; an empty name is the server's default exchange.
        name, key: The queue's name at the server, and the routing key that leads to it.
        durable: Whether both outlive a restart of the server.
        arguments: Of the queue, `x-queue-type` among them.
        declare: False: use what exists, and declare nothing.
        prefetch: How many messages a worker holds at most; None: as many as it can run.
        global_qos: Whether that number counts for all of a worker's queues together.
        dead: Where the server puts what it drops, if that is ours to declare.
    """

    queue: str
    exchange: str
    exchange_type: str
    name: str
    key: str
    durable: bool
    arguments: Mapping[str, Any]
    declare: bool
    prefetch: int | None
    global_qos: bool
    dead: QueueTopology | None = None
