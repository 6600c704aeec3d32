"""The life of a job, as one table.

Every broker makes these moves and no others; the documentation draws the picture from `MOVES`.

    scheduled -> ready -> claimed -> started -> succeeded | failed | cancelled | expired | dead

- *scheduled*: accepted, with a due time ahead. `due` makes it ready when the broker's clock gets there. A job that a worker
  has parked, because it does not know the task, is scheduled, too; `claim` takes it from there for a worker that does.
- *ready*: any worker may have it. A worker's `claim` takes it, with a fresh token and a lease.
- *claimed*: one worker holds it and has not said that it runs. A lost lease brings it back to ready, without blame.
- *started*: the worker has said that it runs. A lost lease counts as a crash; the third one makes it dead. A job that is
  delivered at most once is dead whatever would make it ready or scheduled from here: a lost lease, a `retry`, a `release`.
- *succeeded*, *failed*, *cancelled*, *expired*, *dead*: it has ended; the outcome is kept for its time, then dropped.
  A `requeue` by a person is the one way back.

`cancel` is also what happens to owned jobs when their owner is gone, as a part of the step that takes it away: a `finish`,
`retry` or `release` of the delivery that owns them, the end of an owner's lease, a sweep. A job whose owner is gone before it
is stored begins with this move. Held jobs are only told; a `finish`, `retry`, `release` or `lease over` makes them *cancelled*.

A job that ends before its *started* mark was sent skips that state, which is why most moves out of *started* also lead out
of *claimed*.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class JobState(StrEnum):
    """Where a job is. The text is the name on the wire, in the command line and in every listing."""

    SCHEDULED = "scheduled"
    READY = "ready"
    CLAIMED = "claimed"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"

    @property
    def ended(self) -> bool:
        """Whether the job has an outcome."""
        return self in ENDED


WAITING = frozenset({JobState.SCHEDULED, JobState.READY})  # nobody holds it
HELD = frozenset({JobState.CLAIMED, JobState.STARTED})  # a worker holds it, under a token and a lease
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED, JobState.DEAD})

_BACK = frozenset({JobState.READY, JobState.SCHEDULED})  # at once, or after a delay

# move -> state before -> states it may lead to
MOVES: dict[str, dict[JobState, frozenset[JobState]]] = {
    "due": {JobState.SCHEDULED: frozenset({JobState.READY})},
    "claim": {
        JobState.READY: frozenset({JobState.CLAIMED}),
        JobState.SCHEDULED: frozenset({JobState.CLAIMED}),  # only of a job that is parked
    },
    "start": {JobState.CLAIMED: frozenset({JobState.STARTED})},
    "finish": dict.fromkeys(HELD, ENDED),
    # cancelled: a cancel was asked for meanwhile; dead: it is delivered at most once
    "retry": {state: _BACK | {JobState.CANCELLED, JobState.DEAD} for state in HELD},
    "release": {
        JobState.CLAIMED: _BACK | {JobState.CANCELLED},
        JobState.STARTED: _BACK | {JobState.CANCELLED, JobState.DEAD},
    },
    "lease over": {
        JobState.CLAIMED: frozenset({JobState.READY, JobState.CANCELLED}),
        JobState.STARTED: frozenset({JobState.READY, JobState.CANCELLED, JobState.DEAD}),
    },
    "cancel": {state: frozenset({JobState.CANCELLED}) for state in WAITING},
    "expire": {state: frozenset({JobState.EXPIRED}) for state in WAITING},
    "requeue": {state: frozenset({JobState.READY}) for state in ENDED - {JobState.SUCCEEDED}},
}


def is_legal(move: str, before: JobState, after: JobState) -> bool:
    """Say whether *move* may lead from *before* to *after*."""
    return after in MOVES[move].get(before, frozenset())


# --- in the words of other systems ---------------------------------------------------------------------------------------


class StatusElsewhere(NamedTuple):
    """A state as Celery and pulsar-queue call it, and the latter's number for it."""

    celery: str
    pulsar: str
    number: int


_REVOKED = StatusElsewhere("REVOKED", "REVOKED", 3)
_FAILURE = StatusElsewhere("FAILURE", "FAILURE", 2)
_RETRY = StatusElsewhere("RETRY", "RETRY", 4)

# Waiting for its next attempt is a state of its own there: see `status_elsewhere`.
ELSEWHERE: dict[JobState, StatusElsewhere] = {
    JobState.SCHEDULED: StatusElsewhere("PENDING", "QUEUED", 6),
    JobState.READY: StatusElsewhere("PENDING", "QUEUED", 6),
    JobState.CLAIMED: StatusElsewhere("RECEIVED", "QUEUED", 6),
    JobState.STARTED: StatusElsewhere("STARTED", "STARTED", 5),
    JobState.SUCCEEDED: StatusElsewhere("SUCCESS", "SUCCESS", 1),
    JobState.FAILED: _FAILURE,
    JobState.CANCELLED: _REVOKED,
    JobState.EXPIRED: _REVOKED,
    JobState.DEAD: _FAILURE,
}

# pulsar-queue's sets of numbers: has ended, has run to its end, has ended without a result, has not ended.
READY_STATES = frozenset({1, 2, 3})
FULL_RUN_STATES = frozenset({1, 2})
EXCEPTION_STATES = frozenset({2, 3})
UNREADY_STATES = frozenset({4, 5, 6})

_NAMES = {status.number: status.pulsar for status in (*ELSEWHERE.values(), _RETRY)}


def status_elsewhere(state: JobState, attempts: int = 0) -> StatusElsewhere:
    """Return what other systems call the state of a job that was attempted so often."""
    return _RETRY if state in WAITING and attempts else ELSEWHERE[state]


def status_string(number: int) -> str:
    """Return pulsar-queue's name of one of its numbers, `UNKNOWN` for any other."""
    return _NAMES.get(number, "UNKNOWN")
