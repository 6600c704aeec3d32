"""The broker on RabbitMQ without a store: the message is the job.

A submission is one persistent message, confirmed by the server; it is acknowledged when the job's outcome was published to
whoever may wait for it. So RabbitMQ has the jobs, and each process knows only of those that it has submitted or holds (its
`ledger`). What follows:

- **At least once.** A worker that dies, or whose link breaks, leaves its messages to others. Nobody can tell whether the
  handler had come to its end, so it may run twice.
- **Outcomes go to the process that submitted**, over its *box*, and nowhere else. Nothing can be listed or looked up from
  outside.
- **Whoever awaits a job owns it**: its workers look whether somebody still reads the box.
- **A cancel is said to everybody**, and remembered for an hour by those who hear it.

At the server, with the prefix `nursery-tasks` unless the URL says otherwise:

    nursery-tasks, nursery-tasks.<queue>    as with a store; the messages have the type `nursery-tasks.parcel`
    nursery-tasks.dead.<queue>              what has failed for good, with the reason in its headers
    nursery-tasks.delay.<k>, .due           delays and retries, see `ladder`
    nursery-tasks.control, .box.<random>    what processes say to each other, see `words`
    nursery-tasks.crashes.<hash>            starts of jobs that have come back, see `suspects`
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from ....errors import NotSupported
from ....model.delivery import (
    Delivery,
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
from ...protocol import Emit, Feature, Listener
from ..address import Address
from ..queues import AmqpQueues
from .core import STEP
from .parcels import to_parcel
from .places import to_bare
from .taking import Taking
from .transport import BareTransport, now

_log = logging.getLogger("nursery_tasks.brokers.amqp")


class BareBroker(Taking, AmqpQueues):
    """A broker whose jobs are messages of RabbitMQ.

    Args:
        address: Where the server is; `read_address` reads it from a URL.

    Raises:
        BrokerUnreachable: The server cannot be used; the text says why and what to do.

    Resources:
        `close` gives back the connections, the box at the server, and the thread of the event loop on which the driver lives.
    """

    blocking = True
    features: frozenset[Feature] = frozenset({Feature.DELAYS, Feature.REPLIES})
    step = STEP

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._said_progress = False
        super().__init__(to_bare(address))

    @property
    def transport(self) -> BareTransport:
        return self._transport

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        self._transport.check_usable()
        for job in jobs:
            self._check(job)
        if not jobs:
            return []
        self._transport.check_open()
        receipts, mail = self._ledger.enter(jobs)
        box = self._transport.box
        parcels = [(to_parcel(job, created_at), box if job.owner or job.keep_seconds else None) for job, created_at in mail]
        try:
            self._send_parcels([(parcel, to, max(0.0, parcel.due_at - now())) for parcel, to in parcels])
        except BaseException:
            self._ledger.forget(job.id for job, _ in mail)
            raise
        return receipts

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        if not self._said_progress and any(isinstance(item, Progressed) for item in settlements):
            self._said_progress = True
            _log.warning("%s keeps no progress, so nobody can see it; %s", self.name, STEP)
        return super().settle(settlements)

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        self._transport.check_usable()
        self.drop_lost()
        return self._ledger.renew(deliveries, math.inf)  # for as long as the link on which they came is up

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        self._transport.check_usable()
        return self._ledger.outcomes(ids)

    def sweep(self, limit: int) -> Swept:
        self._transport.check_usable()
        orphaned = 0
        if tokens := self._ledger.orphans():
            self._ask(self._ledger.away_of(tokens), OWNER_ENDED)
            orphaned = self._ledger.cancel_orphans(tokens)
        with self._lock:
            lost, self._unmark = self._unmark, []
        if lost:
            try:
                self._transport.take_marks(lost)
            except BaseException:  # the next sweep tries again
                with self._lock:
                    self._unmark += lost
                raise
        return Swept(orphaned=orphaned)

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        self._transport.check_usable()
        return self._ledger.listen(topics, emit)

    def feed(self, queues: Sequence[str], slots: int) -> Listener:
        """Have the messages of these queues pushed here ahead of the claims. See `Pushes`."""
        served = tuple(dict.fromkeys(queues))
        self._transport.feed(served, slots)
        return _Feed(self, served)

    def leave(self, queues: Sequence[str]) -> None:
        """End what `feed` began."""
        self._transport.unfeed(queues)

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        return self._transport.take_answers(name, limit)

    def describe(self) -> dict[str, str]:
        server = self._transport.server
        return {
            str(server.get("product", "AMQP server")): str(server.get("version", "?")),
            "cluster": str(server.get("cluster_name", "?")),
            "prefix": self._places.prefix,
            "store": "none: a job is its message",
        }

    def close(self) -> None:
        self._ledger.close()
        self._transport.close()

    def _check(self, job: Submission) -> None:
        """Refuse what only a store can keep.

        Raises:
            NotSupported: The job needs that.
        """
        missing = None
        if job.key is not None:
            missing = Feature.KEYS
        elif job.limits:
            missing = Feature.LIMITS
        elif job.ended is not None or owning_job(job.owner) is not None:
            missing = Feature.WORKFLOWS
        if missing is not None:
            raise NotSupported(self.name, missing, STEP)


class _Feed:
    """The queues of one worker."""

    def __init__(self, broker: BareBroker, queues: Sequence[str]) -> None:
        self._broker, self._queues = broker, queues
        self._closed = False

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._broker.leave(self._queues)
