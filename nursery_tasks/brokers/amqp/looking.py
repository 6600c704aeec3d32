"""Questions about one queue at the server, and what is taken out of one for good. On the portal's loop."""

from __future__ import annotations

from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from ...model.listing import TransportQueue
from .connection import Connection
from .publishing import Declared
from .topology import QueueTopology


async def count_messages(topology: QueueTopology, connection: Connection, declared: Declared) -> int:
    """Return how many messages of a queue wait at the server; it is declared, if need be."""
    await declared.declare(topology, connection)
    async with connection.scratch() as channel:
        return (await channel.queue_declare(topology.name, passive=True)).message_count or 0


async def look_at(topology: QueueTopology, connection: Connection) -> TransportQueue | None:
    """Return what anybody may ask of a queue; None: there is none."""
    async with connection.scratch() as channel:
        try:
            queue = await channel.queue_declare(topology.name, passive=True)
        except ChannelNotFoundEntity:
            return None
    return TransportQueue(ready=queue.message_count or 0, consumers=queue.consumer_count or 0)


async def take_messages(name: str, limit: int, connection: Connection) -> list[bytes]:
    """Take up to *limit* messages out of a queue, for good; an empty list where there is none."""
    bodies: list[bytes] = []
    async with connection.scratch() as channel:
        try:
            await channel.queue_declare(name, passive=True)
            while len(bodies) < limit:
                message = await channel.basic_get(name, no_ack=True)
                if not isinstance(message.delivery, commands.Basic.GetOk):
                    break
                bodies.append(message.body)
        except ChannelNotFoundEntity:
            pass
    return bodies
