"""Who is to blame when a worker dies: marks of starts that did not end.

RabbitMQ counts how often a message was delivered, and charges all that a dead worker held, also what had only been fetched
ahead. So its count is no more than a suspicion. Only of a job that comes back is the start written down, a moment after it;
and before the handler runs, when it comes back again. That is a message in a queue of its own, named by the job's id, which
is deleted when the job ends, and emptied when a worker that lives gives it back. What is left in it are workers that died
while they ran it.

Mostly there are no marks, and yet jobs come back: a worker has stopped, or had fetched more than it could run. So there is
one more queue with a message for each mark, and while it is empty nobody looks for the others. It may have too many, which
costs a look, and never too few: it is written first, and taken from last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from ..line import Line
from ..sending import Letter, Sender

KEPT_MS: Final = 86_400_000  # after the last start or look
AT_ONCE: Final = 16
FRESH_SECONDS: Final = 0.2  # for how long an answer counts; a mark that is missed is counted with the next one


class Suspects:
    """The marks of one prefix. On the portal's loop."""

    def __init__(self, prefix: str, line: Line, sender: Sender) -> None:
        self._prefix, self._line, self._sender = prefix, line, sender
        self._all = f"{prefix}.crashes"
        self._none_until = 0.0  # until when it is believed that there is no mark

    async def count(self, ids: Sequence[str]) -> list[int]:
        """Return how many starts of each job did not end."""
        if time.monotonic() < self._none_until:
            return [0] * len(ids)
        async with self._line.scratch() as channel:
            if not await self._declare_all(channel):
                self._none_until = time.monotonic() + FRESH_SECONDS
                return [0] * len(ids)
        counts: list[int] = []
        for begin in range(0, len(ids), AT_ONCE):
            counts += await asyncio.gather(*(self._count(job_id) for job_id in ids[begin : begin + AT_ONCE]))
        return counts

    async def mark(self, ids: Sequence[str]) -> None:
        """Write down that these jobs are about to start."""
        names = [self._name(job_id) for job_id in ids]
        self._none_until = 0.0
        async with self._line.scratch() as channel:
            await self._declare_all(channel)
            for name in names:
                await channel.queue_declare(name, durable=True, arguments={"x-queue-type": "classic", "x-expires": KEPT_MS})
        await self._sender.publish([Letter("", self._all, b"", token_hex(8)) for _ in names])
        await self._sender.publish([Letter("", name, b"", token_hex(8)) for name in names])

    async def unmark(self, ids: Sequence[str]) -> None:
        """Take one mark of each job back: it was given up, and its worker lives."""
        for job_id in ids:
            async with self._line.scratch() as channel:
                try:
                    message = await channel.basic_get(self._name(job_id), no_ack=True)
                except ChannelNotFoundEntity:
                    continue
                if isinstance(message.delivery, commands.Basic.GetOk):
                    await channel.basic_get(self._all, no_ack=True)

    async def clear(self, ids: Sequence[str]) -> None:
        """Forget the marks of jobs that have ended, or whose crashes are written in the job by now."""
        async with self._line.scratch() as channel:
            for job_id in ids:
                gone = (await channel.queue_delete(self._name(job_id))).message_count or 0
                for _ in range(gone):
                    await channel.basic_get(self._all, no_ack=True)

    async def _count(self, job_id: str) -> int:
        async with self._line.scratch() as channel:
            try:
                return (await channel.queue_declare(self._name(job_id), passive=True)).message_count or 0
            except ChannelNotFoundEntity:
                return 0

    async def _declare_all(self, channel: AbstractChannel) -> int:
        """Declare the queue with a message for each mark; return how many there are."""
        arguments: dict[str, Any] = {"x-queue-type": "classic", "x-message-ttl": KEPT_MS}
        return (await channel.queue_declare(self._all, durable=True, arguments=arguments)).message_count or 0

    def _name(self, job_id: str) -> str:
        return f"{self._prefix}.crashes.{sha256(job_id.encode()).hexdigest()[:32]}"
