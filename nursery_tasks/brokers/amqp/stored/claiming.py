"""Claims: a message lets a worker claim a job from the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial

from ....errors import BrokerError
from ....model.delivery import Delivery
from ....model.options import is_inbox
from ....model.states import JobState
from ...needed import admin_of
from ...protocol import Broker
from ..deliveries import DeliveredMessage
from ..foreign import to_job
from ..transport import Transport
from .missed_messages import MissedMessageCheck
from .work_messages import WorkMessages


class Claiming:
    """The claims of this process.

    Args:
        held: Gets the message that let us claim a job, by the token of the delivery; whoever settles that takes it out.
    """

    def __init__(
        self,
        store: Broker,
        transport: Transport,
        work: WorkMessages,
        missed: MissedMessageCheck,
        held: dict[bytes, DeliveredMessage],
    ) -> None:
        self._store, self._transport = store, transport
        self._work, self._missed, self._held = work, missed, held
        self._was_away = False  # whether the last claim has failed; any thread writes it, a wrong value costs a look

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str]
    ) -> list[Delivery]:
        """Claim up to *limit* jobs. See `Broker.claim`."""
        try:
            claimed = self._claim(queues, limit, worker, lease_seconds, names)
        except BrokerError:
            self._was_away = True
            raise
        self._was_away = False
        return claimed

    def _claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str]
    ) -> list[Delivery]:
        parking = self._store.parking
        if names and parking is not None and parking.is_parked(queues, names):  # no message tells of those
            found = self._store.claim(queues, limit, worker, lease_seconds, names)
            if found:  # also what was ready: its messages will find nothing
                return found
        told = [queue for queue in queues if not is_inbox(queue)]  # by messages
        messages = self._messages(told, limit)
        if messages:
            return self._claim_with(messages, queues, limit, worker, lease_seconds)
        if len(told) < len(queues):
            found = self._store.claim([queue for queue in queues if is_inbox(queue)], limit, worker, lease_seconds)
            if found:
                return found
        if self._was_away:  # without a message nobody would ask the store, and it would seem to be back
            return self._store.claim(queues, limit, worker, lease_seconds)
        for queue in told:
            if self._missed.should_claim(queue, partial(self._depth, queue)):
                found = self._store.claim([queue], limit, worker, lease_seconds)
                self._missed.note_claim(queue, len(found) == limit)
                if found:
                    return found
        return []

    def _depth(self, queue: str) -> int:
        """Return how many messages of a queue are to be had: none where its consumer cannot start."""
        if self._transport.receiver.is_troubled(queue):
            return 0
        return self._transport.depth(self._transport.address.topology(queue))

    def _messages(self, queues: Sequence[str], limit: int) -> list[DeliveredMessage]:
        """Return up to *limit* messages, those of the first queues first, and whatever other programs have sent."""
        self._transport.check_open()
        buffer = self._transport.receiver.buffer
        foreign = buffer.take_foreign()
        try:
            found = self._transport.collect(queues, limit - len(foreign), limit + len(self._held))
        except BaseException:
            buffer.put_back_foreign(foreign)
            raise
        for queue in {message.queue for message in found}:
            self._missed.message_came(queue)
        return foreign + found

    def _claim_with(
        self, messages: Sequence[DeliveredMessage], queues: Sequence[str], limit: int, worker: str, lease_seconds: float
    ) -> list[Delivery]:
        """Claim as many jobs as there are messages. The store chooses, among all the queues, as a worker wants it.

        So a job may be claimed whose own message is on its way; that one will find nothing. The message of another queue goes
        back for the job that it was sent for.
        """
        unused: dict[str, list[DeliveredMessage]] = {}
        for message in reversed(messages):
            if message.is_ours:
                unused.setdefault(message.queue, []).append(message)
        owed = Counter[str]()
        number = min(limit, len(messages))
        try:
            owed = self._take_in([message for message in messages if not message.is_ours])
            found = self._store.claim(queues, number, worker, lease_seconds)
        except BaseException:
            self._transport.receiver.give_back([message for of_queue in unused.values() for message in of_queue])
            self._missed.note_missing(owed)
            raise
        for delivery in found:
            if unused.get(delivery.queue):
                self._held[delivery.token] = unused[delivery.queue].pop()
            else:
                owed[delivery.queue] -= 1  # its message was answered, or is on its way
        left = [message for of_queue in unused.values() for message in reversed(of_queue)]
        if left:
            self._put_aside(left, may_be_wanted=len(found) == number)
        self._work.publish_after(+owed)
        return found

    def _take_in(self, messages: Sequence[DeliveredMessage]) -> Counter[str]:
        """Store what other programs have sent, and answer their messages; return how many jobs that is, by queue.

        At once, and not when the job has ended as for our own: most of them have no id, so one that is delivered again would
        be a second job. For those that are not claimed now, messages of ours are to be sent.
        """
        if not messages:
            return Counter()
        receiver = self._transport.receiver
        try:
            self._store.submit([to_job(message.queue, message.body, message.properties) for message in messages])
        except BaseException:  # not to the server, which would deliver them again at once, and drop them after so many times
            receiver.buffer.put_back_foreign([message for message in messages if message.is_here])
            raise
        receiver.ack(messages)
        return Counter(message.queue for message in messages)

    def _put_aside(self, messages: Sequence[DeliveredMessage], *, may_be_wanted: bool) -> None:
        """Do something about messages for which there was no job.

        Args:
            may_be_wanted: Whether that is only because the claim got all that it could have from other queues.
        """
        receiver = self._transport.receiver
        waiting = Counter[str]()
        if not may_be_wanted:
            try:
                waiting.update(count_ready(self._store))  # of queues that are paused, or at a limit
            except BrokerError:  # the claim stands, whatever becomes of the messages
                may_be_wanted = True
        kept: list[DeliveredMessage] = []
        done: list[DeliveredMessage] = []
        for message in messages:
            wanted = may_be_wanted or waiting[message.queue] > 0
            waiting[message.queue] -= 1
            (kept if wanted else done).append(message)
        receiver.ack(done)
        here = [message for message in kept if receiver.feeds(message.queue)]
        receiver.buffer.put_back(here, park=not may_be_wanted)
        if len(here) < len(kept):
            self._work.give_back([message for message in kept if not receiver.feeds(message.queue)])


def count_ready(store: Broker) -> dict[str, int]:
    """Count the ready jobs of each queue."""
    return {record.name: record.counts.get(JobState.READY, 0) for record in admin_of(store).list_queues()}
