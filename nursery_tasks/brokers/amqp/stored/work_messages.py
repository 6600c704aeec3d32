"""Messages that say that a job is ready, which workers get in place of the job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from secrets import token_hex

from ....errors import BrokerError, BrokerUnavailable, QueueFull
from ....model.delivery import Receipt, Submission
from ....model.options import is_inbox
from ...protocol import receipts_of, refusal
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
            if is_inbox(queue):
                continue
            topology = self._transport.address.topology(queue)
            messages = [
                OutgoingMessage(topology.exchange, topology.key, b"", token_hex(8), {"message_type": JOB})
                for _ in range(number)
            ]
            if messages:
                mail.append((topology, messages))
        return self._transport.send_each(mail) if mail else {}

    def publish_new(self, jobs: Sequence[Submission], answers: Sequence[Receipt | QueueFull]) -> list[Receipt]:
        """Publish for jobs that were just stored; return their receipts.

        For repetitions, too: it may be because the first call got no further than the store that there is a second one.

        Args:
            answers: The receipts, and the errors for jobs that found no room.

        Raises:
            QueueFull: There were some, see `refusal`.
            BrokerError: A queue does not take its own, see `refusal`, or the server cannot be reached. The jobs are stored, and
                the missed-message check finds them.
        """
        told = [isinstance(answer, Receipt) and _may_be_ready(job) for job, answer in zip(jobs, answers, strict=True)]
        numbers = Counter(job.queue for job, is_told in zip(jobs, told, strict=True) if is_told)
        try:
            refused = self.publish_each(numbers)
        except BrokerUnavailable:
            self._missed.note_missing(numbers)
            raise
        if not refused:
            return receipts_of(answers)
        self._missed.note_missing(refused)
        each = zip(jobs, answers, told, strict=True)
        raise refusal([refused.get(job.queue, answer) if is_told else answer for job, answer, is_told in each])

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


def _may_be_ready(job: Submission) -> bool:
    return job.ended is None and (job.delay_seconds <= 0 or job.start_at is not None)
