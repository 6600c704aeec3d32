"""Jobs that a broker has ended itself: cancelled before they ran, expired, dead with their worker, ended with their owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from .reasons import NOT_STARTED_IN_TIME, why_dead
from .states import JobState


class Ended(msgspec.Struct, frozen=True, gc=False):
    """One of them.

    Attributes:
        id, queue, task: As submitted.
        attempt: How many attempts count.
        worker: Who held it last, if an attempt counts.
        reason: As in its outcome.
    """

    id: str
    queue: str
    task: str
    state: JobState
    attempt: int = 0
    worker: str | None = None
    reason: str | None = None


OnEnded = Callable[[Sequence[Ended]], object]


def expired(job_id: str, queue: str, task: str) -> Ended:
    """Return a job that nobody started in time."""
    return Ended(job_id, queue, task, JobState.EXPIRED, reason=NOT_STARTED_IN_TIME)


def cancelled(job_id: str, queue: str, task: str, attempts: int, worker: str | None, reason: str | None) -> Ended:
    """Return a job that is cancelled while no handler runs."""
    return Ended(job_id, queue, task, JobState.CANCELLED, attempts, worker if attempts else None, reason or None)


def dead(job_id: str, queue: str, task: str, attempts: int, worker: str | None, crashes: int, *, once: bool) -> Ended:
    """Return a job whose workers died, or whose one start was its last."""
    return Ended(job_id, queue, task, JobState.DEAD, attempts, worker, why_dead(crashes, once=once))
