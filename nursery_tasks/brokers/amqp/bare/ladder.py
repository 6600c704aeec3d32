"""Delays without a plugin: a message goes through a few queues whose messages live for a fixed time each.

Level k holds a message for 2^k units, by the time to live of the *queue*, and then passes it on to level k-1. The routing key
says at which levels it stops: a digit for each, from the highest to level 0, and then the queue. (A time to live of the
message itself would not do: a queue looks only at its first message.) A delay is rounded up to whole units, so nothing comes
before its time, and at most a unit and the way after it.

    <prefix>.delay.<k>   topic exchange, and a queue of the same name for the keys with a 1 at level k
    <prefix>.due         topic exchange, from which each queue of jobs gets what is due
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import PublishError

from ..address import Place
from ..line import Line
from ..sending import Letter, Sender
from .places import BareAddress

UNIT_MS: Final = 250
LEVELS: Final = 25  # the time to live of a queue has 32 bits, in milliseconds
MOST_UNITS: Final = (1 << LEVELS) - 1
LONGEST_SECONDS: Final = MOST_UNITS * UNIT_MS / 1000  # 97 days


def to_units(seconds: float) -> int:
    """Return for how many units a message has to stay in the ladder; at least one, at most all of it."""
    return min(max(1, math.ceil(seconds * 1000 / UNIT_MS - 1e-6)), MOST_UNITS)


def to_key(units: int, queue: str) -> str:
    """Return the routing key: where a message stops, and where it goes."""
    return ".".join(f"{units:0{LEVELS}b}") + f".{queue}"


class Ladder:
    """The ladder of one prefix. On the portal's loop."""

    def __init__(self, address: BareAddress, line: Line, sender: Sender) -> None:
        self._address, self._line, self._sender = address, line, sender
        self._generation = 0
        self._levels = 0  # how many are known to exist
        self._bound: set[str] = set()  # the queues that are known to get what is due

    def letter(self, letter: Letter, place: Place, seconds: float) -> Letter:
        """Return a letter to *place* that takes its time."""
        units = to_units(seconds)
        exchange = f"{self._address.prefix}.delay.{units.bit_length() - 1}"
        return Letter(exchange, to_key(units, place.queue), letter.body, letter.message_id, letter.properties)

    async def send(self, place: Place, letters: Sequence[tuple[Letter, float]]) -> None:
        """Publish letters that are due after so many seconds; errors as those of `Sender.send`."""
        late = [self.letter(letter, place, seconds) for letter, seconds in letters]
        levels = max(to_units(seconds).bit_length() for _, seconds in letters)
        await self._declare(place, levels)
        try:
            await self._sender.publish(late)
        except PublishError:  # somebody has deleted a queue
            self._generation = 0
            await self._declare(place, levels)
            await self._sender.publish(late)

    async def _declare(self, place: Place, levels: int) -> None:
        if self._generation != self._line.generation:
            self._levels, self._bound = 0, set()
        generation = self._line.generation
        if levels <= self._levels and place.name in self._bound:
            return
        await self._sender.send(place, [])  # declares it
        async with self._line.scratch() as channel:
            await channel.exchange_declare(self._address.due, exchange_type="topic", durable=self._address.is_durable)
            for level in range(self._levels, levels):
                await self._declare_level(channel, level)
            key = "*." * LEVELS + place.queue
            await channel.queue_bind(place.name, self._address.due, key)
        self._generation = generation
        self._levels = max(levels, self._levels)
        self._bound.add(place.name)

    async def _declare_level(self, channel: AbstractChannel, level: int) -> None:
        rung = self._address.rung(level, UNIT_MS << level)
        await channel.exchange_declare(rung.name, exchange_type="topic", durable=rung.durable)
        await channel.queue_declare(rung.name, durable=rung.durable, arguments=dict(rung.arguments))
        before = "*." * (LEVELS - 1 - level)
        await channel.queue_bind(rung.name, rung.name, f"{before}1.#")
        following = f"{self._address.prefix}.delay.{level - 1}" if level else self._address.due
        await channel.exchange_bind(destination=following, source=rung.name, routing_key=f"{before}0.#")
