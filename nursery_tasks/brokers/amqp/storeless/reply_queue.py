"""Reply queues: where outcomes of a process's jobs go, and what is said to everybody; and whether anybody reads one.

The queue is not exclusive, and outlives its connection by some minutes: outcomes that come while a link is broken wait there,
and whether its owner lives shows in whether anybody consumes from it. In the same way all who may hold jobs consume from one
more queue, in which there is never anything: so the server knows how many there are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from secrets import token_hex
from typing import Any, Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from ..connection import Connection
from ..errors import DriverError
from .control_messages import ControlMessage, read_control_message
from .topology import StorelessAddress

LIVES_MS: Final = 300_000  # without a consumer
PREFETCH: Final = 1_000
LOOK_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 5.0  # for how long nobody may read a reply queue: a link that breaks is open again sooner

_log = logging.getLogger("nursery_tasks.brokers.amqp")


class ReplyQueue:
    """The reply queue of this process, on a connection of its own. On the portal's loop.

    Args:
        on_message: Called with what came.
        on_open: Called each time when the queue was opened.
        name: That of a queue that is there; None: a new one.
    """

    def __init__(
        self,
        address: StorelessAddress,
        on_message: Callable[[ControlMessage], None],
        on_open: Callable[[], None],
        name: str | None = None,
    ) -> None:
        self._address, self._on_message, self._on_open = address, on_message, on_open
        self.name = name or address.reply_queue(token_hex(8))
        self.connection = Connection(address, "box", self._open)
        self._works = False
        self._counted: str | None = None  # the tag of the consumer that stands for this process, while it is there

    @property
    def is_counted(self) -> bool:
        """Whether this process is among those who are counted as workers."""
        return self._counted is not None and self.connection.current is not None

    async def begin_work(self) -> None:
        """Be counted from now on, on each connection."""
        self._works = True
        await self._be_counted(await self.connection.channel())

    async def end_work(self) -> None:
        """Be counted no more: who asks from now on does not wait for an answer of this process."""
        self._works = False
        channel, tag, self._counted = self.connection.current, self._counted, None
        if channel is not None and tag is not None:
            await channel.basic_cancel(tag)

    async def _be_counted(self, channel: AbstractChannel) -> None:
        workers = self._address.workers
        await channel.queue_declare(workers, durable=True, arguments={"x-queue-type": "classic", "x-expires": LIVES_MS})
        self._counted = (await channel.basic_consume(workers, _ignore, no_ack=True)).consumer_tag

    async def _open(self, channel: AbstractChannel, generation: int) -> None:
        self._counted = None
        control = self._address.control
        await channel.exchange_declare(control, exchange_type="fanout", durable=True)
        await channel.queue_declare(self.name, durable=True, arguments={"x-queue-type": "classic", "x-expires": LIVES_MS})
        await channel.queue_bind(self.name, control)
        await channel.basic_qos(prefetch_count=PREFETCH)

        async def on_message(delivered: Any) -> None:
            message = read_control_message(delivered.body)
            if message is not None:
                try:
                    self._on_message(message)
                except Exception:  # nobody to raise it to, and the next one is not to blame
                    _log.exception("cannot take what another process said")
            await channel.basic_ack(delivered.delivery.delivery_tag, wait=False)

        await channel.basic_consume(self.name, on_message)
        if self._works:
            await self._be_counted(channel)
        self._on_open()


class ReplyQueueWatch:
    """Whether those who await jobs still read their reply queues. On the portal's loop, except for `is_known`.

    Args:
        wanted: Gives the queues to look at.
        on_gone: Called with a queue that nobody reads any more.
    """

    def __init__(self, connection: Connection, wanted: Callable[[], Iterable[str]], on_gone: Callable[[str], None]) -> None:
        self._connection, self._wanted, self._on_gone = connection, wanted, on_gone
        self._seen: dict[str, float] = {}  # queue -> when somebody last read it, as far as is known
        self._looked: dict[str, float] = {}

    def is_known(self, queue: str) -> bool:
        """Whether a queue was there a moment ago."""
        return time.monotonic() - self._looked.get(queue, 0.0) < LOOK_SECONDS

    async def look(self, queues: Sequence[str]) -> set[str]:
        """Look at queues; return those that are gone."""
        gone: set[str] = set()
        for queue in queues:
            readers = await count_consumers(self._connection, queue)
            now = time.monotonic()
            if readers is None:
                gone.add(queue)
                continue
            self._looked[queue] = now
            since = self._seen.setdefault(queue, now)
            if readers:
                self._seen[queue] = now
            elif now - since >= GRACE_SECONDS:
                gone.add(queue)
        return gone

    async def keep(self) -> None:
        """Look at them again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            queues = set(self._wanted())
            self._forget(queues)
            try:
                for queue in await self.look(sorted(queues)):
                    self._on_gone(queue)
            except (*DriverError, asyncio.CancelledError):
                if self._is_ending():
                    raise
            except Exception:  # the connection is down: nobody is judged by that
                continue

    def _is_ending(self) -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def _forget(self, wanted: set[str]) -> None:
        """Drop what was known of queues that nobody has asked about for a while."""
        now = time.monotonic()
        for queue in [queue for queue, at in self._looked.items() if queue not in wanted and now - at > 2 * GRACE_SECONDS]:
            self._looked.pop(queue, None)
            self._seen.pop(queue, None)


async def count_consumers(connection: Connection, queue: str) -> int | None:
    """Return how many consume from a queue; None: there is none."""
    async with connection.scratch() as channel:
        try:
            return (await channel.queue_declare(queue, passive=True)).consumer_count or 0
        except ChannelNotFoundEntity:
            return None


async def _ignore(message: Any) -> None:
    return
