"""One channel on which messages come, and the answers to them.

Each queue has one of its own. A channel does one thing after the other, so a queue that makes the server wait would hold up
whatever shares its channel; and the server ends a channel at the first error, and takes back all that came on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final

from aiormq.abc import AbstractChannel
from pamqp import commands

from .connection import Connection
from .deliveries import DeliveredMessage, DeliveryTags
from .portal import guarded
from .taps import Tap
from .topology import QueueTopology

CLOSE_SECONDS: Final = 1.0
PREFETCH_MOST: Final = 65535

OnMessage = Callable[[DeliveredMessage], None]


class IncomingChannel:
    """One channel on which messages come. On the portal's loop.

    Args:
        on_lost: Called once when the channel is gone, whoever has closed it.
        on_cancel: Called when the server has ended a consumer: its queue was deleted, or has moved.

    Attributes:
        driver: The driver's channel.
        consumers: Those that run: tag -> (the queue's name among the jobs, who gets its messages).
        busy: How many use it just now.
        used_at: When somebody last did, on the clock of `time.monotonic`.
    """

    def __init__(
        self,
        connection: Connection,
        driver: AbstractChannel,
        on_lost: Callable[[IncomingChannel], None],
        on_cancel: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self.driver, self._on_lost, self._on_cancel = driver, on_lost, on_cancel
        self.consumers: dict[str, tuple[str, OnMessage]] = {}
        self.busy = 0
        self.used_at = time.monotonic()
        self._tags = DeliveryTags(self._flush_soon)
        self._is_flushing = False
        self._has_spoken = False  # since the last `flush`
        self._qos = asyncio.Lock()  # what is set counts for the next consumer of the channel, whosever it is
        channel: Any = driver
        self._number: int = channel.number
        connection.put_tap(driver, Tap(on_delivery=self._on_delivery))
        closing: asyncio.Future[Any] = channel.closing
        closing.add_done_callback(lambda _: self.lose())
        driver.on_consumer_cancel_callbacks.add(self._on_server_cancel)

    @property
    def is_lost(self) -> bool:
        return self._tags.are_lost

    @property
    def is_idle(self) -> bool:
        """Whether nobody would miss it."""
        return not (self.busy or self.consumers or len(self._tags))

    async def get(self, topology: QueueTopology) -> DeliveredMessage | None:
        """Fetch one message; None: the queue is empty."""
        message: Any = await self.driver.basic_get(topology.name)
        found = message.delivery
        if not isinstance(found, commands.Basic.GetOk):
            return None
        properties = message.header.properties
        return self._received(topology.queue, found.delivery_tag or 0, bool(found.redelivered), properties, message.body)

    async def consume(self, topology: QueueTopology, window: int, on_message: OnMessage, *, shared: bool = False) -> str:
        """Have up to *window* messages pushed here; return the consumer's tag.

        Args:
            shared: Whether *window* counts for all consumers of the channel together.
        """
        tag = f"nt-{token_hex(8)}"  # of ours: the first message may be here before the answer that names it
        async with self._qos:
            await self.driver.basic_qos(prefetch_count=min(window, PREFETCH_MOST), global_=shared)
            self.consumers[tag] = topology.queue, on_message
            await self.driver.basic_consume(topology.name, _left_to_the_tap, consumer_tag=tag)
        return tag

    async def cancel(self, tag: str) -> None:
        """End a consumer; what it has brought stays here."""
        await self.driver.basic_cancel(tag)
        self.consumers.pop(tag, None)

    async def flush(self) -> None:
        """Wait until the server has what was acknowledged and given back before."""
        self._flush()
        if self._has_spoken and not self.is_lost:
            self._has_spoken = False
            async with self._qos:
                await self.driver.basic_cancel(
                    "nobody"
                )  # any call that is answered; basic.qos would end a prefetch that is shared

    async def close(self) -> None:
        """Close it; what was not answered goes back to the server."""
        self.lose()
        with suppress(Exception):
            await guarded(self.driver.close(), CLOSE_SECONDS)

    def lose(self) -> None:
        """Forget what came here: the server delivers it again."""
        if not self.is_lost:
            self._tags.lose()
            self.consumers.clear()
            self._on_lost(self)

    def _on_delivery(
        self, tag: str, number: int, redelivered: bool, properties: commands.Basic.Properties, body: bytes
    ) -> None:
        consumer = self.consumers.get(tag)
        if consumer is not None:  # else the channel is lost, and the server has it again
            queue, on_message = consumer
            on_message(self._received(queue, number, redelivered, properties, body))

    def _received(
        self, queue: str, number: int, redelivered: bool, properties: commands.Basic.Properties, body: bytes
    ) -> DeliveredMessage:
        if not self.is_lost:
            self._tags.arrived(number)
        return DeliveredMessage(queue, number, self._tags, time.monotonic(), body, properties, redelivered)

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write the answers that have gathered."""
        self._is_flushing = False
        frames = b"" if self.is_lost else self._tags.to_bytes(self._number)
        if frames:
            self._has_spoken = True
            self._connection.write(frames)

    def _on_server_cancel(self, frame: commands.Basic.Cancel) -> None:
        tag = frame.consumer_tag or ""
        self.consumers.pop(tag, None)
        self._on_cancel(tag)


async def _left_to_the_tap(message: Any) -> None:
    """Take what the driver has read of a consumer's messages: nothing, because the tap is before it."""
