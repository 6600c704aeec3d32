"""Who is to blame when a worker dies: marks of starts that did not end.

RabbitMQ counts how often a message was delivered, and charges all that a dead worker held, also what had only been fetched
ahead. So its count is no more than a suspicion. Only of a job that comes back is the start written down before its handler
runs: a message in a queue of its own, named by the job's id, which is deleted when the job ends, and emptied when a worker
that lives gives it back. What is left in it are workers that died while they ran that job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from secrets import token_hex
from typing import Final

from aiormq.exceptions import ChannelNotFoundEntity

from ..line import Line
from ..sending import Letter, Sender

KEPT_MS: Final = 86_400_000  # after the last start or look
AT_ONCE: Final = 16


class Suspects:
    """The marks of one prefix. On the portal's loop."""

    def __init__(self, prefix: str, line: Line, sender: Sender) -> None:
        self._prefix, self._line, self._sender = prefix, line, sender

    async def count(self, ids: Sequence[str]) -> list[int]:
        """Return how many starts of each job did not end."""
        counts: list[int] = []
        for begin in range(0, len(ids), AT_ONCE):
            counts += await asyncio.gather(*(self._count(job_id) for job_id in ids[begin : begin + AT_ONCE]))
        return counts

    async def mark(self, ids: Sequence[str]) -> None:
        """Write down that these jobs are about to start."""
        letters: list[Letter] = []
        async with self._line.scratch() as channel:
            for job_id in ids:
                name = self._name(job_id)
                await channel.queue_declare(name, durable=True, arguments={"x-queue-type": "classic", "x-expires": KEPT_MS})
                letters.append(Letter("", name, b"", token_hex(8)))
        await self._sender.publish(letters)

    async def unmark(self, ids: Sequence[str]) -> None:
        """Take one mark of each job back: it was given up, and its worker lives."""
        for job_id in ids:
            async with self._line.scratch() as channel:
                try:
                    await channel.basic_get(self._name(job_id), no_ack=True)
                except ChannelNotFoundEntity:
                    continue

    async def clear(self, ids: Sequence[str]) -> None:
        """Forget the marks of jobs that have ended, or whose crashes are written in the job by now."""
        async with self._line.scratch() as channel:
            for job_id in ids:
                await channel.queue_delete(self._name(job_id))

    async def _count(self, job_id: str) -> int:
        async with self._line.scratch() as channel:
            try:
                return (await channel.queue_declare(self._name(job_id), passive=True)).message_count or 0
            except ChannelNotFoundEntity:
                return 0

    def _name(self, job_id: str) -> str:
        return f"{self._prefix}.crashes.{sha256(job_id.encode()).hexdigest()[:32]}"
