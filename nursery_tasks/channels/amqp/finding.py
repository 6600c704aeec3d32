"""Sees to it that there is a queue. On the portal's loop."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from aiormq.exceptions import ChannelNotFoundEntity

from ...brokers.amqp.connection import Connection
from ...brokers.amqp.publishing import Declared
from ...brokers.amqp.topology import QueueTopology


class QueueFinder:
    """Finds queues for one channel, one after the other where it is the same: a quorum queue is known to the server before it
    can be consumed, and whoever does so in between loses the connection (541).
    """

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, connection: Connection, queue: QueueTopology, *, makes: bool = True) -> None:
        """Look for a queue. One that is there is used as it is, whatever its kind.

        Args:
            makes: Whether to make one that is missing.

        Raises:
            aiormq.ChannelNotFoundEntity: It is missing, and not to be made.
        """
        async with self._locks[queue.name]:
            try:
                async with connection.scratch() as channel:
                    await channel.queue_declare(queue.name, passive=True)
            except ChannelNotFoundEntity:
                if not makes:
                    raise
                await Declared().declare(queue, connection)
