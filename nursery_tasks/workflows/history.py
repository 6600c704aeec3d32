"""What earlier runs of a durable workflow have left in the broker."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from ..client import Connection
from ..client.results import open_outcome
from ..model.codec import Undecodable
from ..model.delivery import Stored
from ..model.listing import JobFilter, JobRecord
from ..model.states import JobState
from .outages import until_answered

PAGE: Final = 500  # recorded calls that are read at once
CUT_MARK: Final = " (by its workflow)"  # how the reason of a cancel ends that a scope of the function's own has made
RECORDS: Final = ("step", "sleep", "event", "enqueue", "wait", "cut")  # what records are of, before the colon


class Recorded(msgspec.Struct, frozen=True):
    """A call that an earlier run has made.

    Attributes:
        call: Its number among the function's own calls; 0: one of its children made it.
        outcome: Of a record; jobs are asked for again.
        seconds: How long it took until it ended; 0 while it has not.
        cut: A scope of the function's own has cancelled it.
    """

    id: str
    task: str
    call: int
    state: JobState
    outcome: bytes | None
    seconds: float
    cut: bool


async def read_recorded(connection: Connection, job_id: str) -> list[Recorded]:
    """Read what earlier runs of a workflow have left, oldest first. In the first run that is nothing."""
    gateway, found = connection.gateway, list[Recorded]()
    own = await until_answered(lambda: gateway.call(gateway.admin.job, job_id))
    after, wanted = (own.cursor if own else 0), JobFilter(parent=job_id)
    while page := await until_answered(partial(gateway.call, gateway.admin.list_jobs, wanted, PAGE, after)):
        found += [recorded for record in page if (recorded := _recorded(connection, record)) is not None]
        after = page[-1].cursor
    return found


def _recorded(connection: Connection, record: JobRecord) -> Recorded | None:
    """Return what a job is of the workflow; None: it is none of its calls."""
    try:
        message = connection.app.registry.codec.decode_message(record.payload)
    except Undecodable:
        return None
    if message.call is None:
        return None
    was_cut = is_cut(Stored(record.state, record.outcome))
    is_record = record.task.partition(":")[0] in RECORDS
    return Recorded(
        id=record.id,
        task=record.task,
        call=message.call,
        state=record.state,
        outcome=record.outcome if record.state.ended and is_record else None,
        seconds=_seconds(record, was_cut),
        cut=was_cut,
    )


def _seconds(record: JobRecord, was_cut: bool) -> float:
    if record.ended_at is None:
        return 0.0
    seconds = record.ended_at - record.created_at
    outcome = open_outcome(Stored(record.state, record.outcome)) if was_cut else None
    if outcome is not None and outcome.started_at is not None and outcome.ended_at is not None:
        seconds = max(seconds, outcome.ended_at - outcome.started_at)  # a record was made when it had ended
    return max(0.0, seconds)


def is_cut(stored: Stored) -> bool:
    """Whether a job was ended by a scope of the function's own, in whichever run."""
    outcome = open_outcome(stored) if stored.state is JobState.CANCELLED else None
    return outcome is not None and outcome.reason is not None and outcome.reason.endswith(CUT_MARK)
