"""Jobs that a durable workflow submits: they are found again when its function is run again after a crash.

Each has an id that follows from what is called, so submitting it again stores nothing: a job that has ended answers with its
stored outcome, one that runs is waited for. It belongs to the workflow's job and not to the attempt that submitted it; when
only the worker stops, it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from anyio import current_time, get_cancelled_exc_class, move_on_after, sleep_until
from anyio.lowlevel import checkpoint_if_cancelled

from ..client import Connection, JobHandle
from ..client.owned import DEADLINE_GAP_SECONDS
from ..client.owner_lease import ABANDONED, own
from ..client.ports import Unsent
from ..client.results import ended_at_deadline, result_of
from ..client.waiting import Ticket
from ..current import slot_released
from ..errors import UnknownJob
from ..model.delivery import JOB_OWNER_SECONDS, CancelAnswer, Receipt, Stored, Submission
from .outages import submit_until_stored
from .recording import Recording


async def run_recorded(recording: Recording, job: Unsent, job_id: str | None, reason: Callable[[], str | None]) -> Any:
    """Submit one job, or find it, and wait for its result. See `Connection.run`.

    Raises:
        WorkflowChanged: Another call was recorded in its place.
    """
    job_id = job_id or recording.names.of_job(job)
    await recording.check_left()
    receipt: Receipt | None = None
    stored: Stored | None = None
    try:
        async with slot_released():
            receipt, stored = await _run(recording, job, job_id, reason)
            if ended_at_deadline(stored):
                await _wait_deadline(recording.deadline)
            if not receipt.created and recording.is_cut(stored):
                await recording.wait_cut(receipt.id)
    except get_cancelled_exc_class():
        if receipt is None or stored is None or recording.is_left or ended_at_deadline(stored) or recording.is_cut(stored):
            raise
        # It has ended all the same, and another run would find that. Who is cancelled meets that again at the next `await`.
    recording.passed(stored)
    return result_of(stored, receipt.id, job.task, job.returns, recording.connection.app.registry)


async def _run(recording: Recording, job: Unsent, job_id: str, reason: Callable[[], str | None]) -> tuple[Receipt, Stored]:
    connection, left = recording.connection, recording.deadline - current_time()
    submission = connection.submitter.encode(job, job_id, None if left == float("inf") else max(0.0, left))
    submission = own(submission, recording.owner, JOB_OWNER_SECONDS, nested=True)
    began = connection.now()
    try:
        await checkpoint_if_cancelled()
    except get_cancelled_exc_class():
        stored = await recording.store_cut(submission, began)  # so that another run does not send it
        if stored is None:
            raise
        return Receipt(submission.id, created=False), stored
    with connection.waiter.expecting(submission.id, look=False) as ticket:
        receipt: Receipt | None = None
        try:
            [receipt] = await submit_until_stored(connection, [submission])
            if receipt.id != submission.id:
                return receipt, await _borrow(connection, submission, receipt, job)
            ticket.sent = True
            if not receipt.created:
                connection.waiter.look(submission.id)
            return receipt, await ticket.wait()
        except (GeneratorExit, UnknownJob):
            raise
        except get_cancelled_exc_class():
            stored = await _leave(recording, submission, ticket, receipt, reason, began)
            if stored is None:
                raise
            return receipt or Receipt(submission.id, created=False), stored
        except BaseException:
            await _leave(recording, submission, ticket, receipt, reason, began)
            raise


async def _leave(
    recording: Recording,
    submission: Submission,
    ticket: Ticket,
    receipt: Receipt | None,
    reason: Callable[[], str | None],
    began: float,
) -> Stored | None:
    """Cancel the job when a scope of the function's own, or whoever cancels the workflow, has left it.

    Returns:
        What it had ended with before a scope of the function's own could cut it; None: it is cut, or the function is left.
    """
    if recording.goes_on:
        return None
    is_left, answer = recording.is_left, CancelAnswer.UNKNOWN
    if receipt is None or receipt.id == submission.id:  # else it is another's
        answer = await recording.connection.owned.disown(submission, ticket, recording.cut(reason() or ABANDONED))
    if is_left or answer is CancelAnswer.CANCELLED:
        return None
    if ticket.stored is not None:
        return None if recording.is_cut(ticket.stored) else ticket.stored
    return await recording.store_cut(submission, began)  # it may not have arrived


async def _borrow(connection: Connection, submission: Submission, receipt: Receipt, job: Unsent) -> Stored:
    """Wait for a job that holds the key of ours, and record its outcome as that of our call."""
    stored = await JobHandle[Any](connection.app, receipt.id, job.task, job.returns).wait_stored(None)
    assert stored.outcome is not None
    record = msgspec.structs.replace(submission, key=None, ended=stored.state, outcome=stored.outcome)
    await submit_until_stored(connection, [record])
    return stored


async def _wait_deadline(deadline: float) -> None:
    """Wait until the caller's own deadline cancels it: a job that ended because of it may be known to have ended sooner."""
    if deadline <= current_time() + DEADLINE_GAP_SECONDS:
        with move_on_after(2 * DEADLINE_GAP_SECONDS):
            await sleep_until(deadline + DEADLINE_GAP_SECONDS)
