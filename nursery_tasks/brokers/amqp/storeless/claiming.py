"""Claims: from messages to deliveries, past all that makes a message no job any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

import msgspec

from ....errors import BrokerError, BrokerUnavailable
from ....model.delivery import Delivery, Finished
from ....model.reasons import OWNER_GONE, pack_cancelled, pack_dead, pack_expired
from ....model.states import JobState
from ..deliveries import DeliveredMessage
from .cancel_log import CancelLog
from .crash_markers import times_delivered
from .envelopes import Envelope, Unreadable, is_envelope, open_envelope, reply_queue_of
from .in_flight import InFlightJob, InFlightJobs
from .known_jobs import KnownJobs
from .plans import Plan, Plans
from .settling import Settling
from .transport import StorelessTransport, now

# Deliveries of which nobody knows what became: then a start is written down before the handler runs, and not a moment after it,
# which costs a quick job as much as ten. One may come from a worker that has stopped, or had fetched more than it could run.
SUSPICIOUS: Final = 2


@dataclass(slots=True)
class Sorted:
    """What the messages of one claim are: to be held now, with their ids, or when what has their id is over."""

    wanted: list[tuple[DeliveredMessage, Envelope]] = field(default_factory=list[tuple[DeliveredMessage, Envelope]])
    ids: set[str] = field(default_factory=set[str])
    early: list[tuple[str, DeliveredMessage]] = field(default_factory=list[tuple[str, DeliveredMessage]])
    plan: Plan = field(default_factory=Plan)


class Claiming:
    """The claims."""

    def __init__(
        self,
        transport: StorelessTransport,
        jobs: KnownJobs,
        in_flight: InFlightJobs,
        plans: Plans,
        settling: Settling,
        cancels: CancelLog,
    ) -> None:
        self._transport, self._jobs, self._in_flight = transport, jobs, in_flight
        self._plans, self._settling, self._cancels = plans, settling, cancels

    def claim(self, queues: Sequence[str], limit: int, worker: str) -> list[Delivery]:
        """Hold up to *limit* jobs whose messages are here, or at the server. See `Broker.claim`."""
        self._in_flight.drop_lost()
        self._transport.check_open()
        early = self._in_flight.early
        messages = early.take(queues, limit, self._jobs.is_held)
        messages += self._transport.collect(queues, limit - len(messages), limit + len(self._in_flight) + len(early))
        if not messages:
            return []
        try:
            return self._take(messages, worker)
        except BaseException:
            held = {id(job.message) for job in self._in_flight.all()}
            self._transport.receiver.give_back([message for message in messages if id(message) not in held])
            raise

    def _take(self, messages: Sequence[DeliveredMessage], worker: str) -> list[Delivery]:
        found = Sorted()
        for message in messages:
            self._sort(message, found)
        self._drop_orphans(found)
        crashes = self._count_crashes(found.wanted)
        for message, envelope in found.wanted:
            number = crashes.get(envelope.id, 0)
            if number and envelope.crashes + number >= envelope.max_crashes:
                self._drop_dead(message, envelope, number, found.plan)
        self._keep_back(found.plan, self._plans.send(found.plan))
        with suppress(BrokerUnavailable):
            self._plans.answer_server(found.plan)
        dropped = {id(message) for message in found.plan.acks} | {id(job.message) for job in found.plan.done}
        deliveries: list[Delivery] = []
        for message, envelope in found.wanted:
            if id(message) not in dropped:
                deliveries.append(self._hold(message, envelope, crashes.get(envelope.id, 0), worker))
        deliveries = self._without_cancelled(deliveries)
        self._in_flight.early.add(found.early)  # last: where any of this fails, all that is not held goes back
        return deliveries

    def _keep_back(self, plan: Plan, refused: Mapping[str, BrokerError]) -> None:
        """Give messages back of which no copy could be made."""
        backs = [message for message, envelope, _ in plan.copies if envelope.queue in refused]
        if backs:
            gone = {id(message) for message in backs}
            plan.acks = [message for message in plan.acks if id(message) not in gone]
            self._plans.give_back(backs)

    def _sort(self, message: DeliveredMessage, found: Sorted) -> None:
        plan = found.plan
        try:
            envelope = open_envelope(message, now())
        except Unreadable as error:
            self._plans.put_aside(plan, message, token_hex(8), "unreadable", reason=str(error))
            plan.acks.append(message)
            return
        if self._jobs.is_done(envelope):
            plan.acks.append(message)
        elif envelope.id in found.ids or self._jobs.is_held(envelope.id):
            found.early.append((envelope.id, message))
        elif envelope.later > 0:
            _plan_again(plan, message, envelope, envelope.later)
        elif self._is_worn(message):
            lapses = envelope.lapses + self._transport.redeliveries.suspicion(message)
            _plan_again(plan, message, msgspec.structs.replace(envelope, lapses=lapses), 0.0)
        elif envelope.expires_at is not None and now() >= envelope.expires_at and not envelope.attempts + envelope.crashes:
            self._drop(message, envelope, JobState.EXPIRED, pack_expired(now()), plan)
        else:
            found.wanted.append((message, envelope))
            found.ids.add(envelope.id)

    def _is_worn(self, message: DeliveredMessage) -> bool:
        """Whether a message was delivered so often that a copy is to go on in its place."""
        most = self._transport.layout.fresh_after(message.queue) if is_envelope(message) else 1
        return times_delivered(message) >= most

    def _drop(
        self, message: DeliveredMessage, envelope: Envelope, state: JobState, outcome: bytes, plan: Plan, crashes: int = 0
    ) -> None:
        """End a job instead of starting it."""
        self._jobs.end_dropped(envelope, state, outcome, ours=self._is_ours(message))
        self._plans.end(plan, InFlightJob(message, envelope, crashes), state, outcome)

    def _drop_dead(self, message: DeliveredMessage, envelope: Envelope, crashes: int, plan: Plan) -> None:
        attempts = envelope.attempts + crashes
        outcome = pack_dead(envelope.crashes + crashes, attempts, None, now(), None)
        self._drop(message, envelope, JobState.DEAD, outcome, plan, crashes)

    def _drop_orphans(self, found: Sorted) -> None:
        """End the jobs that somebody awaited who is not there any more."""
        awaited = {reply_queue_of(message) for message, envelope in found.wanted if envelope.owned}
        gone = self._transport.gone({queue for queue in awaited if queue is not None} - {self._transport.reply_queue})
        if gone:
            for message, envelope in found.wanted:
                if envelope.owned and reply_queue_of(message) in gone:
                    outcome = pack_cancelled(OWNER_GONE, 0, None, now())
                    self._drop(message, envelope, JobState.CANCELLED, outcome, found.plan)

    def _count_crashes(self, wanted: Sequence[tuple[DeliveredMessage, Envelope]]) -> dict[str, int]:
        """Look up the crash markers of those that come back."""
        suspicion = self._transport.redeliveries.suspicion
        ids = [envelope.id for message, envelope in wanted if envelope.lapses or suspicion(message)]
        return dict(zip(ids, self._transport.count_crashes(ids), strict=True)) if ids else {}

    def _hold(self, message: DeliveredMessage, envelope: Envelope, crashes: int, worker: str) -> Delivery:
        suspicion = self._transport.redeliveries.suspicion(message)
        lapses = envelope.lapses + (suspicion if suspicion >= SUSPICIOUS else 0)
        if crashes or envelope.max_crashes == 1:  # that one shall not start twice
            lapses = max(1, lapses)
        delivery = self._jobs.take(envelope, envelope.crashes + crashes, lapses, worker, ours=self._is_ours(message))
        self._in_flight.add(delivery.token, InFlightJob(message, envelope, crashes, suspect=lapses + suspicion > 0))
        return delivery

    def _without_cancelled(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """End those that somebody has cancelled while they were in a message.

        Only now that they are held: whoever is asked about them in this moment says so.
        """
        ends: list[Finished] = []
        left: list[Delivery] = []
        for delivery in deliveries:
            held = self._in_flight.get(delivery.token)
            cancel = self._cancels.find(delivery.id, held.envelope.created_at) if held is not None else None
            if cancel is None:
                left.append(delivery)
            else:
                outcome = pack_cancelled(cancel[0], delivery.attempt - 1, None, now())
                ends.append(Finished(delivery, JobState.CANCELLED, outcome))
        if ends:
            self._settling.settle(ends)
        return left

    def _is_ours(self, message: DeliveredMessage) -> bool:
        return reply_queue_of(message) == self._transport.reply_queue


def _plan_again(plan: Plan, message: DeliveredMessage, envelope: Envelope, seconds: float) -> None:
    """Plan a copy of a message that goes on in its place."""
    plan.copies.append((message, envelope, seconds))
    plan.acks.append(message)
