"""The box of this process: the queue that outcomes of its jobs go to, and what is said to everybody.

The queue is not exclusive, and outlives its connection by some minutes: outcomes that come while a link is broken wait there,
and whether its owner lives shows in whether anybody consumes from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from ..line import Line
from .places import BareAddress
from .words import Word, read_word

LIVES_MS: Final = 300_000  # without a consumer
PREFETCH: Final = 1_000

_log = logging.getLogger("nursery_tasks.brokers.amqp")


class Box:
    """The box, on a line of its own. On the portal's loop.

    Args:
        on_word: Called with what came.
        on_open: Called each time when the box was opened.
    """

    def __init__(self, address: BareAddress, on_word: Callable[[Word], None], on_open: Callable[[], None]) -> None:
        self._address, self._on_word, self._on_open = address, on_word, on_open
        self.name = f"{address.prefix}.box.{token_hex(8)}"
        self.line = Line(address, "box", self._open)

    async def _open(self, channel: AbstractChannel, generation: int) -> None:
        control = self._address.control
        await channel.exchange_declare(control, exchange_type="fanout", durable=True)
        await channel.queue_declare(self.name, durable=True, arguments={"x-queue-type": "classic", "x-expires": LIVES_MS})
        await channel.queue_bind(self.name, control)
        await channel.basic_qos(prefetch_count=PREFETCH)

        async def on_message(message: Any) -> None:
            word = read_word(message.body)
            if word is not None:
                try:
                    self._on_word(word)
                except Exception:  # nobody to raise it to, and the next one is not to blame
                    _log.exception("cannot take what another process said")
            await channel.basic_ack(message.delivery.delivery_tag, wait=False)

        await channel.basic_consume(self.name, on_message)
        self._on_open()


async def count_readers(line: Line, box: str) -> int | None:
    """Return how many consume from a box; None: there is no such box."""
    async with line.scratch() as channel:
        try:
            return (await channel.queue_declare(box, passive=True)).consumer_count or 0
        except ChannelNotFoundEntity:
            return None
