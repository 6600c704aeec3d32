"""From a stored outcome to a value or an exception."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import JobCancelled, JobDead, JobExpired, JobTimedOut, RemoteError
from ..model.codec import sniff, unpack_outcome
from ..model.delivery import Stored
from ..model.failure import rebuild_error
from ..model.outcome import TIMED_OUT, Outcome
from ..model.reasons import DEADLINE_OVER
from ..model.states import JobState
from ..registry import Registry


def open_outcome(stored: Stored) -> Outcome | None:
    """Decode the outcome of a job that has ended; None for one that has not."""
    return unpack_outcome(stored.outcome) if stored.state.ended and stored.outcome is not None else None


def ended_at_deadline(stored: Stored) -> bool:
    """Say whether the job was ended by the deadline of who awaits it."""
    outcome = open_outcome(stored) if stored.state is JobState.CANCELLED else None
    return outcome is not None and outcome.reason == DEADLINE_OVER


def result_of(stored: Stored, job_id: str, task: str, returns: Any, registry: Registry) -> Any:
    """Return the job's result, converted to *returns*, or raise what it ended with.

    Raises:
        Exception: The job's own error, when its class is built in or registered; else `RemoteError`.
        JobTimedOut, JobCancelled, JobExpired, JobDead: It ended like that.
    """
    assert stored.outcome is not None
    outcome = unpack_outcome(stored.outcome)
    if outcome.state is not JobState.SUCCEEDED:
        raise error_of(outcome, job_id, task, registry)
    form = sniff(stored.outcome)
    wanted = Any if returns in (None, type(None)) else returns  # `-> None`: whatever came is taken
    try:
        return registry.codec.decode_value(outcome.value, form, wanted)
    except (msgspec.ValidationError, TypeError) as error:
        text = f"the result of {task} is not {returns}: {error}"
        raise RemoteError("InvalidResult", text) from None


def error_of(outcome: Outcome, job_id: str, task: str, registry: Registry) -> BaseException:
    """Make the exception that tells how a job ended that did not succeed."""
    if outcome.state is JobState.CANCELLED:
        return JobCancelled(job_id, task, outcome.reason)
    if outcome.state is JobState.EXPIRED:
        return JobExpired(job_id, task)
    if outcome.state is JobState.DEAD:
        return JobDead(job_id, task, outcome.reason)
    if outcome.error is None:
        return RemoteError("JobFailed", outcome.reason or "no error was recorded")
    if outcome.reason == TIMED_OUT:
        limit = outcome.error.state.get("timeout_seconds")
        late = JobTimedOut(job_id, task, limit if isinstance(limit, int | float) else None)
        for note in outcome.error.notes:
            late.add_note(note)
        return late
    error = rebuild_error(outcome.error, registry.errors)
    if isinstance(error, RemoteError):
        error.job_id, error.task = job_id, task
    return error
