"""What the calls of a durable workflow are called, so that another run of its function finds them again.

A call's id is a hash of the workflow's id, what is called, its encoded arguments, and how many equal calls came before. So it
does not depend on the order in which the branches of the function happen to begin; which of several *equal* calls is the first
does, and makes no difference. The calls that the function itself makes, not a child of its own nursery, also have numbers: in
those the order is part of the program, and a call that stands in another's place is noticed before it is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

import msgspec
from anyio import get_current_task

from ..client.ports import Unsent
from ..current import CurrentJob
from ..errors import WorkflowChanged
from ..model.codec import Codec
from .history import Recorded


class CallNames:
    """The names of the calls that one run of a function makes.

    Attributes:
        changed: What was wrong with a call; it is raised again by all later calls, because a handler may have caught it.
    """

    def __init__(self, job: CurrentJob, codec: Codec) -> None:
        self.changed: WorkflowChanged | None = None
        self._job = job
        self._codec = codec
        self._root: int | None = None  # the child that runs the function
        self._numbers: Counter[str] = Counter()  # equal calls so far
        self._calls = 0
        self._made: dict[str, int] = {}  # id -> number of the call, in this run
        self._expected: dict[int, Recorded] = {}  # by the number of the call

    def expect(self, recorded: Recorded) -> None:
        """Hear of a call that an earlier run has made."""
        if recorded.call:
            self._expected[recorded.call] = recorded

    def begin(self) -> None:
        """Say that the function runs in this very child."""
        self._root = get_current_task().id

    def of_job(self, job: Unsent) -> str:
        """Return the id of a job that the function is about to submit."""
        job_id = job.options.job_id or self._hash("job", job.task, self._fingerprint(job))
        return self._note(job_id, job.task)

    def of_enqueue(self, job: Unsent) -> tuple[str, str]:
        """Return the id of the record of a detached submission, and the job's."""
        record_id = self._hash("enqueue", job.task, self._fingerprint(job))
        job_id = job.options.job_id or hash_of(record_id, "job", job.task, b"", 0)
        return self._note(record_id, f"enqueue:{job.task}"), job_id

    def of_record(self, kind: str, name: str, arguments: object = None) -> str:
        """Return the id of something that is recorded and is no job."""
        fingerprint = self._codec.fingerprint(f"an argument of {kind} {name}", arguments)
        return self._note(self._hash(kind, name, fingerprint), f"{kind}:{name}")

    def of_cut(self, call_id: str) -> str:
        """Return the id of the record that a call was cut which has a record of another kind."""
        cut_id = hash_of(self._job.id, "cut", call_id, b"", 0)
        self._made.setdefault(cut_id, 0)
        return cut_id

    def call_of(self, job_id: str) -> int | None:
        """Return the number of the call that *job_id* was named for."""
        return self._made.get(job_id)

    def _fingerprint(self, job: Unsent) -> bytes:
        return self._codec.fingerprint(f"an argument of {job.task}", [list(job.args), dict(job.kwargs)])

    def _hash(self, kind: str, name: str, arguments: bytes) -> str:
        alike = hash_of(self._job.id, kind, name, arguments, 0)
        number = self._numbers[alike]
        self._numbers[alike] += 1
        return hash_of(self._job.id, kind, name, arguments, number) if number else alike

    def _note(self, call_id: str, what: str) -> str:
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
            expected = self._expected.get(call)
            if expected is not None and expected.id != call_id:
                now = f"{what} with other arguments than before" if expected.task == what else f"{what}, not {expected.task}"
                raise self.change(f"call {call} of its function is {now}")
        self._made.setdefault(call_id, call)
        return call_id

    def change(self, problem: str) -> WorkflowChanged:
        """Make the error that says what was noticed."""
        self.changed = WorkflowChanged(self._job.id, self._job.task, problem)
        return self.changed

    def check_all_made(self, before: Iterable[Recorded]) -> None:
        """Check, after the function has returned, that it has made all the calls that earlier runs have: *before*.

        Raises:
            WorkflowChanged: It has not.
        """
        for recorded in before:
            if recorded.id not in self._made and not recorded.cut:
                which = f"call {recorded.call}, " if recorded.call else "a call of "
                raise self.change(f"{which}{recorded.task} ({recorded.id}), was not made again")


def hash_of(parent: str, kind: str, name: str, arguments: bytes, number: int) -> str:
    """Return the id of a call: 32 hexadecimal digits."""
    head = msgspec.json.encode((parent, kind, name, number))
    return blake2b(head + b"\0" + arguments, digest_size=16).hexdigest()
