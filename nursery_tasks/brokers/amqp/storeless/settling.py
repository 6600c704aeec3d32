"""What becomes of a message when its job has ended, or goes into another attempt. See `plans` for the order of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from ....errors import BrokerError, BrokerUnavailable
from ....model.delivery import Finished, Hint, Released, Retried, Settlement, Started
from ....model.reasons import OWNER_ENDED, pack_cancelled
from ....model.states import JobState
from ...protocol import refusal
from ...rules.machine import check_ends
from ..foreign import to_answer
from .cancelling import Cancelling
from .in_flight import InFlightJob, InFlightJobs
from .known_jobs import KnownJobs
from .plans import Plan, Plans
from .transport import now


@dataclass(slots=True)
class Batch:
    """What a batch of settlements amounts to.

    Attributes:
        alive: Which of them count.
        over: The deliveries that end with it.
    """

    plan: Plan = field(default_factory=Plan)
    alive: list[bool] = field(default_factory=list[bool])
    over: dict[bytes, InFlightJob] = field(default_factory=dict[bytes, InFlightJob])


class Settling:
    """The ends of deliveries."""

    def __init__(self, jobs: KnownJobs, in_flight: InFlightJobs, plans: Plans, cancelling: Cancelling) -> None:
        self._jobs, self._in_flight = jobs, in_flight
        self._plans, self._cancelling = plans, cancelling

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Record what happened to deliveries. See `Broker.settle`."""
        check_ends(settlements)
        self._in_flight.drop_lost()
        batch = Batch()
        for settlement in settlements:
            batch.alive.append(self._plan(settlement, batch))
        if batch.over:
            self._cancelling.ask(self._jobs.away_of(batch.over), OWNER_ENDED)
        refused = self._leave_out(batch, self._plans.send(batch.plan))
        for number, settlement in enumerate(settlements):
            batch.alive[number] &= not (settlement.delivery.token in refused and isinstance(settlement, Retried | Released))
        stored = iter(self._jobs.settle([item for item, alive in zip(settlements, batch.alive, strict=True) if alive]))
        answers = [alive and next(stored) for alive in batch.alive]
        self._in_flight.remove(batch.over)
        if batch.over and (early := self._in_flight.early.queues()):
            self._jobs.tell(Hint("work", tuple(early)))
        with suppress(BrokerUnavailable):
            self._plans.answer_server(batch.plan)
        if refused:
            raise refusal([refused.get(item.delivery.token, answer) for item, answer in zip(settlements, answers, strict=True)])
        return answers

    def _leave_out(self, batch: Batch, refused: Mapping[str, BrokerError]) -> dict[bytes, BrokerError]:
        """Take out of a batch what goes into another attempt whose queue takes no messages: the job stays held."""
        if not refused:
            return {}
        plan = batch.plan
        copied = {id(message) for message, envelope, _ in plan.copies if envelope.queue in refused}
        stay = {token: job for token, job in batch.over.items() if id(job.message) in copied}
        for token in stay:
            del batch.over[token]
        plan.done = [job for job in plan.done if id(job.message) not in copied]
        return {token: refused[job.envelope.queue] for token, job in stay.items()}

    def _plan(self, settlement: Settlement, batch: Batch) -> bool:
        """Add one settlement to a batch; False: its token is stale."""
        delivery, plan = settlement.delivery, batch.plan
        held = self._in_flight.get(delivery.token)
        job = self._jobs.find(delivery)
        if held is None or job is None or delivery.token in batch.over:
            return False
        if isinstance(settlement, Started):
            if held.suspect and not held.marked:
                plan.starts.append(held)
        elif isinstance(settlement, Finished):
            batch.over[delivery.token] = held
            if settlement.reply is not None:
                plan.answers.append(to_answer(settlement.reply))
            self._plans.end(plan, held, settlement.state, settlement.outcome)
        elif isinstance(settlement, Retried | Released):
            batch.over[delivery.token] = held
            attempts = delivery.attempt - isinstance(settlement, Released)
            if job.cancel_asked:
                outcome = pack_cancelled(job.cancel_reason, attempts, job.worker, now())
                self._plans.end(plan, held, JobState.CANCELLED, outcome)
            elif isinstance(settlement, Released) and settlement.delay_seconds <= 0:
                plan.backs.append(held)
            else:
                _plan_copy(plan, held, attempts, delivery.lapses, settlement.delay_seconds)
        return True


def _plan_copy(plan: Plan, job: InFlightJob, attempts: int, lapses: int, seconds: float) -> None:
    """Plan the message of the next attempt, which has in itself what the crash markers of this one say."""
    envelope, seconds = job.envelope, max(0.0, seconds)
    crashes = envelope.crashes + job.crashes
    after = msgspec.structs.replace(envelope, attempts=attempts, crashes=crashes, lapses=lapses, due_at=now() + seconds)
    plan.copies.append((job.message, after, seconds))
    plan.done.append(job)
