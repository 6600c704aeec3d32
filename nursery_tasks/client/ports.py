"""What jobs and handles use of an app and of its open connection: protocols, so that they need not know who sends them.

Whoever records calls comes in here, too. The client knows no workflows, only that a `Recorder` may stand between a job and the
broker.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from ..brokers.gateway import Gateway
from ..current import current_job_or_none
from ..model.delivery import Receipt, Submission
from ..model.options import JobOptions
from ..registry import Registry
from .waiting import OutcomeWaiter
from .watching import Watchers


class Connected(Protocol):
    """Whoever has a connection when it is needed: the app."""

    @property
    def connection(self) -> Port:
        """The open connection, or `AppNotOpen`."""
        ...

    @property
    def registry(self) -> Registry:
        """The app's tasks."""
        ...

    def open_resources(self, names: Iterable[str], state: dict[str, Any]) -> AbstractAsyncContextManager[None]:
        """Open resources into *state* while the context is open."""
        ...


class Unsent(Protocol):
    """An unsent job, as whoever sends it sees it: a `Job`."""

    @property
    def task(self) -> str:
        """The name of its task."""
        ...

    @property
    def args(self) -> Sequence[Any]:
        """Its positional arguments."""
        ...

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """Those by name."""
        ...

    @property
    def options(self) -> JobOptions:
        """How it is to be run."""
        ...

    @property
    def returns(self) -> Any:
        """The type of its result."""
        ...

    def to_submission(
        self,
        job_id: str,
        now: float,
        limit_bytes: int,
        remaining_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Submission:
        """Encode it. See `Job.to_submission`."""
        ...

    def to_template(self, limit_bytes: int) -> Submission:
        """Encode it for a schedule. See `Job.to_template`."""
        ...


class Port(Protocol):
    """The open connection, as jobs and handles see it: it submits, and it waits."""

    @property
    def gateway(self) -> Gateway:
        """Calls the broker."""
        ...

    @property
    def waiter(self) -> OutcomeWaiter:
        """Waits for outcomes."""
        ...

    @property
    def watchers(self) -> Watchers:
        """Wakes those who watch jobs."""
        ...

    def enqueue(self, jobs: Sequence[Unsent]) -> Coroutine[Any, Any, list[Receipt]]:
        """Submit jobs, detached; all are encoded before the first is sent."""
        ...

    async def enqueue_nowait(self, job: Unsent) -> Receipt:
        """Submit one job, detached, without a wait for room."""
        ...

    async def run(self, job: Unsent, job_id: str | None = None, reason: Callable[[], str | None] = ...) -> Any:
        """Submit one job, owned, and wait for its result."""
        ...


class Recorder(Protocol):
    """Who keeps a record of the calls that the function of a durable workflow makes: `current_job().recorder`.

    Submitting goes through it, so that what an earlier run has submitted is found again instead.
    """

    @property
    def connection(self) -> object:
        """Whose calls it records; what is submitted through another connection is none of its affairs."""
        ...

    def name_call(self, job: Unsent) -> str:
        """Return the id of a job that the function is about to run.

        Raises:
            WorkflowChanged: Another call was recorded in its place.
        """
        ...

    def call_of(self, job_id: str) -> int | None:
        """Return the number of the call that *job_id* was named for; None: it is none of the function's calls."""
        ...

    async def enqueue(self, jobs: Sequence[Unsent]) -> list[Receipt]:
        """Do what `Port.enqueue` does, once, however often the function is run. Raises as `name_call` does."""
        ...

    async def run(self, job: Unsent, job_id: str | None, reason: Callable[[], str | None]) -> Any:
        """Do what `Port.run` does, or find the job that an earlier run has submitted. Raises as `name_call` does."""
        ...


def recorder_on(connection: object) -> Recorder | None:
    """Return who records the calls that are made here, where they are submitted through *connection*."""
    job = current_job_or_none()
    if job is None or job.recorder is None or job.recorder.connection is not connection:
        return None
    recorder: Recorder = job.recorder
    return recorder
