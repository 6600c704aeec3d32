"""Cancelling jobs, and learning what became of each.

A cancel is one transition: a job that waits has ended by it, one that a worker holds is marked. For those the answer comes from
the worker, pushed by a hint, and polled in case that it is lost. A job whose worker has not said that it runs may be about to
start, so its cancel is only answered when that is clear: either it runs, or it never will.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from anyio import move_on_after

from ..brokers.gateway import Gateway
from ..errors import UnknownJob
from ..model.delivery import CancelAnswer, Stored
from ..model.listing import JobFilter, JobRecord
from ..model.states import HELD, WAITING, JobState
from .waiting import OutcomeWaiter, Ticket

CANCEL_WAIT_SECONDS: Final = 10.0  # a handler may clean up for 5 s before it counts as unresponsive
CLAIMED_WAIT_SECONDS: Final = 1.0  # how often a job is looked at whose worker has not said that it runs
SWEEP_LIMIT: Final = 100  # jobs that are taken back in one go, where no worker does it
CANCEL_PAGE: Final = 500  # jobs that are cancelled in one call

UNFINISHED: Final = WAITING | HELD

_log = logging.getLogger("nursery_tasks.client")


async def cancel_jobs(
    gateway: Gateway, waiter: OutcomeWaiter, ids: Sequence[str], reason: str | None, wait_seconds: float
) -> dict[str, CancelAnswer]:
    """Cancel jobs, and wait until they have ended, or are known to be unresponsive, or *wait_seconds* are over.

    Cancellation:
        The jobs stay cancelled; nobody waits for them any more.
    """
    with ExitStack() as stack:
        tickets = {job_id: stack.enter_context(waiter.expecting(job_id, look=False)) for job_id in dict.fromkeys(ids)}
        given = await gateway.cancel(list(tickets), reason)
        answers = dict(zip(tickets, given, strict=True))
        told = {job_id: tickets[job_id] for job_id, answer in answers.items() if answer is CancelAnswer.REQUESTED}
        for ticket in told.values():
            ticket.sent = ticket.takes_unresponsive = True
        with move_on_after(wait_seconds):
            for job_id, ticket in told.items():
                answers[job_id] = await _answered(ticket)
        late = [job_id for job_id in told if answers[job_id] is CancelAnswer.REQUESTED]
        for job_id in late:
            answers[job_id] = await _settled(gateway, tickets[job_id], job_id)
    for job_id, answer in answers.items():
        _log.info("job %s is %s%s", job_id, answer, f": {reason}" if reason else "", extra={"job_id": job_id})
    return answers


def answer_of(stored: Stored) -> CancelAnswer:
    """Say what a job that was told to end has come to."""
    if stored.state is JobState.CANCELLED:
        return CancelAnswer.CANCELLED
    if stored.state.ended:
        return CancelAnswer.FINISHED
    return CancelAnswer.UNRESPONSIVE if stored.unresponsive else CancelAnswer.REQUESTED


async def unfinished_below(gateway: Gateway, job_id: str, most: int = 20) -> list[JobRecord]:
    """Return *job_id* and what it started, as far as it has not ended; the nearest first."""
    found: list[JobRecord] = []
    record = await gateway.call(gateway.admin.job, job_id)
    if record is not None and not record.state.ended:
        found.append(record)
    level = [job_id]
    while level and len(found) < most:
        below: list[JobRecord] = []
        for parent in level:
            below += await gateway.call(gateway.admin.list_jobs, JobFilter(parent=parent, states=UNFINISHED), most)
        owned = [record for record in below if record.owned]
        found += owned
        level = [record.id for record in owned]
    return found[:most]


async def _answered(ticket: Ticket) -> CancelAnswer:
    try:
        return answer_of(await ticket.wait())
    except UnknownJob:
        return CancelAnswer.UNKNOWN


async def _settled(gateway: Gateway, ticket: Ticket, job_id: str) -> CancelAnswer:
    """Wait until it is sure that a job has started, or that it never will; bounded by its worker's lease.

    Taking a job back from a worker that is gone is what workers do. Maybe none is left to do that, so it is done here.
    """
    while True:
        [stored] = await gateway.outcomes([job_id])
        if stored is None:
            return CancelAnswer.UNKNOWN
        if stored.state is not JobState.CLAIMED:
            return answer_of(stored)
        with move_on_after(CLAIMED_WAIT_SECONDS):
            return await _answered(ticket)
        await gateway.sweep(SWEEP_LIMIT)
