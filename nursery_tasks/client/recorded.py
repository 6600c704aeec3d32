"""Jobs that a durable workflow submits: they are found again when its function is run again after a crash.

Each has an id that follows from what is called, so submitting it again stores nothing: a job that has ended answers with its
stored outcome, one that runs is waited for. It belongs to the workflow's job and not to the attempt that submitted it; when
only the worker stops, it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec
from anyio import current_time, get_cancelled_exc_class, move_on_after, sleep, sleep_until
from anyio.lowlevel import checkpoint_if_cancelled

from ..current import current_job_or_none, slot_given_back
from ..errors import BrokerUnavailable, UnknownJob
from ..model.delivery import JOB_OWNER_SECONDS, CancelAnswer, Receipt, Stored, Submission
from ..model.states import JobState
from .handle import JobHandle
from .owner import ABANDONED, NESTED_PRIORITY
from .results import ended_at_deadline, open_outcome, result_of

if TYPE_CHECKING:
    from .connection import Connection
    from .job import Job
    from .waiting import Ticket

R = TypeVar("R")

AGAIN_SECONDS: Final = 0.5  # between two tries to reach a broker that is away
STORE_SECONDS: Final = 10.0  # for storing what was begun, whatever is cancelled meanwhile
DEADLINE_GAP_SECONDS: Final = 1.0  # how much sooner than its caller a worker may see that the deadline is over, at most


class Recorder(Protocol):
    """What a durable workflow keeps of its own calls while its function runs.

    Attributes:
        connection: What its function submits through.
        owner: What its jobs belong to.
        deadline: When the time of its caller is over, on the loop's clock.
    """

    connection: Connection
    owner: bytes
    deadline: float

    def name_call(self, job: Job[Any]) -> str:
        """Return the id of a job that the function is about to submit.

        Raises:
            WorkflowChanged: Another call was recorded in its place.
        """
        ...

    def name_enqueue(self, job: Job[Any]) -> tuple[str, str]:
        """Return the id of the record of a detached submission, and the job's. Raises as `name_call` does."""
        ...

    def call_of(self, job_id: str) -> int | None:
        """Return the number of the call that *job_id* was named for; None: it is none of the workflow's calls."""
        ...

    @property
    def is_left(self) -> bool:
        """Whether the function is being left, for whatever reason."""
        ...

    @property
    def goes_on(self) -> bool:
        """Whether the function is being left only because its worker stops."""
        ...

    async def check_left(self) -> None:
        """Refuse a new call while that is so.

        Raises:
            BaseException: The cancellation, or `WorkflowStopped`.
        """
        ...

    async def store_cut(self, record: Submission, began: float) -> Stored | None:
        """Record that a call which began then was cut, if a scope of the function's own has cancelled us; bounded.

        Returns:
            What stands under its id instead.
        """
        ...

    def cut(self, reason: str) -> str:
        """Hear that a scope of the function's own cancels a call; returns the reason to give, by which it is known later."""
        ...

    def is_cut(self, stored: Stored) -> bool:
        """Whether a job was ended by a scope of the function's own, in this run or an earlier one."""
        ...

    async def wait_cut(self, job_id: str) -> None:
        """Wait until the scope that had ended a job in an earlier run does it again.

        Raises:
            WorkflowChanged: It does not.
        """
        ...

    def passed(self, stored: Stored) -> None:
        """Hear that a call was answered: everything that follows comes after it."""
        ...

    def look(self, record_id: str) -> Stored | None:
        """Return what was recorded under an id."""
        ...

    def note(self, record_id: str, what: str, value: Any = None) -> Submission:
        """Make a record that something has happened."""
        ...


def recorder_on(connection: object) -> Recorder | None:
    """Return the recorder of the durable workflow that runs here, where it submits through *connection*."""
    job = current_job_or_none()
    if job is None or job.recorder is None or job.recorder.connection is not connection:
        return None
    recorder: Recorder = job.recorder
    return recorder


