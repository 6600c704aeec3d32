"""The queues of the app's own broker, as a place to send messages to: what is meant where no channel is named."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from anyio import current_time, sleep

from ..brokers.gateway import Gateway
from ..brokers.protocol import Feature
from ..channels.message import ChannelMessage
from ..errors import BrokerError, ChannelRefused, ChannelUnavailable, QueueFull
from ..model.codec import Undecodable
from ..model.delivery import Submission
from ..model.foreign import read_foreign
from ..model.options import AT_MOST_ONCE, check_queue
from ..model.raw import ForeignHead, put_head, wrap_message, wrap_raw
from ..registry import Registry

FULL_SECONDS: Final = 0.1  # before a queue that was full is tried again: the broker does not tell when there is room
WAIT_SECONDS: Final = 30.0  # for room, before that is told


class OwnQueues:
    """Makes jobs of messages: of the task that takes what is raw on a queue, or else of the one that a message names.

    A message that was sent before, by its id, is the same job.
    """

    name = "the app's own broker"

    def __init__(self, gateway: Gateway, registry: Registry) -> None:
        self._gateway, self._registry = gateway, registry

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        """Submit the messages as jobs. See `Channel.send`."""
        check_queue("place", place)
        jobs = [self._to_job(place, message) for message in messages]
        give_up_at = current_time() + WAIT_SECONDS
        try:
            while jobs := await self._submit(jobs):
                if current_time() >= give_up_at:
                    raise ChannelUnavailable(self.name, f"queue {place!r} is full: {jobs[0].max_length:,} jobs wait there")
                await sleep(FULL_SECONDS)
        except BrokerError as error:
            failed = ChannelRefused if error.refused else ChannelUnavailable
            raise failed(self.name, str(error)) from error

    async def _submit(self, jobs: list[Submission]) -> list[Submission]:
        """Submit jobs, and return those for which there is no room in their queue."""
        try:
            await self._gateway.submit(jobs)
        except QueueFull as full:
            answers: Sequence[object] = (full,) if full.answers is None else full.answers
            refused = [each for each, answer in zip(jobs, answers, strict=True) if isinstance(answer, BrokerError)]
            others = [answer for answer in answers if isinstance(answer, BrokerError) and not isinstance(answer, QueueFull)]
            if others:
                raise others[0] from full
            return refused
        return []

    def _to_job(self, queue: str, message: ChannelMessage) -> Submission:
        job_id = hashlib.sha256(f"{queue}\0{message.id}".encode()).hexdigest()[:32]  # broadcast to two queues it is two jobs
        head = ForeignHead(message.reply_to, message.correlation_id or message.id)
        spec = self._registry.raw.get(queue)
        if spec is not None:
            bounded = Feature.BOUNDS in self._gateway.broker.features
            return Submission(
                job_id,
                queue,
                spec.name,
                wrap_message(message),
                priority=spec.options.priority,
                keep_seconds=spec.options.result_ttl_seconds,
                max_crashes=spec.options.max_crashes,
                tags=spec.options.tags,
                raw=True,
                once=spec.options.delivery == AT_MOST_ONCE,
                max_length=self._registry.max_length_for(spec) if bounded else 0,
            )
        try:
            task = read_foreign(message.body).task
        except Undecodable:
            return Submission(job_id, queue, "", wrap_raw(message.body, head), raw=True)
        return Submission(job_id, queue, task, put_head(message.body, head) or message.body)
