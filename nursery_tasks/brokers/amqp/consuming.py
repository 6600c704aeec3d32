"""What the server delivers here: pushed to a worker's buffer ahead of its claims, or fetched one by one for anybody else.

A worker says which queues it serves (`feed`), and gets a consumer for each, with as much prefetch as it can run jobs; a claim
that shows that it can run more makes another consumer with more. What lies on the buffer for longer than a
moment goes back to the server, and the consumer ends until the next claim: another worker may have a free slot.

Each queue has a channel of its own, so what is wrong with one costs the others nothing, see `trouble`.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from .address import Address
from .connection import Connection
from .deliveries import DeliveredMessage, DeliveryTags
from .global_qos import check_global_qos
from .incoming import IncomingChannel
from .looking import count_messages
from .portal import Portal, guarded
from .prefetch import PrefetchBuffer
from .publishing import Declared
from .topology import QueueTopology
from .trouble import Trouble

UNUSED_SECONDS: Final = 1.0  # on the buffer
FEW: Final = 16  # messages that are fetched one by one
QUIET_SECONDS: Final = 0.5  # no message came for so long: the queue is empty
PARKED_SECONDS: Final = 10.0  # likewise, when there was no job for it, but will be
IDLE_SECONDS: Final = 30.0  # a channel that nobody uses is kept for so long
FEED_SECONDS: Final = 1.0  # how long a worker waits for its consumers when it begins; they start meanwhile in any case
TRIALS_AT_ONCE: Final = 4


class Consumer:
    """One queue that is served here."""

    def __init__(self, topology: QueueTopology, broker: str) -> None:
        self.topology = topology
        self.channel: IncomingChannel | None = None  # while it runs
        self.tag = ""  # likewise
        self.window = 0  # its prefetch, likewise
        self.feeds = 0  # how many workers serve it
        self.change = asyncio.Lock()  # on the portal's loop
        self.trouble = Trouble(broker, topology.name)

    @property
    def place(self) -> str:
        """Which channel is its own; those with a common prefetch share one."""
        return "" if self.topology.global_qos else self.topology.queue

    def ended(self) -> None:
        """Hear that it does not run any more."""
        self.channel, self.tag, self.window = None, "", 0


class Receiver:
    """The consumers of this process, on a connection of their own.

    Args:
        on_arrival: Called on the portal's loop with a queue of which messages were pushed.

    Attributes:
        losses: How often messages that were delivered here became the server's again. Any thread may read it.
        on_lost: Called on the portal's loop each time; None: nobody wants to hear of it.
    """

    def __init__(self, address: Address, portal: Portal, declared: Declared, on_arrival: Callable[[str], None]) -> None:
        self._address, self._portal, self._on_arrival = address, portal, on_arrival
        self.connection = Connection(address, "in", on_lost=self._on_connection_lost)
        self.buffer = PrefetchBuffer()
        self.losses = 0
        self.on_lost: Callable[[], None] | None = None
        self._consumers: dict[str, Consumer] = {}
        self._channels: dict[str, IncomingChannel] = {}  # by queue; "" is the one that is shared
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._arrived: set[str] = set()  # queues whose messages nobody has heard of
        self._declared = declared
        self._trials = asyncio.Semaphore(TRIALS_AT_ONCE)
        self._tasks: set[asyncio.Future[Any]] = set()  # so that none is collected in the middle

    # --- from any thread --------------------------------------------------------------------------

    def feeds(self, queue: str) -> bool:
        """Say whether a worker here serves *queue*."""
        return queue in self._consumers

    def is_troubled(self, queue: str) -> bool:
        """Say whether messages of *queue* are not to be had for now."""
        consumer = self._consumers.get(queue)
        return consumer is not None and consumer.trouble.is_there

    def take(self, queue: str, limit: int, capacity: int) -> list[DeliveredMessage]:
        """Take up to *limit* messages, at least one, that were pushed here; see to it that *capacity* can be here at once."""
        messages = self.buffer.take(queue, limit)
        self._portal.post(self._want, queue, capacity)
        return messages

    def ack(self, messages: Iterable[DeliveredMessage]) -> None:
        """Tell the server that these messages are done with."""
        self._portal.post(_answer, DeliveryTags.ack, list(messages))

    def give_back(self, messages: Iterable[DeliveredMessage]) -> None:
        """Tell the server to deliver these messages again, to anybody."""
        self._portal.post(_answer, DeliveryTags.nack, list(messages))

    # --- on the portal's loop ---------------------------------------------------------------------

    async def feed(self, queues: Sequence[str], slots: int) -> None:
        """Serve queues for one more worker, which can run so many jobs at once."""
        topologies = [self._address.topology(queue) for queue in dict.fromkeys([*self._consumers, *queues])]
        await check_global_qos(self._address.name, topologies, self.connection, self._declared)
        for queue in queues:
            if queue not in self._consumers:
                self._consumers[queue] = Consumer(self._address.topology(queue), self._address.name)
            self._consumers[queue].feeds += 1
        if queues and self.connection.current is not None:  # else the first claim that finds it open does this
            await asyncio.wait([self._start_soon(self._want_now(queue, slots)) for queue in queues], timeout=FEED_SECONDS)

    async def unfeed(self, queues: Sequence[str]) -> None:
        """End what `feed` began; what nobody has used goes back."""
        ended: list[Consumer] = []
        for queue in queues:
            consumer = self._consumers[queue]
            consumer.feeds -= 1
            if not consumer.feeds:
                ended.append(self._consumers.pop(queue))
        await asyncio.gather(*map(self._stop, ended))

    async def fetch(self, topology: QueueTopology, limit: int) -> list[DeliveredMessage]:
        """Fetch up to *limit* messages, until the queue is empty: a few one after the other, many by a consumer.

        Raises:
            aiormq.AMQPError: The connection broke, or the channel; the server has them again.
        """
        await self._declared.declare(topology, self.connection)
        messages: list[DeliveredMessage] = []
        async with self._channel(topology.queue) as channel:
            try:
                while len(messages) < limit and (message := await channel.get(topology)) is not None:
                    messages.append(message)
                    if len(messages) == FEW:
                        await self._fetch_many(channel, topology, limit - FEW, messages)
            except BaseException:  # also when the time is over
                _answer(DeliveryTags.nack, messages)
                raise
        return messages

    async def _fetch_many(
        self, channel: IncomingChannel, topology: QueueTopology, limit: int, messages: list[DeliveredMessage]
    ) -> None:
        """Add to *messages* what a consumer brings."""
        wanted = len(messages) + min(limit, await count_messages(topology, self.connection, self._declared))
        came = asyncio.Event()

        def on_message(message: DeliveredMessage) -> None:
            messages.append(message)
            came.set()

        if len(messages) == wanted:
            return
        try:
            tag = await channel.consume(topology, wanted - len(messages), on_message)
            with suppress(TimeoutError):  # somebody else was quicker
                while len(messages) < wanted:
                    came.clear()
                    await asyncio.wait_for(came.wait(), QUIET_SECONDS)
            await channel.cancel(tag)
        except BaseException:  # the consumer may be there, and bring messages that nobody takes
            self._close_soon(channel)
            raise

    async def flush_acks(self) -> None:
        """Wait until the server has what was acknowledged and given back before."""
        await self.connection.channel()
        await asyncio.gather(*(channel.flush() for channel in list(self._channels.values())))

    async def tidy(self) -> None:
        """Give back, each moment, what nobody uses; until cancelled."""
        while True:
            await asyncio.sleep(UNUSED_SECONDS / 2)
            now = time.monotonic()
            for queue in self.buffer.stale(now - UNUSED_SECONDS, now - PARKED_SECONDS):
                consumer = self._consumers.get(queue)
                if consumer is None:
                    _answer(DeliveryTags.nack, self.buffer.take_all(queue))
                elif not consumer.change.locked():
                    self._start_soon(self._stop(consumer))
            for channel in list(self._channels.values()):
                if channel.is_idle and channel.used_at < now - IDLE_SECONDS:
                    self._close_soon(channel)

    def _want(self, queue: str, capacity: int) -> None:
        consumer = self._consumers.get(queue)
        if consumer is not None and consumer.window < (consumer.topology.prefetch or capacity) and consumer.trouble.may_try:
            self._start_soon(self._want_now(queue, capacity))

    async def _want_now(self, queue: str, capacity: int) -> None:
        """See to it that so many messages of a queue can be here at once."""
        consumer = self._consumers.get(queue)
        if consumer is None or consumer.change.locked() or self.connection.current is None or not consumer.trouble.may_try:
            return
        window = consumer.topology.prefetch or capacity
        if consumer.window < window:
            async with consumer.change:
                await self._start(consumer, window)

    async def _start(self, consumer: Consumer, window: int) -> None:
        """Start a consumer, or one with more prefetch in place of the one that runs."""
        generation = self.connection.generation
        try:
            if consumer.trouble.is_suspect:
                await guarded(self._try_apart(consumer.topology), self._address.timeout_seconds)
                consumer.trouble.is_suspect = False
            await guarded(self._consume(consumer, window), self._address.timeout_seconds)
        except Exception as error:
            await self._failed(consumer, error, generation)
        else:
            consumer.trouble.over()

    async def _consume(self, consumer: Consumer, window: int) -> None:
        topology = consumer.topology
        await self._declared.declare(topology, self.connection)
        async with self._channel(consumer.place) as channel:
            if consumer.channel is channel:
                await channel.cancel(consumer.tag)
            consumer.channel, consumer.window = channel, window  # from now on it is lost with the channel
            consumer.tag = await channel.consume(topology, window, self._on_message, shared=topology.global_qos)

    async def _try_apart(self, topology: QueueTopology) -> None:
        """Consume from a queue on a connection of its own; a message that comes there goes back."""
        async with self._trials, self.connection.apart() as driver:
            channel = await driver.channel(publisher_confirms=False)
            await channel.basic_qos(prefetch_count=1)
            await channel.basic_consume(topology.name, _ignore)

    async def _failed(self, consumer: Consumer, error: Exception, generation: int) -> None:
        """Do something about a queue that cannot be consumed: find out whether it is the queue's fault."""
        channel = self._channels.get(consumer.place)
        consumer.ended()
        if generation != self.connection.generation or not self.connection.is_up:
            consumer.trouble.is_suspect = True
            consumer.trouble.wait()
        elif isinstance(error, TimeoutError) and not await self.connection.answers():
            self.connection.break_off()
        else:
            self._declared.forget(consumer.topology)
            if channel is not None and not channel.is_lost:
                await channel.close()
            consumer.trouble.failed(error)

    async def _stop(self, consumer: Consumer) -> None:
        """End a consumer, and give back what it had brought and nobody has used."""
        async with consumer.change:
            channel = consumer.channel
            if channel is not None and not channel.is_lost:
                try:
                    await guarded(self._cancel(channel, consumer.tag), self._address.timeout_seconds)
                except Exception:
                    await channel.close()
            consumer.ended()
            _answer(DeliveryTags.nack, self.buffer.take_all(consumer.topology.queue))

    async def _cancel(self, channel: IncomingChannel, tag: str) -> None:
        await channel.cancel(tag)

    @asynccontextmanager
    async def _channel(self, place: str) -> AsyncGenerator[IncomingChannel, None]:
        """Give the channel of a queue, which is opened when there is none."""
        await self.connection.channel()
        async with self._opening[place]:
            channel = self._channels.get(place)
            if channel is None or channel.is_lost:
                driver = await self.connection.open_channel()
                channel = IncomingChannel(self.connection, driver, self._on_channel_lost, self._on_server_cancel)
                self._channels[place] = channel
        channel.busy += 1
        try:
            yield channel
        finally:
            channel.busy -= 1
            channel.used_at = time.monotonic()

    def _on_message(self, message: DeliveredMessage) -> None:
        self.buffer.add(message)
        if not self._arrived:  # once for all that was read together: who hears of it is in another thread
            asyncio.get_running_loop().call_soon(self._tell_arrivals)
        self._arrived.add(message.queue)

    def _tell_arrivals(self) -> None:
        arrived, self._arrived = self._arrived, set()
        for queue in arrived:
            self._on_arrival(queue)

    def _on_connection_lost(self) -> None:
        self._declared.forget()
        for channel in list(self._channels.values()):
            channel.lose()

    def _on_channel_lost(self, channel: IncomingChannel) -> None:
        for place in [place for place, other in self._channels.items() if other is channel]:
            del self._channels[place]
        for consumer in self._consumers.values():
            if consumer.channel is channel:
                consumer.ended()
                self._declared.forget(consumer.topology)
        self.buffer.drop_lost()
        self.losses += 1
        if self.on_lost is not None:
            self.on_lost()

    def _on_server_cancel(self, tag: str) -> None:
        """Hear that the server has ended a consumer. The next claim begins again."""
        for consumer in self._consumers.values():
            if consumer.tag == tag:
                self._declared.forget(consumer.topology)
                consumer.ended()

    def _close_soon(self, channel: IncomingChannel) -> None:
        channel.lose()
        self._start_soon(channel.close())

    def _start_soon(self, work: Any) -> asyncio.Future[Any]:
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _ignore(message: Any) -> None:
    return


def _answer(say: Callable[[DeliveryTags, Iterable[int]], None], messages: Sequence[DeliveredMessage]) -> None:
    """Answer messages, each on the channel on which it came."""
    by_channel: dict[DeliveryTags, list[int]] = {}
    for message in messages:
        by_channel.setdefault(message.tags, []).append(message.tag)
    for tags, numbers in by_channel.items():
        say(tags, numbers)
