"""The broker on RabbitMQ without a store: the message is the job.

A submission is one persistent message, confirmed by the server; it is acknowledged when the job's outcome was published to
whoever may wait for it. So RabbitMQ has the jobs, and each process knows only of those that it has submitted or holds (its
`known_jobs`). What follows:

- **At least once.** A worker that dies, or whose link breaks, leaves its messages to others. Nobody can tell whether the
  handler had come to its end, so it may run twice.
- **Outcomes go to the process that submitted**, over its *reply queue*, and nowhere else. Nothing can be listed or looked up
  from outside.
- **Whoever awaits a job owns it**: its workers look whether somebody still reads the reply queue.
- **A cancel is said to everybody**, and remembered for an hour by those who hear it.

At the server, with the prefix `nursery-tasks` unless the URL says otherwise:

    nursery-tasks, nursery-tasks.<queue>    as with a store; the messages have the type `nursery-tasks.parcel`
    nursery-tasks.dead.<queue>              what has failed for good, with the reason in its headers
    nursery-tasks.delay.<k>, .due           delays and retries, see `delay_levels`
    nursery-tasks.control, .box.<random>    control messages and reply queues, see `control_messages`
    nursery-tasks.crashes.<hash>            starts of jobs that have come back, see `crash_markers`
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Final

from ....errors import BrokerError, NotSupported
from ....model.delivery import (
    CancelAnswer,
    Delivery,
    Hint,
    Progressed,
    Receipt,
    Renewal,
    Settlement,
    Stored,
    Submission,
    Swept,
    Topic,
    owning_job,
)
from ....model.reasons import OWNER_ENDED
from ...protocol import Broker, Emit, Feature, Listener, refusal
from ..address import Address
from ..queues import AmqpPostbox, AmqpQueues, AmqpReplies
from ..serving import AmqpFacts, AmqpPrefetch
from .cancel_log import CancelLog
from .cancelling import Cancelling
from .carry_over import leave, put_back, take_over
from .claiming import Claiming
from .conversation import Conversation
from .envelopes import to_envelope
from .in_flight import InFlightJobs
from .known_jobs import KnownJobs
from .peers import Peers
from .plans import Plans
from .settling import Settling
from .topology import StorelessAddress, to_storeless
from .transport import StorelessTransport, now

STEP: Final = "give it a store: App(..., store='redis://...') or store='sqlite:///...'"

_log = logging.getLogger("nursery_tasks.brokers.amqp")


class StorelessBroker(Broker):
    """A broker whose jobs are messages of RabbitMQ.

    Args:
        address: Where the server is; `read_address` reads it from a URL.

    Raises:
        BrokerUnreachable: The server cannot be used; the text says why and what to do.

    Resources:
        `close` gives back the connections, the reply queue at the server, and the thread of the event loop on which the driver
        lives. While a detached job may still end, the reply queue stays for some minutes, and the next broker of this address
        in this process goes on with it.
    """

    blocking = True
    features: frozenset[Feature] = frozenset({Feature.DELAYS})
    step = STEP

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._address = to_storeless(address)
        self._said_progress = False
        kept = take_over(self._address)
        if kept is None:
            self._jobs, self._cancel_log = KnownJobs(clock=now, name=address.name), CancelLog()
        else:
            self._jobs, self._cancel_log = kept.jobs, kept.cancels
            self._jobs.reopen()
        try:
            self._open(self._address, None if kept is None else kept.reply_queue)
        except BaseException:
            if kept is not None:
                put_back(self._address, kept)
            raise

    def _open(self, address: StorelessAddress, reply_queue: str | None) -> None:
        jobs, log = self._jobs, self._cancel_log
        self._transport = transport = StorelessTransport(address, self._on_arrival, self._on_back)
        self._peers = Peers()
        self._in_flight = InFlightJobs(jobs, transport.receiver)
        self._cancelling = Cancelling(transport, jobs, self._in_flight, log, self._peers)
        self._conversation = Conversation(transport, jobs, log, self._peers, self._cancelling)
        self._plans = Plans(transport)
        self._settling = Settling(jobs, self._in_flight, self._plans, self._cancelling)
        self._claiming = Claiming(transport, jobs, self._in_flight, self._plans, self._settling, log)
        self.queues = AmqpQueues(self.name, transport)
        self.postbox = AmqpPostbox(transport)
        self.replies = AmqpReplies(transport)
        self.prefetch = AmqpPrefetch(transport, self._give_back_early)
        self.facts = AmqpFacts(transport, lambda: {"store": "none: a job is its message"})
        transport.join(
            on_message=self._conversation.on_message,
            on_open=self._conversation.on_open,
            on_lost=self._in_flight.drop_lost,
            awaited_by=lambda: self._in_flight.awaited_by() - {transport.reply_queue},
            on_owner_gone=self._cancelling.on_owner_gone,
            reply_queue=reply_queue,
        )

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        self._transport.check_usable()
        problems = [self._problem(job) for job in jobs]
        good = [job for job, problem in zip(jobs, problems, strict=True) if problem is None]
        done = iter(self._submit(good) if good else ())
        answers = [next(done) if problem is None else problem for problem in problems]
        if any(isinstance(answer, BrokerError) for answer in answers):
            raise refusal(answers)
        return [answer for answer in answers if isinstance(answer, Receipt)]

    def _submit(self, jobs: Sequence[Submission]) -> list[Receipt | BrokerError]:
        self._transport.check_open()
        receipts, new = self._jobs.enter(jobs)
        own = self._transport.reply_queue
        mail = [(to_envelope(job, created_at), own if job.owner or job.keep_seconds else None) for job, created_at in new]
        try:
            refused = self._plans.send_jobs([(each, to, max(0.0, each.due_at - now())) for each, to in mail])
        except BaseException:
            self._jobs.forget(job.id for job, _ in new)
            raise
        gone = {job.id: refused[job.queue] for job, _ in new if job.queue in refused}
        self._jobs.forget(gone)
        return [gone.get(receipt.id, receipt) for receipt in receipts]

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        self._transport.check_usable()
        if limit <= 0 or not queues:
            return []
        self._conversation.begin_work()
        return self._claiming.claim(queues, limit, worker)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        self._transport.check_usable()
        if not self._said_progress and any(isinstance(item, Progressed) for item in settlements):
            self._said_progress = True
            _log.warning("%s keeps no progress, so nobody can see it; %s", self.name, STEP)
        return self._settling.settle(settlements)

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        self._transport.check_usable()
        self._in_flight.drop_lost()
        return self._jobs.renew(deliveries)

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        self._transport.check_usable()
        return self._cancelling.cancel(ids, reason, owner)

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        self._transport.check_usable()
        return self._cancelling.renew_owners(owners, lease_seconds)

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        self._transport.check_usable()
        return self._jobs.outcomes(ids)

    def sweep(self, limit: int) -> Swept:
        self._transport.check_usable()
        orphaned = 0
        if tokens := self._jobs.orphans():
            self._cancelling.ask(self._jobs.away_of(tokens), OWNER_ENDED)
            orphaned = self._jobs.cancel_orphans(tokens)
        if in_vain := self._in_flight.take_marked_in_vain():
            try:
                self._transport.take_markers(in_vain)
            except BaseException:  # the next sweep tries again
                self._in_flight.put_back_marked_in_vain(in_vain)
                raise
        return Swept(orphaned=orphaned)

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        self._transport.check_usable()
        return self._jobs.listen(topics, emit)

    def close(self) -> None:
        if self._transport.closed:
            return
        self._transport.keeps_reply_queue = self._jobs.waits
        self._jobs.close()
        self._transport.close()
        if not self._transport.forked and self._jobs.leave():
            reply_queue = self._transport.reply_queue if self._transport.keeps_reply_queue else None
            leave(self._address, self._jobs, self._cancel_log, reply_queue)

    def _problem(self, job: Submission) -> NotSupported | None:
        """Say what a job needs that only a store can keep."""
        missing: str | None = None
        if job.key is not None:
            missing = Feature.KEYS
        elif job.limits:
            missing = "limits of jobs"
        elif job.once:
            missing = Feature.ONCE
        elif job.ended is not None or owning_job(job.owner) is not None:
            missing = Feature.WORKFLOWS
        return None if missing is None else NotSupported(self.name, missing, STEP)

    def _give_back_early(self, queues: Sequence[str]) -> None:
        if early := self._in_flight.early.take_all(queues):
            self._plans.give_back(early)

    def _on_arrival(self, queue: str) -> None:
        self._jobs.tell(Hint("work", (queue,)))

    def _on_back(self) -> None:
        self._jobs.tell(Hint("work"))
