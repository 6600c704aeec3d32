"""Claims: from messages to deliveries, past all that makes a message no job any more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

import msgspec

from ....errors import BrokerUnavailable
from ....model.delivery import Delivery, Finished
from ....model.reasons import OWNER_GONE, pack_cancelled, pack_dead, pack_expired
from ....model.states import JobState
from ..permits import Permit
from .core import Holding
from .parcels import Parcel, Unreadable, box_of, is_parcel, open_parcel, times_delivered
from .settling import Plan, Settling
from .transport import now

# Deliveries: then a copy begins anew, before the server loses patience (RabbitMQ 4: after 20). What another program has sent
# becomes a parcel when it comes back, so that it has an id by which its crashes are known.
FRESH_AFTER: Final = 10
# Deliveries of which nobody knows what became: then a start is written down before the handler runs, and not a moment after it,
# which costs a quick job as much as ten. One may come from a worker that has stopped, or had fetched more than it could run.
SUSPICIOUS: Final = 2


@dataclass(slots=True)
class Sorted:
    """What the messages of one claim are: to be held, with what is known of their crashes."""

    wanted: list[tuple[Permit, Parcel]] = field(default_factory=list[tuple[Permit, Parcel]])
    plan: Plan = field(default_factory=Plan)


class Taking(Settling):
    """The claims."""

    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        self._transport.check_usable()
        if limit <= 0 or not queues:
            return []
        self._announce()
        self.drop_lost()
        self._transport.check_open()
        permits = self._transport.collect(queues, limit, limit + len(self._held))
        if not permits:
            return []
        try:
            return self._take(permits, worker)
        except BaseException:
            with self._lock:
                held = {id(holding.permit) for holding in self._held.values()}
            self._transport.receiver.give_back([permit for permit in permits if id(permit) not in held])
            raise

    def _take(self, permits: Sequence[Permit], worker: str) -> list[Delivery]:
        found = Sorted()
        for permit in permits:
            self._sort(permit, found)
        self._drop_orphans(found)
        crashes = self._crashes(found.wanted)
        for permit, parcel in found.wanted:
            if parcel.id in crashes and parcel.crashes + crashes[parcel.id] >= parcel.max_crashes and crashes[parcel.id]:
                self._drop_dead(permit, parcel, crashes[parcel.id], found.plan)
        self._send(found.plan)
        with suppress(BrokerUnavailable):
            self._answer_server(found.plan)
        dropped = {id(permit) for permit in found.plan.acks} | {id(holding.permit) for holding in found.plan.done}
        deliveries: list[Delivery] = []
        for permit, parcel in found.wanted:
            if id(permit) not in dropped:
                deliveries.append(self._hold(permit, parcel, crashes.get(parcel.id, 0), worker))
        return self._without_cancelled(deliveries)

    def _sort(self, permit: Permit, found: Sorted) -> None:
        plan = found.plan
        try:
            parcel = open_parcel(permit, now())
        except Unreadable as error:
            letter = self._to_dead(permit, token_hex(8), "unreadable", reason=str(error))
            plan.dead.setdefault(permit.queue, []).append(letter)
            plan.acks.append(permit)
            return
        if self._ledger.is_done(parcel):
            plan.acks.append(permit)
        elif parcel.later > 0:
            self._plan_again(permit, parcel, parcel.later, plan)
        elif times_delivered(permit) >= (FRESH_AFTER if is_parcel(permit) else 1):
            lapses = parcel.lapses + self._transport.returned.suspicion(permit)
            self._plan_again(permit, msgspec.structs.replace(parcel, lapses=lapses), 0.0, plan)
        elif parcel.expires_at is not None and now() >= parcel.expires_at and not parcel.attempts and not parcel.crashes:
            self._drop(permit, parcel, JobState.EXPIRED, pack_expired(now()), plan)
        else:
            found.wanted.append((permit, parcel))

    def _plan_again(self, permit: Permit, parcel: Parcel, seconds: float, plan: Plan) -> None:
        plan.copies.append((permit, parcel, seconds))
        plan.acks.append(permit)

    def _drop(self, permit: Permit, parcel: Parcel, state: JobState, outcome: bytes, plan: Plan, crashes: int = 0) -> None:
        """End a job instead of starting it."""
        ours = self._is_ours(permit)
        self._ledger.end_dropped(parcel, state, outcome, ours=ours)
        self._plan_end(Holding(permit, parcel, crashes), state, outcome, plan)

    def _drop_dead(self, permit: Permit, parcel: Parcel, crashes: int, plan: Plan) -> None:
        attempts = parcel.attempts + crashes
        outcome = pack_dead(parcel.crashes + crashes, attempts, None, now(), None)
        self._drop(permit, parcel, JobState.DEAD, outcome, plan, crashes)

    def _drop_orphans(self, found: Sorted) -> None:
        """End the jobs that somebody awaited who is not there any more."""
        owned = {box for permit, parcel in found.wanted if parcel.owned and (box := box_of(permit)) is not None}
        gone = self._transport.gone(owned - {self._transport.box})
        if gone:
            for permit, parcel in found.wanted:
                if parcel.owned and box_of(permit) in gone:
                    self._drop(permit, parcel, JobState.CANCELLED, pack_cancelled(OWNER_GONE, 0, None, now()), found.plan)

    def _crashes(self, wanted: Sequence[tuple[Permit, Parcel]]) -> dict[str, int]:
        """Look up the marks of those that come back."""
        returned = self._transport.returned
        ids = [parcel.id for permit, parcel in wanted if parcel.lapses or returned.suspicion(permit)]
        return dict(zip(ids, self._transport.crashes(ids), strict=True)) if ids else {}

    def _hold(self, permit: Permit, parcel: Parcel, crashes: int, worker: str) -> Delivery:
        suspicion = self._transport.returned.suspicion(permit)
        lapses = parcel.lapses + (suspicion if suspicion >= SUSPICIOUS else 0)
        if crashes or parcel.max_crashes == 1:  # that one shall not start twice
            lapses = max(1, lapses)
        delivery = self._ledger.take(parcel, parcel.crashes + crashes, lapses, worker, ours=self._is_ours(permit))
        with self._lock:
            if permit.generation != self._transport.receiver.line.generation:
                self._generation = 0  # it was lost meanwhile: the next look finds it
            self._held[delivery.token] = Holding(permit, parcel, crashes, suspect=lapses + suspicion > 0)
        return delivery

    def _without_cancelled(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """End those that somebody has cancelled while they were in a message.

        Only now that they are held: whoever is asked about them in this moment says so.
        """
        ends: list[Finished] = []
        left: list[Delivery] = []
        for delivery in deliveries:
            parcel = self._held[delivery.token].parcel if delivery.token in self._held else None
            mark = self._marks.find(delivery.id, parcel.created_at) if parcel is not None else None
            if mark is None:
                left.append(delivery)
            else:
                outcome = pack_cancelled(mark[0], delivery.attempt - 1, None, now())
                ends.append(Finished(delivery, JobState.CANCELLED, outcome))
        if ends:
            self.settle(ends)
        return left
