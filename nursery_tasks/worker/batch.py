"""A batch: one call that several jobs share, while it is collected and while it runs.

To what runs a call it is a job in flight like others, with one scope, one time limit and one handler to be watched. It has no
lease and no outcome: each of its jobs has its own.

It is *collected* until it is full or its time has come; then it waits for a slot; then it has *begun*. Until it has begun a job
that is cancelled leaves it. Afterwards each job stays until the call ends, and the call is cancelled when no job in it is
wanted any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..model.message import Message
from ..registry import TaskSpec
from .in_flight import InFlightJob
from .prepare import Call


class InFlightBatch(InFlightJob):
    """One batch of a task.

    Args:
        first, call: The first job in it.
        due_at: When it is to begin, on the loop's clock, full or not.
        on_left: Called with each job that was cancelled and has left; it is settled there.

    Attributes:
        members: Its jobs, in the order of the function's list; each has its own `call`.
        begun: The handler runs.
    """

    __slots__ = ("_on_left", "begun", "due_at", "members", "spec")

    def __init__(
        self,
        first: InFlightJob,
        call: Call,
        due_at: float,
        on_left: Callable[[InFlightBatch, InFlightJob], None],
        on_told: Callable[[], object] | None,
    ) -> None:
        super().__init__(first.delivery, first.lease_from, first.since, on_told)
        self.spec: TaskSpec = call.spec
        self.members: list[InFlightJob] = []
        self.due_at = due_at
        self.begun = False
        self._on_left = on_left
        self.add(first, call)

    @property
    def is_full(self) -> bool:
        """Whether it has no place for another job."""
        return self.places == 0

    @property
    def places(self) -> int:
        """For how many more jobs there is room."""
        assert self.spec.batch is not None
        return self.spec.batch.size - len(self.members)

    def add(self, job: InFlightJob, call: Call) -> None:
        """Take in one more."""
        self.members.append(job)
        job.call, job.in_batch = call, self

    def remove(self, job: InFlightJob) -> None:
        """Let one go, and end the wait for a place to run when it was the last one."""
        self.members.remove(job)
        job.call = job.in_batch = None
        if not self.members and self.scope is not None:
            self.scope.cancel()

    def told(self, job: InFlightJob) -> None:
        """Hear that one of its jobs is to end; for the job itself."""
        if not self.begun:
            self.remove(job)
            self._on_left(self, job)
        elif all(member.cancelled for member in self.members):
            self.cancel(job.cancel_reason)
        elif self.scope is not None:
            self.scope.deadline = self.deadline
            self.limit(min(self.timeout_at, self.scope.deadline), self.timeout_at)

    @property
    def deadline(self) -> float:
        """When the callers of all jobs that are still wanted have no more time, on the loop's clock."""
        return max((deadline_of(member) for member in self.members if not member.cancelled), default=math.inf)

    @property
    def latest_start(self) -> float:
        """When none of its jobs is to start any more, on the loop's clock."""
        return max(min(deadline_of(member), _expiry(member)) for member in self.members)

    def make_call(self) -> Call:
        """Return what to call for the jobs that it has now. The time limit is that of the task."""
        calls = [member.call for member in self.members if member.call is not None]
        return Call(
            self.spec,
            Message(task=self.spec.name, args=[[_item(call.message.args, call.message.kwargs) for call in calls]]),
            [[_item(call.args, call.kwargs) for call in calls]],
            {},
            self.spec.options.timeout_seconds,
            None,
            None if self.deadline == math.inf else self.deadline,
            rules=tuple(call.retry for call in calls),
        )


def deadline_of(member: InFlightJob) -> float:
    """Return when the caller of one job has no more time, on the loop's clock."""
    return math.inf if member.call is None or member.call.deadline is None else member.call.deadline


def _expiry(member: InFlightJob) -> float:
    return math.inf if member.expires_deadline is None else member.expires_deadline


def _item(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the one argument of a job."""
    return args[0] if args else next(iter(kwargs.values()))