async def run_recorded(
    connection: Connection, recorder: Recorder, job: Job[R], job_id: str | None, reason: Callable[[], str | None]
) -> R:
    """Submit one job, or find it, and wait for its result. See `Connection.run`.

    Raises:
        WorkflowChanged: Another call was recorded in its place.
    """
    job_id = job_id or recorder.name_call(job)
    await recorder.check_left()
    receipt: Receipt | None = None
    stored: Stored | None = None
    try:
        async with slot_given_back():
            receipt, stored = await _run(connection, recorder, job, job_id, reason)
            if ended_at_deadline(stored):
                await _wait_deadline(recorder.deadline)
            if not receipt.created and recorder.is_cut(stored):
                await recorder.wait_cut(receipt.id)
    except get_cancelled_exc_class():
        if receipt is None or stored is None or recorder.is_left or ended_at_deadline(stored) or recorder.is_cut(stored):
            raise
        # It has ended all the same, and another run would find that. Who is cancelled meets that again at the next `await`.
    recorder.passed(stored)
    result: R = result_of(stored, receipt.id, job.task, job.returns, connection.app.registry)
    return result


async def _run(
    connection: Connection, recorder: Recorder, job: Job[Any], job_id: str, reason: Callable[[], str | None]
) -> tuple[Receipt, Stored]:
    left = recorder.deadline - current_time()
    submission = connection.encode(job, job_id, None if left == float("inf") else max(0.0, left))
    submission = msgspec.structs.replace(
        submission,
        owner=recorder.owner,
        owner_seconds=JOB_OWNER_SECONDS,
        priority=submission.priority + NESTED_PRIORITY,
    )
    began = connection.now()
    try:
        await checkpoint_if_cancelled()
    except get_cancelled_exc_class():
        stored = await recorder.store_cut(submission, began)  # so that another run does not send it
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
            stored = await _leave(connection, recorder, submission, ticket, receipt, reason, began)
            if stored is None:
                raise
            return receipt or Receipt(submission.id, created=False), stored
        except BaseException:
            await _leave(connection, recorder, submission, ticket, receipt, reason, began)
            raise


async def _leave(
    connection: Connection,
    recorder: Recorder,
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
    if recorder.goes_on:
        return None
    is_left, answer = recorder.is_left, CancelAnswer.UNKNOWN
    if receipt is None or receipt.id == submission.id:  # else it is another's
        answer = await connection.disown(submission, ticket, recorder.cut(reason() or ABANDONED))
    if is_left or answer is CancelAnswer.CANCELLED:
        return None
    if ticket.stored is not None:
        return None if recorder.is_cut(ticket.stored) else ticket.stored
    return await recorder.store_cut(submission, began)  # it may not have arrived


async def _borrow(connection: Connection, submission: Submission, receipt: Receipt, job: Job[Any]) -> Stored:
    """Wait for a job that holds the key of ours, and record its outcome as that of our call."""
    stored = await JobHandle[Any](connection.app, receipt.id, job.task, job.returns).wait_stored(None)
    assert stored.outcome is not None
    record = msgspec.structs.replace(submission, key=None, ended=stored.state, outcome=stored.outcome)
    await submit_until_stored(connection, [record])
    return stored


async def submit_until_stored(connection: Connection, submissions: Sequence[Submission]) -> list[Receipt]:
    """Submit, again and again while the broker is away: what has an id of its own can be repeated safely."""
    while True:
        try:
            return await connection.submit(submissions)
        except BrokerUnavailable:
            await sleep(AGAIN_SECONDS)


async def _wait_deadline(deadline: float) -> None:
    """Wait until the caller's own deadline cancels it: a job that ended because of it may be known to have ended sooner."""
    if deadline <= current_time() + DEADLINE_GAP_SECONDS:
        with move_on_after(2 * DEADLINE_GAP_SECONDS):
            await sleep_until(deadline + DEADLINE_GAP_SECONDS)


def is_cancelled_for(stored: Stored, mark: str) -> bool:
    """Whether a job was cancelled with a reason that ends with *mark*."""
    outcome = open_outcome(stored) if stored.state is JobState.CANCELLED else None
    return outcome is not None and outcome.reason is not None and outcome.reason.endswith(mark)
