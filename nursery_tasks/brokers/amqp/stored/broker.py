"""The broker: RabbitMQ says who works and when, a store says on what.

A job is stored in a *store*, which is a whole broker of its own (SQLite or Redis), and then one message is published to
RabbitMQ that means "a job is ready in this queue". Whoever gets the message may claim one job of that queue from the store;
which one is the store's choice, so priorities, order, keys, cancels, owners and leases are the store's and hold as they do
there. The message is acknowledged when the job's outcome is stored. So:

- **Nothing is lost between the two.** Stored and not published (a crash, a link that broke): the store still has the job. A
  worker that finds a queue empty at the server, twice in a row and a moment apart, claims from the store without a message.
- **Nothing runs twice because of a message too many.** One that finds no job ready is acknowledged, and that is all. After a
  broken link the server delivers everything again that was not acknowledged; the jobs are still leased, so nobody gets them.
- **A message that comes back is no crash.** Only the store counts who has started what, so a job that was merely prefetched is
  never blamed, and a broken link costs no attempt.
- **What becomes ready later** (a retry, a due time, a lease that ran out) is published by whoever made the store notice it.

At the server, with the prefix `nursery-tasks` unless the URL says otherwise:

    nursery-tasks           direct exchange, durable; the routing key is the queue's name among the jobs
    nursery-tasks.<queue>   quorum queue, durable; messages with an empty body of type `nursery-tasks.job`

Messages of any other type were sent by other programs, see `foreign`. They become jobs in the store when they are delivered,
and are acknowledged then. A crash between the two makes a second job of one that has no `message_id`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import cast

import msgspec

from ....errors import BrokerError, QueueFull
from ....model.delivery import (
    CancelAnswer,
    Delivery,
    Finished,
    Hint,
    LeaseState,
    Receipt,
    Released,
    Renewal,
    Retried,
    Settlement,
    Started,
    Stored,
    Submission,
    Swept,
    Topic,
)
from ...common.subscription import Audience
from ...protocol import Broker, Emit, Listener
from ..address import Address
from ..deliveries import DeliveredMessage
from ..foreign import to_answer
from ..queues import AmqpPostbox, AmqpQueues, AmqpReplies
from ..serving import AmqpFacts, AmqpPrefetch
from ..transport import Transport
from .admin import StoredAdmin
from .claiming import Claiming, count_ready
from .event_log import StoredEventLog
from .missed_messages import MissedMessageCheck
from .queues import StoredQueues
from .schedules import StoredSchedules
from .work_messages import WorkMessages


class StoredBroker(Broker):
    """A broker that moves jobs through RabbitMQ and keeps them in a store.

    Args:
        address: Where the server is; `read_address` reads it from a URL.
        store: Keeps the jobs; closed with this broker, also when this broker cannot be opened.

    Raises:
        BrokerUnreachable: The server cannot be used; the text says why and what to do.

    Resources:
        `close` gives back the connections, the thread of the event loop on which the driver lives, and the store.
    """

    blocking = True

    def __init__(self, address: Address, store: Broker) -> None:
        self.name = address.name
        self.features = store.features
        self.place = store.place
        self._store = store
        self._audience = Audience()
        self._held: dict[bytes, DeliveredMessage] = {}  # token -> the message that let us claim
        self._missed = MissedMessageCheck()
        try:
            self._transport = transport = Transport(address, self._on_arrival, self._on_back)
        except BaseException:
            store.close()
            raise
        self._work = WorkMessages(transport, self._missed)
        self._claiming = Claiming(store, transport, self._work, self._missed, self._held)
        self.limits, self.locks = store.limits, store.locks
        self.parking, self.pauses = store.parking, store.pauses
        self.outbox, self.states = store.outbox, store.states
        self.ends = store.ends
        if store.event_log is not None:
            self.event_log = StoredEventLog(store.event_log, transport)
        self.queues = AmqpQueues(self.name, transport)
        if store.admin is not None:
            self.admin = StoredAdmin(store.admin, transport, self._work.publish)
            self.queues = StoredQueues(self.name, transport, self.admin)
        if store.schedules is not None:
            self.schedules = StoredSchedules(store.schedules, transport, self._work)
        self.postbox = AmqpPostbox(transport)
        self.replies = AmqpReplies(transport)
        self.prefetch = AmqpPrefetch(transport)
        self.facts = AmqpFacts(transport, lambda: _facts_of(store))

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        self._transport.check_usable()
        if not jobs:
            return []
        self._transport.check_open()  # or else: what cannot be published need not be stored
        return self._work.publish_new(jobs, self._store_each(jobs))

    def _store_each(self, jobs: Sequence[Submission]) -> Sequence[Receipt | QueueFull]:
        """Store jobs; those that find no room in their queue are answered with the error."""
        try:
            return self._store.submit(jobs)
        except QueueFull as full:
            return [full] if full.answers is None else cast("Sequence[Receipt | QueueFull]", full.answers)

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        self._transport.check_usable()
        if limit <= 0 or not queues:
            return []
        return self._claiming.claim(queues, limit, worker, lease_seconds, names)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        self._transport.check_usable()
        if any(type(item) is Finished and item.reply is not None for item in settlements):
            settlements = self._answer(settlements)
        answers = self._store.settle(settlements)
        done: list[DeliveredMessage] = []
        back: list[DeliveredMessage] = []
        owed: Counter[str] = Counter()
        for settlement, stored in zip(settlements, answers, strict=True):
            if not isinstance(settlement, Finished | Retried | Released):
                continue
            message = self._held.pop(settlement.delivery.token, None)
            if not stored or isinstance(settlement, Finished) or settlement.delay_seconds > 0:
                if message is not None:
                    done.append(message)
            elif message is not None and message.is_here:
                back.append(message)
            else:
                owed[settlement.delivery.queue] += 1
        self._transport.receiver.ack(done)
        if back:
            self._work.give_back(back)
        self._work.publish_after(owed)
        return answers

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        self._transport.check_usable()
        answers = self._store.renew(deliveries, lease_seconds)
        lost = [each.token for each, answer in zip(deliveries, answers, strict=True) if answer.state is LeaseState.LOST]
        if lost:  # nobody will settle those
            self._transport.receiver.ack([message for token in lost if (message := self._held.pop(token, None)) is not None])
        return answers

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        self._transport.check_usable()
        return self._store.cancel(ids, reason, owner)

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        self._transport.check_usable()
        return self._store.renew_owners(owners, lease_seconds)

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        self._transport.check_usable()
        return self._store.outcomes(ids)

    def sweep(self, limit: int) -> Swept:
        self._transport.check_usable()
        swept = self._store.sweep(limit)
        ready = swept.due + swept.returned
        if ready:  # it does not say where; a message too many does no harm
            with suppress(BrokerError):  # what was swept stands; the missed-message check finds it
                waiting = count_ready(self._store)
                self._work.publish_after(Counter({queue: min(ready, number) for queue, number in waiting.items()}))
        return swept

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        self._transport.check_usable()
        return _Both(self._store, self._audience, topics, emit)

    def close(self) -> None:
        self._audience.close()
        self._transport.close()
        self._store.close()

    def _answer(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Send the answers to other programs, and return what is to be stored after that.

        Before the outcome is stored: an answer may come twice when a worker dies between the two, and is never lost. First the
        store is asked, by a mark that changes nothing for a job that runs, whose deliveries these still are.
        """
        ends: dict[bytes, Finished] = {}
        for item in settlements:
            if isinstance(item, Finished) and item.reply is not None:
                ends.setdefault(item.delivery.token, item)
        alive = self._store.settle([Started(item.delivery) for item in ends.values()])
        messages = [to_answer(item.reply) for item, ours in zip(ends.values(), alive, strict=True) if ours and item.reply]
        if messages:
            self._transport.answer(messages)
        return [msgspec.structs.replace(item, reply=None) if isinstance(item, Finished) else item for item in settlements]

    def _on_arrival(self, queue: str) -> None:
        self._audience.tell([Hint("work", (queue,))])

    def _on_back(self) -> None:
        self._audience.tell([Hint("work")])


def _facts_of(store: Broker) -> dict[str, str]:
    more = {} if store.facts is None else store.facts.describe()
    return {"store": store.name, **{f"store: {name}": value for name, value in more.items()}}


class _Both:
    """One who hears what the store tells, and of messages that were pushed here."""

    def __init__(self, store: Broker, audience: Audience, topics: Sequence[Topic], emit: Emit) -> None:
        self._own = audience.join(topics, emit)
        self._of_store = store.listen(topics, self._own.tell)

    def close(self) -> None:
        self._own.close()
        self._of_store.close()
