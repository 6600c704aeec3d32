"""What a durable workflow knows of its own calls: their names, and what earlier runs of its function have left.

A call's id is a hash of the workflow's id, what is called, its encoded arguments, and how many equal calls came before. So it
does not depend on the order in which the branches of the function happen to begin; which of several *equal* calls is the first
does, and makes no difference. The calls that the function itself makes, not a child of its own nursery, also have numbers: in
those the order is part of the program, and a call that stands in another's place is noticed before it is sent.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec
from anyio import current_effective_deadline, get_current_task, move_on_after, sleep
from anyio.lowlevel import checkpoint_if_cancelled

from ..client import Connection, Job
from ..client.recorded import is_cancelled_for, submit_until_stored
from ..client.results import open_outcome
from ..current import CurrentJob
from ..errors import WorkflowChanged, WorkflowStopped
from ..model.codec import pack_outcome
from ..model.delivery import JOB_OWNER_SECONDS, Stored, Submission, job_owner
from ..model.message import Message
from ..model.options import DEFAULT_QUEUE
from ..model.outcome import Outcome
from ..model.states import JobState
from .data import Undo
from .found import CUT_MARK, Recorded, read_recorded, until_answered
from .order import Order

CUT_PATIENCE_SECONDS: Final = 30.0  # how much later than twice the first time a scope may cut a call again
CUT_REASON: Final = "a scope of its function was cancelled"
STORE_SECONDS: Final = 10.0  # for storing what has happened, whatever is cancelled meanwhile


class Recording:
    """The calls of one run of a durable workflow's function; the `Recorder` of the jobs that it submits.

    Attributes:
        leaving: Why the function is being left: `stopped`: its worker stops, or has lost the job; `told`: somebody wants the
            workflow to end. None: it is not.
        changed: What was wrong with a call; it is raised again by all later calls, because a handler may have caught it.
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
        self.changed: WorkflowChanged | None = None
        self.order = Order()
        self.undos: list[tuple[float, Undo]] = []  # each with its place in the order
        self.codec = connection.app.registry.codec
        self.busy = 0  # steps whose functions run now
        self._root: int | None = None  # the child that runs the function
        self._numbers: Counter[str] = Counter()  # equal calls so far
        self._calls = 0
        self._made: dict[str, int] = {}  # id -> number of the call, in this run
        self._recorded: dict[str, Recorded] = {}
        self._by_call: dict[int, Recorded] = {}
        self._has_cut = False
        self._unstored: list[Submission] = []  # records of cuts that the broker has not taken yet

    # --- before the function -----------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read what earlier runs have left."""
        for recorded in await read_recorded(self.connection, self.job.id):
            self._recorded[recorded.id] = recorded
            if recorded.call:
                self._by_call[recorded.call] = recorded

    def begin(self) -> None:
        """Say that the function runs in this very child."""
        self._root = get_current_task().id

    # --- names -------------------------------------------------------------------------------------------------------------

    def name_call(self, job: Job[Any]) -> str:
        """Return the id of a job that the function is about to submit."""
        job_id = job.options.job_id or self._hash("job", job.task, self._fingerprint(job))
        return self.made(job_id, job.task)

    def name_enqueue(self, job: Job[Any]) -> tuple[str, str]:
        """Return the id of the record of a detached submission, and the job's."""
        record_id = self._hash("enqueue", job.task, self._fingerprint(job))
        job_id = job.options.job_id or hash_of(record_id, "job", job.task, b"", 0)
        return self.made(record_id, f"enqueue:{job.task}"), job_id

    def name_record(self, kind: str, name: str, arguments: object = None) -> str:
        """Return the id of something that is recorded and is no job."""
        fingerprint = self.codec.fingerprint(f"an argument of {kind} {name}", arguments)
        return self.made(self._hash(kind, name, fingerprint), f"{kind}:{name}")

    def call_of(self, job_id: str) -> int | None:
        """Return the number of the call that *job_id* was named for."""
        return self._made.get(job_id)

    def _fingerprint(self, job: Job[Any]) -> bytes:
        return self.codec.fingerprint(f"an argument of {job.task}", [list(job.args), dict(job.kwargs)])

    def _hash(self, kind: str, name: str, arguments: bytes) -> str:
        alike = hash_of(self.job.id, kind, name, arguments, 0)
        number = self._numbers[alike]
        self._numbers[alike] += 1
        return hash_of(self.job.id, kind, name, arguments, number) if number else alike

    def made(self, call_id: str, what: str) -> str:
        """Note a call that is about to be made.

        Raises:
            WorkflowChanged: An earlier run has made another one in its place.
        """
        if self.changed is not None:
            raise self.changed
        call = 0
        if get_current_task().id == self._root:
            self._calls += 1
            call = self._calls
            expected = self._by_call.get(call)
            if expected is not None and expected.id != call_id:
                raise self.change(f"call {call} of its function is {what}{_other(expected.task == what)}, not {expected.task}")
        self._made.setdefault(call_id, call)
        return call_id

    def change(self, problem: str) -> WorkflowChanged:
        """Make the error that says what was noticed."""
        self.changed = WorkflowChanged(self.job.id, self.job.task, problem)
        return self.changed

    def check_all_made(self) -> None:
        """Check, after the function has returned, that it has made all the calls that earlier runs have.

        Where a scope of the function's own has cut something short in this run, nobody can tell.

        Raises:
            WorkflowChanged: It has not.
        """
        if self._has_cut:
            return
        for recorded in self._recorded.values():
            if recorded.id not in self._made and not recorded.cut:
                which = f"call {recorded.call}, " if recorded.call else "a call of "
                raise self.change(f"{which}{recorded.task} ({recorded.id}), was not made again")

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
        message = Message(task=what, args=list(arguments), parent=self.job.id, call=self.call_of(record_id))
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
        hold = self.job.hold
        return self.leaving == "told" or (hold is not None and hold.is_told)

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
        return is_cancelled_for(stored, CUT_MARK)

    def was_cut(self, call_id: str) -> bool:
        """Whether it was so in an earlier run."""
        recorded = self._recorded.get(call_id)
        return recorded is not None and recorded.cut

    def name_cut(self, call_id: str) -> str:
        """Return the id of the record that a call was cut which has a record of another kind."""
        cut_id = hash_of(self.job.id, "cut", call_id, b"", 0)
        self._made.setdefault(cut_id, 0)
        return cut_id

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
        record = msgspec.structs.replace(record, key=None, limits=(), ended=outcome.state, outcome=pack_outcome(outcome))
        with move_on_after(STORE_SECONDS, shield=True):
            stored = await self.store(record)
            return None if self.is_cut(stored) else stored
        self._unstored.append(record)  # before the next call, then
        return None

    async def wait_cut(self, call_id: str) -> None:
        """Wait until the scope that had cut a call in an earlier run does it again."""
        recorded = self._recorded.get(call_id)
        await sleep(CUT_PATIENCE_SECONDS + 2 * (recorded.seconds if recorded else 0.0))
        name = recorded.task if recorded else "a job"
        raise self.change(f"{name} ({call_id}), which a scope of its function had cancelled, was not cancelled again")


def hash_of(parent: str, kind: str, name: str, arguments: bytes, number: int) -> str:
    """Return the id of a call: 32 hexadecimal digits."""
    head = msgspec.json.encode((parent, kind, name, number))
    return blake2b(head + b"\0" + arguments, digest_size=16).hexdigest()


def _is_cancelled() -> bool:
    """Whether a scope around us is cancelled, or asyncio's own `timeout()` or task group has cancelled the task."""
    if current_effective_deadline() == -math.inf:
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:  # another loop runs here
        return False
    return task is not None and task.cancelling() > 0


def _other(same_task: bool) -> str:
    return " with other arguments" if same_task else ""
