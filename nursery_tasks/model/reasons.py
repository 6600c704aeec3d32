"""What a broker writes when it ends a job itself: the same words and the same outcome, whichever broker it is.

A job that a worker ends brings its outcome along. These are the other ends: it expired in its queue, it was cancelled
while nobody ran it, or workers kept dying with it.
"""

from __future__ import annotations

from typing import Final

from .codec import pack_outcome, unpack_outcome
from .outcome import Outcome
from .states import JobState

NOT_STARTED_IN_TIME: Final = "no worker started it in time"
DEADLINE_OVER: Final = "the deadline of its caller is over"
WORKER_STOPS: Final = "the worker stops"
OWNER_GONE: Final = "its owner is gone"  # an owner's lease ran out, or was let go
OWNER_ENDED: Final = "the job that awaited it has ended"  # or has lost its lease, or was given back


LOST_OR_GIVEN_BACK: Final = "its worker was lost, or gave it back"


def once_over(why: str) -> str:
    """Say why a job is dead that is delivered at most once, and had started."""
    return f"{why}; it had started, and is delivered at most once"


def batch_went_on(reason: str | None) -> str:
    """Say of a job that was cancelled in a batch why its function was not: the call was also for others."""
    went_on = "its batch had begun, and went on for the others"
    return went_on if reason is None else f"{reason} ({went_on})"


def workers_died(crashes: int) -> str:
    """Say why a job is dead after so many crashes."""
    return "the worker that ran it died" if crashes == 1 else f"{crashes} workers died while they ran it"


def why_dead(crashes: int, *, once: bool) -> str:
    """Say why a job is dead that no worker has ended; *once*: it is delivered at most once."""
    return once_over(LOST_OR_GIVEN_BACK) if once else workers_died(crashes)


def pack_expired(ended_at: float) -> bytes:
    """Pack the outcome of a job that nobody started in time."""
    return pack_outcome(Outcome(state=JobState.EXPIRED, reason=NOT_STARTED_IN_TIME, ended_at=ended_at))


def pack_cancelled(reason: str | None, attempts: int, worker: str | None, ended_at: float) -> bytes:
    """Pack the outcome of a job that is cancelled while no handler runs.

    Args:
        reason: What the canceller said.
        attempts: How many attempts count.
        worker: Who held it last; told only when an attempt counts.
    """
    told = worker if attempts else None
    return pack_outcome(Outcome(state=JobState.CANCELLED, reason=reason, attempt=attempts, worker=told, ended_at=ended_at))


def pack_dead(
    crashes: int, attempts: int, worker: str | None, ended_at: float, failure: bytes | None, *, once: bool = False
) -> bytes:
    """Pack the outcome of a job whose workers died.

    Args:
        failure: The packed outcome of the last attempt that failed, if one did: its error is what a person can go by.
        once: It is delivered at most once, so its one start was its last, however that came to its end.
    """
    return pack_outcome(
        Outcome(
            state=JobState.DEAD,
            error=unpack_outcome(failure).error if failure else None,
            reason=why_dead(crashes, once=once),
            attempt=attempts,
            worker=worker,
            ended_at=ended_at,
        )
    )
