"""Who is to blame when a worker dies: markers of starts that did not end.

RabbitMQ counts how often a message was delivered, and charges all that a dead worker held, also what had only been fetched
ahead. So its count is no more than a suspicion, and what this process itself has given back does not count (`Redeliveries`).
Only of a job that comes back is the start written down, a moment after it; and before the handler runs, when it comes back
again. That is a message in a queue of its own, named by the job's id, which is deleted when the job ends, and emptied when a
worker that lives gives it back. What is left in it are workers that died while they ran it.

Mostly there are no markers, and yet jobs come back: a worker has stopped, or had fetched more than it could run. So there is
one more queue with a message for each marker, and while it is empty nobody looks for the others. It may have too many, which
costs a look, and never too few: it is written first, and taken from last.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from secrets import token_hex
from threading import Lock
from typing import Any, Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, PublishError
from pamqp import commands

from ..connection import Connection
from ..deliveries import DeliveredMessage
from ..prefetch import PrefetchBuffer
from ..publishing import OutgoingMessage, Publisher

KEPT_MS: Final = 86_400_000  # after the last start or look
AT_ONCE: Final = 16
FRESH_SECONDS: Final = 0.2  # for how long an answer counts; a marker that is missed is counted with the next one
MOST: Final = 20_000  # messages that are remembered
UNCOUNTED: Final = 2  # as how many deliveries one counts where the server only says that there was one


class CrashMarkers:
    """The markers of one prefix. On the portal's loop."""

    def __init__(self, prefix: str, connection: Connection, publisher: Publisher) -> None:
        self._prefix, self._connection, self._publisher = prefix, connection, publisher
        self._all = f"{prefix}.crashes"
        self._none_until = 0.0  # until when it is believed that there is no marker

    async def count(self, ids: Sequence[str]) -> list[int]:
        """Return how many starts of each job did not end."""
        if time.monotonic() < self._none_until:
            return [0] * len(ids)
        async with self._connection.scratch() as channel:
            if not await self._declare_all(channel):
                self._none_until = time.monotonic() + FRESH_SECONDS
                return [0] * len(ids)
        counts: list[int] = []
        for begin in range(0, len(ids), AT_ONCE):
            counts += await asyncio.gather(*(self._count(job_id) for job_id in ids[begin : begin + AT_ONCE]))
        return counts

    async def add(self, ids: Sequence[str]) -> None:
        """Write down that these jobs are about to start."""
        names = [self._name(job_id) for job_id in ids]
        self._none_until = 0.0
        await self._declare(names)
        await self._publisher.publish([OutgoingMessage("", self._all, b"", token_hex(8)) for _ in names])
        try:
            await self._publisher.publish([OutgoingMessage("", name, b"", token_hex(8)) for name in names])
        except PublishError:  # somebody has just taken the last marker out of one of them, and the queue away
            await self._declare(names)
            await self._publisher.publish([OutgoingMessage("", name, b"", token_hex(8)) for name in names])

    async def take(self, ids: Sequence[str]) -> None:
        """Take one marker of each job back: it was given up, and its worker lives."""
        for job_id in ids:
            async with self._connection.scratch() as channel:
                try:
                    message = await channel.basic_get(self._name(job_id), no_ack=True)
                except ChannelNotFoundEntity:
                    continue
                if isinstance(message.delivery, commands.Basic.GetOk):
                    await channel.basic_get(self._all, no_ack=True)
                with suppress(ChannelPreconditionFailed):  # somebody else's marker is in it, or a new one
                    await channel.queue_delete(self._name(job_id), if_empty=True)

    async def clear(self, ids: Sequence[str]) -> None:
        """Forget the markers of jobs that have ended, or whose crashes are written in the job by now."""
        async with self._connection.scratch() as channel:
            for job_id in ids:
                gone = (await channel.queue_delete(self._name(job_id))).message_count or 0
                for _ in range(gone):
                    await channel.basic_get(self._all, no_ack=True)

    async def _declare(self, names: Sequence[str]) -> None:
        async with self._connection.scratch() as channel:
            await self._declare_all(channel)
            for name in names:
                await channel.queue_declare(name, durable=True, arguments={"x-queue-type": "classic", "x-expires": KEPT_MS})

    async def _count(self, job_id: str) -> int:
        async with self._connection.scratch() as channel:
            try:
                return (await channel.queue_declare(self._name(job_id), passive=True)).message_count or 0
            except ChannelNotFoundEntity:
                return 0

    async def _declare_all(self, channel: AbstractChannel) -> int:
        """Declare the queue with a message for each marker; return how many there are."""
        arguments: dict[str, Any] = {"x-queue-type": "classic", "x-message-ttl": KEPT_MS}
        return (await channel.queue_declare(self._all, durable=True, arguments=arguments)).message_count or 0

    def _name(self, job_id: str) -> str:
        return f"{self._prefix}.crashes.{sha256(job_id.encode()).hexdigest()[:32]}"


def times_delivered(message: DeliveredMessage) -> int:
    """Say how often somebody had a message before; 1 where the server only says that somebody had."""
    count = (message.properties.headers or {}).get("x-delivery-count", 0)
    return max(count if isinstance(count, int) else 0, int(message.redelivered))


def counts_deliveries(message: DeliveredMessage) -> bool:
    """Whether the server counts them: quorum queues do."""
    return "x-delivery-count" in (message.properties.headers or {})


class Redeliveries:
    """The messages that this process has given back. Any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()  # id -> (deliveries that it will have, of which count)

    def note_given_back(self, messages: list[DeliveredMessage]) -> None:
        """Remember what is about to be given back."""
        for message in messages:
            if message.properties.message_id:
                after = times_delivered(message) + 1 if counts_deliveries(message) else 1
                suspicion = self.suspicion(message)
                with self._lock:
                    self._known[message.properties.message_id] = after, suspicion
                    if len(self._known) > MOST:
                        self._known.popitem(last=False)

    def suspicion(self, message: DeliveredMessage) -> int:
        """Return how often a message was delivered to somebody of whom nobody knows what became."""
        times = times_delivered(message)
        if not times:
            return 0
        with self._lock:
            known = self._known.get(message.properties.message_id or "")
        if known is not None and known[0] == times:
            return known[1]
        return times if counts_deliveries(message) else UNCOUNTED


class JobBuffer(PrefetchBuffer):
    """A prefetch buffer in which each message is a job, whoever sent it.

    Args:
        redeliveries: Told of those that go back.
    """

    def __init__(self, redeliveries: Redeliveries) -> None:
        super().__init__()
        self._redeliveries = redeliveries

    def add(self, message: DeliveredMessage) -> None:
        with self._lock:
            self._queues.setdefault(message.queue, deque()).append(message)

    def take_all(self, queue: str) -> list[DeliveredMessage]:
        messages = super().take_all(queue)
        self._redeliveries.note_given_back(messages)
        return messages
