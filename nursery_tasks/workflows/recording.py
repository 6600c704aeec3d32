"""What a durable workflow knows of its own calls: what earlier runs have left of them, and how those of this run end."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final, Literal

import msgspec
from anyio import current_effective_deadline, move_on_after, sleep
from anyio.lowlevel import checkpoint_if_cancelled

from ..client import Connection
from ..client.results import open_outcome
from ..current import CurrentJob
from ..errors import WorkflowStopped
from ..model.codec import pack_outcome
from ..model.delivery import JOB_OWNER_SECONDS, Stored, Submission, job_owner
from ..model.message import Message
from ..model.options import DEFAULT_QUEUE
from ..model.outcome import Outcome
from ..model.states import JobState
from .data import Undo
from .history import CUT_MARK, Recorded, is_cut, read_recorded
from .names import CallNames
from .order import Order
from .outages import submit_until_stored, until_answered

CUT_GRACE_SECONDS: Final = 30.0  # how much later than twice the first time a scope may cut a call again
CUT_REASON: Final = "a scope of its function was cancelled"
STORE_SECONDS: Final = 10.0  # for storing what has happened, whatever is cancelled meanwhile


class Recording:
    """The calls of one run of a durable workflow's function.

    Attributes:
        leaving: Why the function is being left: `stopped`: its worker stops, or has lost the job; `told`: somebody wants the
            workflow to end. None: it is not.
        names: What its calls are called.
        busy: How many steps' functions run now; a worker that stops leaves them the time of its drain.
        order: When what was done had been done.
        undos: What is to be run, the last one first, when the workflow does not succeed.
    """

    def __init__(self, connection: Connection, job: CurrentJob, deadline: float = math.inf) -> None:
        self.connection = connection
        self.job = job
        self.owner = job_owner(job.id)
        self.deadline = deadline
        self.leaving: Literal["stopped", "told"] | None = None
        self.order = Order()
        self.undos: list[tuple[float, Undo]] = []  # each with its place in the order
        self.codec = connection.app.registry.codec
        self.names = CallNames(job, self.codec)
        self.busy = 0  # steps whose functions run now
        self._recorded: dict[str, Recorded] = {}
        self._has_cut = False
        self._unstored: list[Submission] = []  # records of cuts that the broker has not taken yet

    async def load(self) -> None:
        """Read what earlier runs have left."""
        for recorded in await read_recorded(self.connection, self.job.id):
            self._recorded[recorded.id] = recorded
            self.names.expect(recorded)

    def check_all_made(self) -> None:
        """Check, after the function has returned, that it has made all the calls that earlier runs have.

        Where a scope of the function's own has cut something short in this run, nobody can tell.

        Raises:
            WorkflowChanged: It has not.
        """
        if not self._has_cut:
            self.names.check_all_made(self._recorded.values())

    # --- records -----------------------------------------------------------------------------------------------------------

    def look(self, record_id: str) -> Stored | None:
        """Return what earlier runs have recorded under an id."""
        found = self._recorded.get(record_id)
        return None if found is None or found.outcome is None else Stored(found.state, found.outcome)

    def note(self, record_id: str, what: str, value: Any = None, arguments: tuple[Any, ...] = ()) -> Submission:
        """Make a record that something has happened."""
        encoded = msgspec.Raw(self.codec.encode(what, value))
        return self.record(record_id, what, Outcome(state=JobState.SUCCEEDED, value=encoded), arguments)

    def record(self, record_id: str, what: str, outcome: Outcome, arguments: tuple[Any, ...] = ()) -> Submission:
        """Make a record of an outcome."""
        outcome = msgspec.structs.replace(outcome, worker=self.job.worker, ended_at=self.connection.now())
        message = Message(task=what, args=list(arguments), parent=self.job.id, call=self.names.call_of(record_id))
        return Submission(
            id=record_id,
            queue=self.job.queue or DEFAULT_QUEUE,
            task=what,
            payload=self.codec.encode(f"an argument of {what}", message),
            parent=self.job.id,
            owner=self.owner,
            owner_seconds=JOB_OWNER_SECONDS,
            ended=outcome.state,
            outcome=pack_outcome(outcome, self.codec.form if outcome.value else "json"),
        )

    async def store(self, record: Submission) -> Stored:
        """Store a record; returns what stands under its id, which is another one when somebody was first."""
        [receipt] = await submit_until_stored(self.connection, [record])
        if not receipt.created:
            [stored] = await until_answered(lambda: self.connection.gateway.outcomes([record.id]))
            if stored is not None and stored.outcome is not None:
                return stored
        assert record.ended is not None
        return Stored(record.ended, record.outcome)

    # --- ends --------------------------------------------------------------------------------------------------------------

    @property
    def is_left(self) -> bool:
        """Whether the function is being left, for whatever reason."""
        return self.leaving is not None

    @property
    def is_told(self) -> bool:
        """Whether somebody wants the workflow itself to end, also when its function has ended, or its worker stops."""
        context = self.job.context
        return self.leaving == "told" or (context is not None and context.is_told)

    @property
    def goes_on(self) -> bool:
        """Whether the function is being left only because its worker stops."""
        return self.leaving == "stopped" and not self.is_told

    async def check_left(self) -> None:
        """Refuse a new call of a function that is being left and goes on elsewhere: its clean-up is none of the workflow.

        Raises:
            BaseException: The cancellation; or `WorkflowStopped`, where a shield of the function's own keeps that away.
        """
        if self.goes_on:
            await checkpoint_if_cancelled()
            raise WorkflowStopped(self.job.id, self.job.task)
        while self._unstored:
            record = self._unstored[0]
            await self.store(record)
            if record in self._unstored:
                self._unstored.remove(record)

    def passed(self, stored: Stored) -> None:
        """Hear that a call was answered."""
        outcome = open_outcome(stored)
        if outcome is not None:
            self.order.passed(outcome.ended_at)

    def cut(self, reason: str) -> str:
        """Hear that a call is being cancelled; returns the reason to give."""
        self._has_cut = self._has_cut or self.leaving is None
        return f"{reason}{CUT_MARK}"

    def is_cut(self, stored: Stored) -> bool:
        """Whether a call was ended by a scope of the function's own."""
        return is_cut(stored)

    def was_cut(self, call_id: str) -> bool:
        """Whether it was so in an earlier run."""
        recorded = self._recorded.get(call_id)
        return recorded is not None and recorded.cut

    async def store_cut(self, record: Submission, began: float) -> Stored | None:
        """Record that a call was cut, when a scope of the function's own has cut it; bounded, whatever is cancelled.

        Args:
            began: When the call was made, in epoch seconds.

        Returns:
            What stands under its id instead: it had ended before it was cut, and another run will find that. So this one
            should return it, although it is cancelled: the cancellation is met again at the next `await`.
        """
        if self.is_left or not _is_cancelled():
            return None
        self._has_cut = True
        if self.was_cut(record.id):
            return None
        outcome = Outcome(state=JobState.CANCELLED, reason=self.cut(CUT_REASON), worker=self.job.worker)
        outcome = msgspec.structs.replace(outcome, started_at=began, ended_at=self.connection.now())
        record = msgspec.structs.replace(
            record, key=None, limits=(), once=False, ended=outcome.state, outcome=pack_outcome(outcome)
        )
        with move_on_after(STORE_SECONDS, shield=True):
            stored = await self.store(record)
            return None if self.is_cut(stored) else stored
        self._unstored.append(record)  # before the next call, then
        return None

    async def wait_cut(self, call_id: str) -> None:
        """Wait until the scope that had cut a call in an earlier run does it again."""
        recorded = self._recorded.get(call_id)
        await sleep(CUT_GRACE_SECONDS + 2 * (recorded.seconds if recorded else 0.0))
        name = recorded.task if recorded else "a job"
        raise self.names.change(f"{name} ({call_id}), which a scope of its function had cancelled, was not cancelled again")


def _is_cancelled() -> bool:
    """Whether a scope around us is cancelled, or asyncio's own `timeout()` or task group has cancelled the task."""
    if current_effective_deadline() == -math.inf:
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:  # another loop runs here
        return False
    return task is not None and task.cancelling() > 0
