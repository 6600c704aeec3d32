"""Delays without a plugin: a message goes through a few queues whose messages live for a fixed time each.

Level k holds a message for 2^k units, by the time to live of the *queue*, and then passes it on to level k-1. The routing key
says at which levels it stops: a digit for each, from the highest to level 0, and then the queue. (A time to live of the
message itself would not do: a queue looks only at its first message.) A delay is rounded up to whole units, so nothing comes
before its time, and at most a unit and the way after it.

The design is that of NServiceBus' delayed delivery for RabbitMQ, with finer units:
https://docs.particular.net/transports/rabbitmq/delayed-delivery

    <prefix>.delay.<k>   topic exchange, and a queue of the same name for the keys with a 1 at level k
    <prefix>.due         topic exchange, from which each queue of jobs gets what is due
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import PublishError

from ..connection import Connection
from ..publishing import OutgoingMessage, Publisher
from ..topology import QueueTopology
from .topology import StorelessAddress

UNIT_MS: Final = 250
LEVELS: Final = 25  # the time to live of a queue has 32 bits, in milliseconds
MOST_UNITS: Final = (1 << LEVELS) - 1
LONGEST_SECONDS: Final = MOST_UNITS * UNIT_MS / 1000  # 97 days


def to_units(seconds: float) -> int:
    """Return for how many units a message has to wait; at least one, at most what all levels have together."""
    return min(max(1, math.ceil(seconds * 1000 / UNIT_MS - 1e-6)), MOST_UNITS)


def to_key(units: int, queue: str) -> str:
    """Return the routing key: where a message stops, and where it goes."""
    return ".".join(f"{units:0{LEVELS}b}") + f".{queue}"


class DelayLevels:
    """The delay levels of one prefix. On the portal's loop."""

    def __init__(self, address: StorelessAddress, connection: Connection, publisher: Publisher) -> None:
        self._address, self._connection, self._publisher = address, connection, publisher
        self._generation = 0
        self._levels = 0  # how many are known to exist
        self._bound: set[str] = set()  # the queues that are known to get what is due

    async def send(self, topology: QueueTopology, messages: Sequence[tuple[OutgoingMessage, float]]) -> None:
        """Publish messages that are due after so many seconds; errors as those of `Publisher.send`."""
        late = [self._delayed(message, topology, seconds) for message, seconds in messages]
        levels = max(to_units(seconds).bit_length() for _, seconds in messages)
        await self._declare(topology, levels)
        try:
            await self._publisher.publish(late)
        except PublishError:  # somebody has deleted a queue
            self._generation = 0
            await self._declare(topology, levels)
            await self._publisher.publish(late)

    def _delayed(self, message: OutgoingMessage, topology: QueueTopology, seconds: float) -> OutgoingMessage:
        """Return a message to a queue by way of the levels."""
        units = to_units(seconds)
        exchange = f"{self._address.prefix}.delay.{units.bit_length() - 1}"
        return OutgoingMessage(exchange, to_key(units, topology.queue), message.body, message.message_id, message.properties)

    async def _declare(self, topology: QueueTopology, levels: int) -> None:
        if self._generation != self._connection.generation:
            self._levels, self._bound = 0, set()
        generation = self._connection.generation
        if levels <= self._levels and topology.name in self._bound:
            return
        await self._publisher.send(topology, [])  # declares it
        async with self._connection.scratch() as channel:
            await channel.exchange_declare(self._address.due, exchange_type="topic", durable=self._address.is_durable)
            for level in range(self._levels, levels):
                await self._declare_level(channel, level)
            key = "*." * LEVELS + topology.queue
            await channel.queue_bind(topology.name, self._address.due, key)
        self._generation = generation
        self._levels = max(levels, self._levels)
        self._bound.add(topology.name)

    async def _declare_level(self, channel: AbstractChannel, level: int) -> None:
        found = self._address.delay_level(level, UNIT_MS << level)
        await channel.exchange_declare(found.name, exchange_type="topic", durable=found.durable)
        await channel.queue_declare(found.name, durable=found.durable, arguments=dict(found.arguments))
        before = "*." * (LEVELS - 1 - level)
        await channel.queue_bind(found.name, found.name, f"{before}1.#")
        following = f"{self._address.prefix}.delay.{level - 1}" if level else self._address.due
        await channel.exchange_bind(destination=following, source=found.name, routing_key=f"{before}0.#")
