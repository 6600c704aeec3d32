"""Messages that say that a job is ready, which workers get in place of the job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from secrets import token_hex

from ....errors import BrokerError, BrokerUnavailable
from ..deliveries import JOB, DeliveredMessage
from ..publishing import OutgoingMessage
from ..topology import QueueTopology
from ..transport import Transport
from .missed_messages import MissedMessageCheck


class WorkMessages:
    """What is published for the jobs in the store, and given back."""

    def __init__(self, transport: Transport, missed: MissedMessageCheck) -> None:
        self._transport, self._missed = transport, missed

    def publish(self, numbers: Mapping[str, int]) -> None:
        """Publish so many messages to each of these queues.

        Raises:
            BrokerError: A queue does not take its own; the others have theirs.
        """
        for error in self.publish_each(numbers).values():
            raise error

    def publish_each(self, numbers: Mapping[str, int]) -> dict[str, BrokerError]:
        """Publish so many messages to each of these queues; return which queues take none, and why."""
        mail: list[tuple[QueueTopology, list[OutgoingMessage]]] = []
        for queue, number in numbers.items():
            topology = self._transport.address.topology(queue)
            messages = [
                OutgoingMessage(topology.exchange, topology.key, b"", token_hex(8), {"message_type": JOB})
                for _ in range(number)
            ]
            if messages:
                mail.append((topology, messages))
        return self._transport.send_each(mail) if mail else {}

    def publish_after(self, numbers: Counter[str]) -> None:
        """Publish for what the store has done already: it stands, whatever becomes of the messages.

        The missed-message check finds the rest.
        """
        try:
            self._missed.note_missing(self.publish_each(numbers))
        except BrokerUnavailable:
            self._missed.note_missing(numbers)

    def give_back(self, messages: Iterable[DeliveredMessage]) -> None:
        """Give messages back to the server; on return others can have them."""
        self._transport.receiver.give_back(messages)
        with suppress(BrokerUnavailable):  # then the server has taken them back by itself
            self._transport.flush_acks()
