"""Settlements that the broker refuses for what is in them, apart from all others, which must not wait for one of those."""

from __future__ import annotations

import logging
from typing import Final

import msgspec
from anyio import current_time

from ..errors import BrokerError
from ..log_throttle import SAY_AGAIN_SECONDS
from ..model.codec import pack_outcome
from ..model.delivery import Finished, Retried, Settlement
from ..model.failure import Failure
from ..model.outcome import Outcome
from ..model.states import JobState
from .in_flight import InFlightJob

PAUSE_SECONDS: Final = 1.0  # between two tries of one: a queue may have room again

_NOT_STORED: Final = pack_outcome(
    Outcome(
        state=JobState.FAILED,
        error=Failure("OutcomeNotStored", "the broker could not store how the job ended; the worker's log says why"),
    )
)
_log = logging.getLogger("nursery_tasks.worker")


class Aside:
    """What is tried again by itself, a moment later.

    Attributes:
        waiting: (when, on the loop's clock; ...), in order of time.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[float, InFlightJob, Settlement]] = []
        self._said: dict[str, float] = {}  # job -> when that was last logged

    def put(self, job: InFlightJob, settlement: Settlement, error: BrokerError) -> None:
        job_id, now = job.delivery.id, current_time()
        self._said = {said: at for said, at in self._said.items() if now - at < SAY_AGAIN_SECONDS}
        if job_id not in self._said:
            self._said[job_id] = now
            _log.warning("cannot store what became of job %s, and go on trying: %s", job_id, error)
        self.waiting.append((now + PAUSE_SECONDS, job, settlement))

    @property
    def entries(self) -> list[tuple[InFlightJob, Settlement]]:
        """All of it, in order of time."""
        return [(job, settlement) for _, job, settlement in self.waiting]

    @property
    def pause_seconds(self) -> float | None:
        """How long until one is to be tried again; None: there is none."""
        return max(0.0, self.waiting[0][0] - current_time()) if self.waiting else None

    def take(self) -> list[tuple[InFlightJob, Settlement]]:
        """Take those whose time has come."""
        now = current_time()
        taken = [(job, settlement) for at, job, settlement in self.waiting if at <= now]
        self.waiting = self.waiting[len(taken) :]
        return taken


def plainer(settlement: Settlement) -> Settlement | None:
    """Return a settlement with less in it that a broker could stumble over; None: there is nothing left to leave out.

    First the answer to another program goes, then the outcome.
    """
    if isinstance(settlement, Finished):
        if settlement.reply is not None:
            return msgspec.structs.replace(settlement, reply=None)
        if settlement.outcome != _NOT_STORED:
            return Finished(settlement.delivery, JobState.FAILED, _NOT_STORED)
    if isinstance(settlement, Retried) and settlement.failure is not None:
        return msgspec.structs.replace(settlement, failure=None)
    return None
