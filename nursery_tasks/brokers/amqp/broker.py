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
from collections.abc import Iterable, Sequence
from contextlib import suppress
from secrets import token_hex
from threading import Lock

import msgspec

from ...errors import BrokerError, BrokerUnavailable
from ...model.delivery import (
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
from ...model.states import JobState
from ..protocol import Broker, Emit, Feature, Listener
from ..subscription import Subscription
from .address import Address, Place
from .admin import AmqpAdmin
from .foreign import to_job, to_letter
from .net import Net
from .permits import JOB, Permit
from .sending import Letter
from .transport import Transport


class AmqpBroker(AmqpAdmin):
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
        self.features = store.features | {Feature.REPLIES}
        self._members: tuple[Subscription, ...] = ()  # replaced, never changed: hints are told without the lock
        self._lock = Lock()
        self._held: dict[bytes, Permit] = {}  # token -> the message that let us claim
        self._net = Net()
        try:
            transport = Transport(address, self._on_arrival, self._on_back)
        except BaseException:
            store.close()
            raise
        super().__init__(store, transport)

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        self._transport.check_usable()
        if not jobs:
            return []
        self._transport.check_open()  # or else: what cannot be published need not be stored
        receipts = self._store.submit(jobs)
        # Repetitions, too: it may be because the first call got no further than the store that there is a second one.
        self._call_for(Counter(job.queue for job in jobs if _may_be_ready(job)))
        return receipts

    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        self._transport.check_usable()
        if limit <= 0 or not queues:
            return []
        permits = self._permits(queues, limit)
        if permits:
            return self._claim_with(permits, queues, limit, worker, lease_seconds)
        for queue in queues:
            if self._net.is_torn(queue, lambda queue=queue: self._transport.depth(self._place(queue))):  # type: ignore[misc]
                found = self._store.claim([queue], limit, worker, lease_seconds)
                self._net.used(queue, len(found) == limit)
                if found:
                    return found
        return []

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        self._transport.check_usable()
        if any(type(item) is Finished and item.reply is not None for item in settlements):
            settlements = self._answer(settlements)
        answers = self._store.settle(settlements)
        done: list[Permit] = []
        back: list[Permit] = []
        owed: Counter[str] = Counter()
        for settlement, stored in zip(settlements, answers, strict=True):
            if not isinstance(settlement, Finished | Retried | Released):
                continue
            permit = self._held.pop(settlement.delivery.token, None)
            if not stored or isinstance(settlement, Finished) or settlement.delay_seconds > 0:
                if permit is not None:
                    done.append(permit)
            elif permit is not None and permit.generation == self._transport.receiver.line.generation:
                back.append(permit)
            else:
                owed[settlement.delivery.queue] += 1
        self._transport.receiver.ack(done)
        if back:
            self._return(back)
        self._call_later(owed)
        return answers

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        self._transport.check_usable()
        answers = self._store.renew(deliveries, lease_seconds)
        lost = [each.token for each, answer in zip(deliveries, answers, strict=True) if answer.state is LeaseState.LOST]
        if lost:  # nobody will settle those
            self._transport.receiver.ack([permit for token in lost if (permit := self._held.pop(token, None)) is not None])
        return answers

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        self._transport.check_usable()
        return self._store.cancel(ids, reason, owner)

    def hold(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        self._transport.check_usable()
        return self._store.hold(owners, lease_seconds)

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        self._transport.check_usable()
        return self._store.outcomes(ids)

    def sweep(self, limit: int) -> Swept:
        self._transport.check_usable()
        swept = self._store.sweep(limit)
        ready = swept.due + swept.returned
        if ready:  # it does not say where; a message too many does no harm
            with suppress(BrokerError):  # what was swept stands; the net finds it
                self._call_later(Counter({queue: min(ready, waiting) for queue, waiting in self._waiting().items()}))
        return swept

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        self._transport.check_usable()
        return _Both(self, topics, emit)

    def feed(self, queues: Sequence[str], slots: int) -> Listener:
        """Have the messages of these queues pushed here ahead of the claims. See `Pushes`."""
        served = tuple(dict.fromkeys(queues))
        self._transport.feed(served, slots)
        return _Feed(self._transport, served)

    def close(self) -> None:
        with self._lock:
            members, self._members = self._members, ()
        for member in members:
            member.close()
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
        letters = [to_letter(item.reply) for item, ours in zip(ends.values(), alive, strict=True) if ours and item.reply]
        if letters:
            self._transport.answer(letters)
        return [msgspec.structs.replace(item, reply=None) if isinstance(item, Finished) else item for item in settlements]

    # --- claims -----------------------------------------------------------------------------------

    def _permits(self, queues: Sequence[str], limit: int) -> list[Permit]:
        """Return up to *limit* messages, those of the first queues first, and whatever other programs have sent."""
        self._transport.check_open()
        shelf = self._transport.receiver.shelf
        foreign = shelf.take_foreign()
        try:
            found = self._transport.collect(queues, limit - len(foreign), limit + len(self._held))
        except BaseException:
            shelf.put_back_foreign(foreign)
            raise
        for queue in {permit.queue for permit in found}:
            self._net.caught(queue)
        return foreign + found

    def _claim_with(
        self, permits: Sequence[Permit], queues: Sequence[str], limit: int, worker: str, lease_seconds: float
    ) -> list[Delivery]:
        """Claim as many jobs as there are messages. The store chooses, among all the queues, as a worker wants it.

        So a job may be claimed whose own message is on its way; that one will find nothing. The message of another queue goes
        back for the job that it was sent for.
        """
        unused: dict[str, list[Permit]] = {}
        for permit in reversed(permits):
            if permit.is_ours:
                unused.setdefault(permit.queue, []).append(permit)
        owed = Counter[str]()
        number = min(limit, len(permits))
        try:
            owed = self._take_in([permit for permit in permits if not permit.is_ours])
            found = self._store.claim(queues, number, worker, lease_seconds)
        except BaseException:
            self._transport.receiver.give_back([permit for of_queue in unused.values() for permit in of_queue])
            self._net.tear(owed)
            raise
        for delivery in found:
            if unused.get(delivery.queue):
                self._held[delivery.token] = unused[delivery.queue].pop()
            else:
                owed[delivery.queue] -= 1  # its message was answered, or is on its way
        left = [permit for of_queue in unused.values() for permit in reversed(of_queue)]
        if left:
            self._put_aside(left, may_be_wanted=len(found) == number)
        self._call_later(+owed)
        return found

    def _take_in(self, permits: Sequence[Permit]) -> Counter[str]:
        """Store what other programs have sent, and answer their messages; return how many jobs that is, by queue.

        At once, and not when the job has ended as for our own: most of them have no id, so one that is delivered again would
        be a second job. For those that are not claimed now, messages of ours are to be sent.
        """
        if not permits:
            return Counter()
        receiver = self._transport.receiver
        try:
            self._store.submit([to_job(permit.queue, permit.body, permit.properties) for permit in permits])
        except BaseException:  # not to the server, which would deliver them again at once, and drop them after so many times
            receiver.shelf.put_back_foreign([permit for permit in permits if permit.generation == receiver.line.generation])
            raise
        receiver.ack(permits)
        return Counter(permit.queue for permit in permits)

    def _put_aside(self, permits: Sequence[Permit], *, may_be_wanted: bool) -> None:
        """Do something about messages for which there was no job.

        Args:
            may_be_wanted: Whether that is only because the claim got all that it could have from other queues.
        """
        receiver = self._transport.receiver
        waiting = Counter[str]()
        if not may_be_wanted:
            try:
                waiting.update(self._waiting())  # of queues that are paused, or at a limit
            except BrokerError:  # the claim stands, whatever becomes of the messages
                may_be_wanted = True
        kept: list[Permit] = []
        done: list[Permit] = []
        for permit in permits:
            wanted = may_be_wanted or waiting[permit.queue] > 0
            waiting[permit.queue] -= 1
            (kept if wanted else done).append(permit)
        receiver.ack(done)
        here = [permit for permit in kept if receiver.feeds(permit.queue)]
        receiver.shelf.put_back(here, park=not may_be_wanted)
        if len(here) < len(kept):
            self._return([permit for permit in kept if not receiver.feeds(permit.queue)])

    def _place(self, queue: str) -> Place:
        return self._transport.address.place(queue)

    def _waiting(self) -> dict[str, int]:
        """Count the ready jobs of each queue."""
        return {record.name: record.counts.get(JobState.READY, 0) for record in self._people().queues()}

    # --- messages ---------------------------------------------------------------------------------

    def _call_for(self, numbers: dict[str, int]) -> None:
        mail: list[tuple[Place, list[Letter]]] = []
        for queue, number in numbers.items():
            place = self._place(queue)
            letters = [Letter(place.exchange, place.key, b"", token_hex(8), {"message_type": JOB}) for _ in range(number)]
            if letters:
                mail.append((place, letters))
        if mail:
            self._transport.send(mail)

    def _call_later(self, numbers: Counter[str]) -> None:
        """Publish for what the store has done already: it stands, whatever becomes of the messages. The net finds the rest."""
        try:
            self._call_for(numbers)
        except BrokerUnavailable:
            self._net.tear(numbers)

    def _return(self, permits: Iterable[Permit]) -> None:
        """Give messages back to the server; on return others can have them."""
        self._transport.receiver.give_back(permits)
        with suppress(BrokerUnavailable):  # then the server has taken them back by itself
            self._transport.settle_answers()

    # --- hints ------------------------------------------------------------------------------------

    def _on_arrival(self, queue: str) -> None:
        self._tell(Hint("work", (queue,)))

    def _on_back(self) -> None:
        self._tell(Hint("work"))

    def _tell(self, hint: Hint) -> None:
        for member in self._members:
            member.tell(hint)

    def join(self, member: Subscription) -> None:
        with self._lock:
            self._members = (*self._members, member)

    def leave(self, gone: Subscription) -> None:
        with self._lock:
            self._members = tuple(member for member in self._members if member is not gone)

    @property
    def store(self) -> Broker:
        """Where the jobs are."""
        return self._store


def _may_be_ready(job: Submission) -> bool:
    return job.ended is None and (job.delay_seconds <= 0 or job.start_at is not None)


class _Both:
    """One who hears what the store tells, and of messages that were pushed here."""

    def __init__(self, broker: AmqpBroker, topics: Sequence[Topic], emit: Emit) -> None:
        self._own = Subscription(broker.leave, topics, emit)
        broker.join(self._own)
        self._of_store = broker.store.listen(topics, self._own.tell)

    def close(self) -> None:
        self._own.close()
        self._of_store.close()


class _Feed:
    """The queues of one worker."""

    def __init__(self, transport: Transport, queues: Sequence[str]) -> None:
        self._transport, self._queues = transport, queues
        self._closed = False

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._transport.unfeed(self._queues)
