"""The queues of the app's own broker, as a place to send messages to: what is meant where no channel is named."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..brokers.gateway import Gateway
from ..channels.message import ChannelMessage
from ..errors import BrokerError, ChannelRefused, ChannelUnavailable
from ..model.codec import Undecodable
from ..model.delivery import Submission
from ..model.foreign import read_foreign
from ..model.options import check_queue
from ..model.raw import ForeignHead, put_head, wrap_raw
from ..registry import Registry


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
        try:
            await self._gateway.submit([self._to_job(place, message) for message in messages])
        except BrokerError as error:
            failed = ChannelRefused if error.refused else ChannelUnavailable
            raise failed(self.name, str(error)) from error

    def _to_job(self, queue: str, message: ChannelMessage) -> Submission:
        job_id = hashlib.sha256(f"{queue}\0{message.id}".encode()).hexdigest()[:32]  # broadcast to two queues it is two jobs
        head = ForeignHead(message.reply_to, message.correlation_id or message.id)
        spec = self._registry.raw.get(queue)
        if spec is not None:
            return Submission(job_id, queue, spec.name, wrap_raw(message.body, head), raw=True)
        try:
            task = read_foreign(message.body).task
        except Undecodable:
            return Submission(job_id, queue, "", wrap_raw(message.body, head), raw=True)
        return Submission(job_id, queue, task, put_head(message.body, head) or message.body)
