"""What the server delivers here: pushed to a worker's buffer ahead of its claims, or fetched one by one for anybody else.

A worker says which queues it serves (`feed`), and gets a consumer for each, with as much prefetch as it can run jobs; a claim
that shows that it can run more makes another consumer with more. What lies on the buffer for longer than a
moment goes back to the server, and the consumer ends until the next claim: another worker may have a free slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from aiormq.abc import AbstractChannel
from pamqp import commands

from .address import Address
from .connection import Connection
from .deliveries import DeliveredMessage, DeliveryTags
from .global_qos import check_global_qos
from .looking import count_messages
from .portal import Portal, guarded
from .prefetch import PrefetchBuffer
from .publishing import Declared, to_bytes
from .topology import QueueTopology

UNUSED_SECONDS: Final = 1.0  # on the buffer
FEW: Final = 16  # messages that are fetched one by one
QUIET_SECONDS: Final = 0.5  # no message came for so long: the queue is empty
PARKED_SECONDS: Final = 10.0  # likewise, when there was no job for it, but will be


class Consumer:
    """One queue that is served here."""

    def __init__(self, topology: QueueTopology) -> None:
        self.topology = topology
        self.tag: str | None = None  # while it runs
        self.window = 0  # its prefetch, while it runs
        self.feeds = 0  # how many workers serve it
        self.change = asyncio.Lock()  # on the portal's loop


class Receiver:
    """The consumers of this process, on a connection of their own.

    Args:
        on_arrival: Called on the portal's loop with the queue of each message that was pushed.
    """

    def __init__(self, address: Address, portal: Portal, declared: Declared, on_arrival: Callable[[str], None]) -> None:
        self._address, self._portal, self._on_arrival = address, portal, on_arrival
        self.connection = Connection(address, "in", self._on_open, self._on_lost)
        self.buffer = PrefetchBuffer()
        self._tags = DeliveryTags()
        self._consumers: dict[str, Consumer] = {}
        self._declared = declared
        self._is_flushing = False
        self._is_shared = False  # whether the channel has one prefetch for all of its consumers
        self._qos = asyncio.Lock()  # what is set counts for the next consumer of the channel, whosever it is
        self._tasks: set[asyncio.Future[Any]] = set()  # so that none is collected in the middle

    # --- from any thread --------------------------------------------------------------------------

    def feeds(self, queue: str) -> bool:
        """Say whether a worker here serves *queue*."""
        return queue in self._consumers

    def take(self, queue: str, limit: int, capacity: int) -> list[DeliveredMessage]:
        """Take up to *limit* messages, at least one, that were pushed here; see to it that *capacity* can be here at once."""
        messages = self.buffer.take(queue, limit)
        self._portal.post(self._want, queue, capacity)
        return messages

    def ack(self, messages: Iterable[DeliveredMessage]) -> None:
        """Tell the server that these messages are done with."""
        self._portal.post(self._answer, self._tags.ack, list(messages))

    def give_back(self, messages: Iterable[DeliveredMessage]) -> None:
        """Tell the server to deliver these messages again, to anybody."""
        self._portal.post(self._answer, self._tags.nack, list(messages))

    # --- on the portal's loop ---------------------------------------------------------------------

    async def feed(self, queues: Sequence[str], slots: int) -> None:
        """Serve queues for one more worker, which can run so many jobs at once."""
        topologies = [self._address.topology(queue) for queue in dict.fromkeys([*self._consumers, *queues])]
        await check_global_qos(self._address.name, topologies, self.connection, self._declared)
        for queue in queues:
            self._consumers.setdefault(queue, Consumer(self._address.topology(queue))).feeds += 1
        if self.connection.current is not None:  # else the first claim that finds it open does this
            await asyncio.gather(*(self._want_now(queue, slots) for queue in queues))

    async def unfeed(self, queues: Sequence[str]) -> None:
        """End what `feed` began; what nobody has used goes back."""
        for queue in queues:
            consumer = self._consumers[queue]
            consumer.feeds -= 1
            if not consumer.feeds:
                del self._consumers[queue]
                await self._stop(consumer)

    async def fetch(self, topology: QueueTopology, limit: int) -> list[DeliveredMessage]:
        """Fetch up to *limit* messages, until the queue is empty: a few one after the other, many by a consumer.

        Raises:
            aiormq.AMQPError: The connection broke; the server has them again.
        """
        channel = await self.connection.channel()
        await self._declared.declare(topology, self.connection)
        generation = self.connection.generation
        messages: list[DeliveredMessage] = []
        try:
            while len(messages) < limit:
                message = await channel.basic_get(topology.name)
                if not isinstance(message.delivery, commands.Basic.GetOk):
                    break
                messages.append(self._received(topology.queue, message, generation))
                if len(messages) == FEW:
                    await self._fetch_many(channel, topology, limit - FEW, messages)
        except BaseException:  # also when the time is over
            self._answer(self._tags.nack, messages)
            raise
        return messages

    async def _fetch_many(
        self, channel: AbstractChannel, topology: QueueTopology, limit: int, messages: list[DeliveredMessage]
    ) -> None:
        """Add to *messages* what a consumer brings."""
        wanted = len(messages) + min(limit, await count_messages(topology, self.connection, self._declared))
        generation = self.connection.generation
        came = asyncio.Event()

        async def on_message(message: Any) -> None:
            messages.append(self._received(topology.queue, message, generation))
            came.set()

        if len(messages) == wanted:
            return
        try:
            async with self._qos:
                await channel.basic_qos(prefetch_count=min(wanted - len(messages), 65535))
                consumer = await channel.basic_consume(topology.name, on_message)
            with suppress(TimeoutError):  # somebody else was quicker
                while len(messages) < wanted:
                    came.clear()
                    await asyncio.wait_for(came.wait(), QUIET_SECONDS)
            await channel.basic_cancel(consumer.consumer_tag or "")
        except BaseException:  # the consumer may be there, and bring messages that nobody takes
            self.connection.break_off()
            raise

    async def flush_acks(self) -> None:
        """Wait until the server has what was acknowledged and given back before."""
        channel = await self.connection.channel()
        self._flush()
        async with self._qos:
            await channel.basic_cancel("nobody")  # any call that is answered; basic.qos would end a prefetch that is shared

    async def tidy(self) -> None:
        """Give back, each moment, what nobody uses; until cancelled."""
        while True:
            await asyncio.sleep(UNUSED_SECONDS / 2)
            now = time.monotonic()
            for queue in self.buffer.stale(now - UNUSED_SECONDS, now - PARKED_SECONDS):
                consumer = self._consumers.get(queue)
                if consumer is not None:
                    await self._stop(consumer)
                else:
                    self._answer(self._tags.nack, self.buffer.take_all(queue))

    def _want(self, queue: str, capacity: int) -> None:
        consumer = self._consumers.get(queue)
        if consumer is not None and consumer.window < (consumer.topology.prefetch or capacity):
            self._start_soon(self._want_now(queue, capacity))

    async def _want_now(self, queue: str, capacity: int) -> None:
        """See to it that so many messages of a queue can be here at once."""
        consumer = self._consumers.get(queue)
        if consumer is None or consumer.change.locked() or self.connection.driver is None:
            return
        window = consumer.topology.prefetch or capacity
        if consumer.window < window:
            await self._restart(consumer, window)

    async def _restart(self, consumer: Consumer, window: int) -> None:
        async with consumer.change:
            tag, consumer.tag = consumer.tag, None
            await self._do(self._start(consumer, window, instead_of=tag))

    async def _start(self, consumer: Consumer, window: int, instead_of: str | None) -> None:
        channel = await self.connection.channel(at_once=True)
        if instead_of is not None:
            await channel.basic_cancel(instead_of)
        topology = consumer.topology
        await self._declared.declare(topology, self.connection)
        generation = self.connection.generation

        async def on_message(message: Any) -> None:
            if generation == self.connection.generation:  # else the server has it again
                self.buffer.add(self._received(topology.queue, message, generation))
                self._on_arrival(topology.queue)

        async with self._qos:
            if topology.global_qos and not self._is_shared:  # a consumer's own would go on beside that of the channel
                await channel.basic_qos(prefetch_count=0)
            self._is_shared = topology.global_qos
            await channel.basic_qos(prefetch_count=min(window, 65535), global_=topology.global_qos)
            consumer.window = window
            consumer.tag = (await channel.basic_consume(topology.name, on_message)).consumer_tag

    async def _stop(self, consumer: Consumer) -> None:
        """End a consumer, and give back what it had brought and nobody has used."""
        async with consumer.change:
            tag, consumer.tag, consumer.window = consumer.tag, None, 0
            if tag is not None and self.connection.driver is not None:
                await self._do(self._cancel(tag))
            self._answer(self._tags.nack, self.buffer.take_all(consumer.topology.queue))

    async def _cancel(self, tag: str) -> None:
        await (await self.connection.channel(at_once=True)).basic_cancel(tag)

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Say something to the server; where that fails, give the connection up. It opens again, and says what is wrong."""
        generation = self.connection.generation
        try:
            await guarded(work, self._address.timeout_seconds)
        except Exception:
            if generation == self.connection.generation:
                self.connection.break_off()

    def _received(self, queue: str, message: Any, generation: int) -> DeliveredMessage:
        delivery = message.delivery
        self._tags.arrived(delivery.delivery_tag)
        return DeliveredMessage(
            queue,
            delivery.delivery_tag,
            generation,
            time.monotonic(),
            message.body,
            message.header.properties,
            bool(delivery.redelivered),
        )

    def _answer(self, say: Callable[[Iterable[int]], None], messages: Sequence[DeliveredMessage]) -> None:
        say([message.tag for message in messages if message.generation == self.connection.generation])
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write the answers that have gathered."""
        self._is_flushing = False
        channel: Any = self.connection.current
        if channel is not None and not channel.is_closed:
            frames = self._tags.frames()
            if frames:
                frame = to_bytes(channel, frames)
                try:
                    channel.write_queue.put_nowait(frame)
                except asyncio.QueueFull:
                    self._start_soon(channel.write_queue.put(frame))

    async def _on_open(self, channel: AbstractChannel, generation: int) -> None:
        self._forget()
        channel.on_consumer_cancel_callbacks.add(self._on_server_cancel)

    def _on_lost(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._is_shared = False
        self._tags.clear()
        self.buffer.clear()
        self._declared.forget()
        for consumer in self._consumers.values():
            consumer.tag, consumer.window = None, 0

    def _on_server_cancel(self, frame: commands.Basic.Cancel) -> None:
        """Hear that the server has ended a consumer: its queue was deleted, or has moved. The next claim begins again."""
        for consumer in self._consumers.values():
            if consumer.tag == frame.consumer_tag:
                self._declared.forget(consumer.topology)
                consumer.tag, consumer.window = None, 0

    def _start_soon(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
