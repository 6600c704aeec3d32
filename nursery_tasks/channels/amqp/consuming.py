"""One queue that is consumed, on an AMQP channel of its own: what goes wrong there ends no other. On the portal's loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from ...brokers.amqp.connection import Connection
from ...brokers.amqp.deliveries import DeliveredMessage, DeliveryTags
from ...brokers.amqp.errors import DriverError
from ...brokers.amqp.portal import LinkLost, guarded
from ...brokers.amqp.topology import QueueTopology
from ...errors import BrokerError, BrokerUnavailable
from ..backoff import Backoff
from .finding import QueueFinder

PREFETCH_MOST = 65_535


def is_expected(error: Exception) -> bool:
    """Say whether an error is about the server and the way to it; a call that the driver cuts raises a bare `Exception`."""
    return isinstance(error, (BrokerError, *DriverError)) or type(error) is Exception


class Consumption:
    """Consumes a queue, again and again, until `end`.

    Args:
        finder: Finds the queue.
        makes: Whether to make the queue when it is missing.
        on_message: Called with each message.
        on_change: Called with None when messages can come, and with what is wrong when they cannot; what came before is void.
    """

    def __init__(
        self,
        connection: Connection,
        topology: QueueTopology,
        prefetch: int,
        finder: QueueFinder,
        *,
        makes: bool,
        seconds: float,
        on_message: Callable[[DeliveredMessage], None],
        on_change: Callable[[BaseException | None], None],
    ) -> None:
        self._connection, self._topology, self._makes, self._seconds = connection, topology, makes, seconds
        self._prefetch = min(topology.prefetch or prefetch, prefetch, PREFETCH_MOST)
        self._finder = finder
        self._has_tried = False  # and lost the connection while it began to consume
        self._on_message, self._on_change = on_message, on_change
        self._over, self._cancelled = asyncio.Event(), asyncio.Event()
        self._tags = DeliveryTags()
        self._channel: AbstractChannel | None = None
        self._ended = asyncio.Event()

    async def serve(self) -> None:
        """Consume until `end`."""
        backoff = Backoff()
        try:
            while not self._over.is_set():
                try:
                    await self._consume(backoff)
                except Exception as error:  # a fault of our own, too: the receiver must hear of it
                    self._on_change(error)
                finally:
                    self._tags.lose()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), backoff.next_seconds())
        finally:
            self._ended.set()

    async def end(self) -> None:
        """Stop; what was not acknowledged goes back."""
        self._over.set()
        await self._ended.wait()

    async def settle(self, delivered: Sequence[tuple[DeliveryTags, int]], *, ack: bool) -> None:
        """Acknowledge messages, or give them back, and return when the server has heard it.

        Args:
            delivered: The tags of the channel on which each came, and its own.

        Raises:
            BrokerUnavailable: It was away since they came.
        """
        channel: Any = self._channel
        if channel is None or any(tags is not self._tags for tags, _ in delivered):
            raise BrokerUnavailable("", "it was away since these were received; they come again")
        (self._tags.ack if ack else self._tags.nack)([tag for _, tag in delivered])
        frames = self._tags.to_bytes(channel.number)
        try:
            if frames:
                self._connection.write(frames)
                await channel.basic_cancel("nobody")  # any call that is answered: acknowledgements are not
        except BaseException:  # unknown what it has heard: let it have all of them back
            self._cancelled.set()
            raise

    async def _consume(self, backoff: Backoff) -> None:
        await self._connection.channel(at_once=True)
        await guarded(self._finder.find(self._connection, self._topology, makes=self._makes), self._seconds)
        async with self._connection.scratch() as channel:
            tags = self._tags = DeliveryTags()
            self._cancelled.clear()
            channel.on_consumer_cancel_callbacks.add(lambda _: self._cancelled.set())
            try:
                await guarded(self._begin(channel, tags), self._seconds)
            except (BrokerError, ChannelNotFoundEntity, TimeoutError):
                raise
            except Exception:
                # Another program may be making this queue: it is known to the server before it can be consumed, and until then
                # the server closes the connection of who tries (541).
                if self._has_tried:
                    raise
                self._has_tried = True
                return
            self._has_tried = False
            self._channel = channel
            backoff.worked()
            self._on_change(None)
            try:
                lost = await self._wait(channel)
            finally:
                self._channel = None
        if lost:
            self._on_change(lost)

    async def _begin(self, channel: AbstractChannel, tags: DeliveryTags) -> None:
        """Consume the queue.

        Raises:
            BrokerUnavailable: It was deleted since it was found, and is made the next time.
            aiormq.ChannelNotFoundEntity: It was deleted, and is not to be made.
        """

        async def on_message(message: Any) -> None:
            delivery = message.delivery
            tags.arrived(delivery.delivery_tag)
            self._on_message(
                DeliveredMessage(
                    self._topology.name,
                    delivery.delivery_tag,
                    tags,
                    time.monotonic(),
                    message.body,
                    message.header.properties,
                    bool(delivery.redelivered),
                )
            )

        await channel.basic_qos(prefetch_count=self._prefetch)
        try:
            await channel.basic_consume(self._topology.name, on_message)
        except ChannelNotFoundEntity as error:
            if not self._makes:
                raise
            raise BrokerUnavailable("", "the queue was deleted before it was consumed", "it is made again") from error

    async def _wait(self, channel: Any) -> BaseException | None:
        """Wait until it is over, or the server has ended it; returns what has."""
        over, cancelled = asyncio.ensure_future(self._over.wait()), asyncio.ensure_future(self._cancelled.wait())
        closing: asyncio.Future[Any] = channel.closing
        try:
            await asyncio.wait({over, cancelled, closing}, return_when=asyncio.FIRST_COMPLETED)
            if self._over.is_set():
                return None
            problem = closing.exception() if closing.done() and not closing.cancelled() else None
            return problem or LinkLost("the server has ended it")
        finally:
            for sign in (over, cancelled, closing):
                sign.cancel()
