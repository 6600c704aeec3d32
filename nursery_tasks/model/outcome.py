"""How a job ended."""

from __future__ import annotations

import msgspec

from .failure import Failure
from .states import JobState

NOTHING = msgspec.Raw(b"")  # no value: a failed job has none


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The end of a job, as data.

    Attributes:
        state: One of the ended states.
        value: The encoded result of a job that succeeded.
        error: The exception of a job that failed; for a dead one the last error, if there was one.
        reason: Why it was cancelled or is dead; `timed out` for an attempt that took too long.
        attempt: The number of the last attempt, from 1; 0 when none was started.
        worker: The name of the worker that ran the last attempt.
        started_at: When the last attempt began, in epoch seconds on the worker's clock; for display.
        ended_at: When it ended, likewise.
    """

    state: JobState
    value: msgspec.Raw = NOTHING
    error: Failure | None = None
    reason: str | None = None
    attempt: int = 0
    worker: str | None = None
    started_at: float | None = None
    ended_at: float | None = None


TIMED_OUT = "timed out"
LEASE_LOST = "lease lost"
GIVEN_BACK = "another worker goes on with it"
