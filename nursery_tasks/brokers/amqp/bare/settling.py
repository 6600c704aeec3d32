"""What becomes of a message when its job has ended, or goes into another attempt.

Always in this order: what is to be known elsewhere is published and confirmed; then this process's ledger changes; then the
message is acknowledged. So a crash in between makes a second run, and never a lost job.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from ....errors import BrokerUnavailable
from ....model.codec import unpack_outcome
from ....model.delivery import Finished, Released, Retried, Settlement, Started
from ....model.reasons import OWNER_ENDED, pack_cancelled
from ....model.states import ENDED, JobState
from ..foreign import to_letter as to_answer
from ..permits import Permit
from ..sending import Letter
from .cancelling import Cancelling
from .core import Holding
from .ladder import LONGEST_SECONDS
from .parcels import Parcel, box_of, to_letter
from .transport import now
from .words import Ended

HEADER_MOST: Final = 1_000  # characters of a text in a header


@dataclass(slots=True)
class Plan:
    """What a batch of settlements amounts to.

    Attributes:
        alive: Which of them count.
        over: The deliveries that end with it.
        starts: Those whose start is to be written down.
        copies: What follows after a wait, in seconds.
        outcomes, answers: For processes that wait, and for other programs.
        dead: What has failed for good, by queue.
        acks, done, backs: Messages that are done with, jobs that are, and those that the server may deliver again.
    """

    alive: list[bool] = field(default_factory=list[bool])
    over: dict[bytes, Holding] = field(default_factory=dict[bytes, Holding])
    starts: list[Holding] = field(default_factory=list[Holding])
    copies: list[tuple[Permit, Parcel, float]] = field(default_factory=list[tuple[Permit, Parcel, float]])
    outcomes: list[Letter] = field(default_factory=list[Letter])
    answers: list[Letter] = field(default_factory=list[Letter])
    dead: dict[str, list[Letter]] = field(default_factory=dict[str, list[Letter]])
    acks: list[Permit] = field(default_factory=list[Permit])
    done: list[Holding] = field(default_factory=list[Holding])
    backs: list[Holding] = field(default_factory=list[Holding])


class Settling(Cancelling):
    """The ends of deliveries."""

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        self._transport.check_usable()
        for settlement in settlements:
            if isinstance(settlement, Finished) and settlement.state not in ENDED:
                raise ValueError(f"{settlement.delivery.id}: no job ends in the state {settlement.state}")
        self.drop_lost()
        plan = Plan()
        for settlement in settlements:
            plan.alive.append(self._plan(settlement, plan))
        if plan.over:
            self._ask(self._ledger.away_of(plan.over), OWNER_ENDED)
        self._send(plan)
        stored = iter(self._ledger.settle([item for item, alive in zip(settlements, plan.alive, strict=True) if alive]))
        answers = [alive and next(stored) for alive in plan.alive]
        with self._lock:
            for token in plan.over:
                self._held.pop(token, None)
        with suppress(BrokerUnavailable):
            self._answer_server(plan)
        return answers

    def _plan(self, settlement: Settlement, plan: Plan) -> bool:
        """Add one settlement to a plan; False: its token is stale."""
        delivery = settlement.delivery
        holding = self._held.get(delivery.token)
        job = self._ledger.find(delivery)
        if holding is None or job is None or delivery.token in plan.over:
            return False
        if isinstance(settlement, Started):
            if holding.suspect and not holding.marked:
                plan.starts.append(holding)
        elif isinstance(settlement, Finished):
            plan.over[delivery.token] = holding
            if settlement.reply is not None:
                plan.answers.append(to_answer(settlement.reply))
            self._plan_end(holding, settlement.state, settlement.outcome, plan)
        elif isinstance(settlement, Retried | Released):
            plan.over[delivery.token] = holding
            attempts = delivery.attempt - isinstance(settlement, Released)
            if job.cancel_asked:
                outcome = pack_cancelled(job.cancel_reason, attempts, job.worker, now())
                self._plan_end(holding, JobState.CANCELLED, outcome, plan)
            elif isinstance(settlement, Released) and settlement.delay_seconds <= 0:
                plan.backs.append(holding)
            else:
                self._plan_copy(holding, attempts, delivery.lapses, settlement.delay_seconds, plan)
        return True

    def _plan_end(self, holding: Holding, state: JobState, outcome: bytes, plan: Plan) -> None:
        permit, parcel = holding.permit, holding.parcel
        plan.outcomes += self._to_box(permit, parcel, Ended(parcel.id, state, outcome))
        if state in (JobState.FAILED, JobState.DEAD):
            plan.dead.setdefault(parcel.queue, []).append(self._to_dead(permit, parcel.id, state, outcome))
        plan.done.append(holding)

    def _plan_copy(self, holding: Holding, attempts: int, lapses: int, seconds: float, plan: Plan) -> None:
        """Plan the message of the next attempt, which has in itself what the marks of this one say."""
        parcel, seconds = holding.parcel, max(0.0, seconds)
        crashes = parcel.crashes + holding.crashes
        after = msgspec.structs.replace(parcel, attempts=attempts, crashes=crashes, lapses=lapses, due_at=now() + seconds)
        plan.copies.append((holding.permit, after, seconds))
        plan.done.append(holding)

    def _send(self, plan: Plan) -> None:
        """Publish what a plan says; on return the server has all of it.

        Raises:
            BrokerUnavailable: Unknown how much it has; nothing was acknowledged.
        """
        if plan.starts:
            self._transport.mark_starts([holding.parcel.id for holding in plan.starts])
            for holding in plan.starts:
                holding.marked = True
        self._send_parcels([(parcel, box_of(permit), seconds) for permit, parcel, seconds in plan.copies])
        if plan.answers:
            self._transport.answer(plan.answers)
        if plan.dead:
            self._transport.send([(self._places.dead(queue), letters) for queue, letters in plan.dead.items()])
        if plan.outcomes:
            self._transport.publish(plan.outcomes)

    def _send_parcels(self, mail: Sequence[tuple[Parcel, str | None, float]]) -> None:
        """Publish jobs to their queues: (job, the box for its outcome, seconds until it is due)."""
        at_once: dict[str, list[Letter]] = {}
        late: dict[str, list[tuple[Letter, float]]] = {}
        for parcel, box, seconds in mail:
            place = self._places.place(parcel.queue)
            later = max(0.0, seconds - LONGEST_SECONDS)
            if parcel.later != later:
                parcel = msgspec.structs.replace(parcel, later=later)
            letter = to_letter(parcel, box, place.exchange, place.key)
            if seconds > 0:
                late.setdefault(parcel.queue, []).append((letter, seconds))
            else:
                at_once.setdefault(parcel.queue, []).append(letter)
        if at_once:
            self._transport.send([(self._places.place(queue), letters) for queue, letters in at_once.items()])
        for queue, timed in late.items():
            self._transport.delay(self._places.place(queue), timed)

    def _to_dead(self, permit: Permit, job_id: str, state: str, outcome: bytes = b"", reason: str = "") -> Letter:
        """Return the message for the dead: the job's own, with what happened in its headers."""
        headers: dict[str, object] = {"nursery-tasks-state": str(state)}
        if outcome:
            ended = unpack_outcome(outcome)
            reason = ended.reason or ""
            headers["nursery-tasks-attempts"] = ended.attempt
            if ended.worker:
                headers["nursery-tasks-worker"] = ended.worker
            if ended.error is not None:
                reason = reason or f"{ended.error.type}: {ended.error.text}"
        headers["nursery-tasks-reason"] = reason[:HEADER_MOST]
        properties: dict[str, Any] = {"headers": headers}
        if permit.properties.message_type:
            properties["message_type"] = permit.properties.message_type
        return Letter("", self._places.dead(permit.queue).name, permit.body, job_id, properties)

    def _answer_server(self, plan: Plan) -> None:
        """Acknowledge, or give back; and forget marks, where a failure does no harm: the next look only takes longer."""
        receiver = self._transport.receiver
        marked = [holding.parcel.id for holding in plan.backs if holding.marked]
        suspects = [holding.parcel.id for holding in plan.done if holding.marked or holding.crashes]
        try:
            if marked:
                self._transport.take_marks(marked)
        finally:
            if plan.acks or plan.done:  # each of these wakes another thread
                receiver.ack([*plan.acks, *(holding.permit for holding in plan.done)])
            if plan.backs:
                backs = [holding.permit for holding in plan.backs]
                self._transport.returned.note(backs)
                receiver.give_back(backs)
        if plan.backs:
            self._transport.settle_answers()  # on return others can have them
        if suspects:
            self._transport.clear_marks(suspects)
