"""`app.create_task_group()`: a task group whose children run on workers, wherever those are."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, TypeVar, overload

from anyio import CancelScope, Event, create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup

from ..errors import InvalidOptions, JobCancelled, NotFinished
from .job import Job, check_job

if TYPE_CHECKING:
    from .connection import Connection

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# Jobs that one group has under way at a time. Each costs some 10 kB here, and a cancel has to reach each of them. More would be
# no faster: a submission takes along what comes meanwhile.
AT_ONCE: Final = 1_000


class Startable(Protocol[P, R_co]):
    """A task, or a task with options."""

    def job(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """Return the unsent job."""
        ...


class ChildJob(Generic[R_co]):
    """A job that a group has started: what `start_soon` returns.

    Attributes:
        id: The job's id; `app.handle(child.id)` looks it up from anywhere.
        task: The task's name.
        exception: What it ended with, when it did not end well.
    """

    __slots__ = ("_begun", "_ended", "_scope", "_value", "cancel_reason", "exception", "id", "task")

    def __init__(self, job_id: str, task: str) -> None:
        self.id = job_id
        self.task = task
        self.exception: BaseException | None = None
        self.cancel_reason: str | None = None
        self._begun = False
        self._scope = CancelScope()
        self._ended = Event()
        self._value: list[R_co] = []

    def __repr__(self) -> str:
        return f"<ChildJob {self.task} {self.id}>"

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self._result().__await__()

    @property
    def return_value(self) -> R_co:
        """The job's result.

        Raises:
            NotFinished: It has not ended.
            JobCancelled: It was cancelled.
            BaseException: What it ended with.
        """
        if self._value:
            return self._value[0]
        if self.exception is not None:
            raise self.exception
        raise NotFinished(self.id, self.task)

    def cancel(self, reason: str | None = None) -> None:
        """Cancel this one; the group goes on, and waits for its end."""
        self.cancel_reason = reason
        self._scope.cancel(reason)
        if not self._begun:
            self.drop(reason)

    def drop(self, reason: str | None) -> None:
        """Say that it is not going to be sent; for the group."""
        if not self._ended.is_set():
            self.exception = JobCancelled(self.id, self.task, self.cancel_reason or reason)
            self._ended.set()

    async def _result(self) -> R_co:
        await self._ended.wait()
        return self.return_value

    async def run(self, connection: Connection, job: Job[R_co], group: JobGroup) -> None:
        """Submit the job and wait for its end; for the group."""
        if self._ended.is_set():  # cancelled before its turn came
            return
        self._begun = True
        try:
            with self._scope:
                self._value.append(await connection.run(job, self.id, lambda: self.cancel_reason or group.failure))
            if self._scope.cancelled_caught:
                self.exception = JobCancelled(self.id, self.task, self.cancel_reason)
        except get_cancelled_exc_class():
            self.exception = JobCancelled(self.id, self.task, self.cancel_reason or group.failure)
            raise
        except BaseException as error:
            self.exception = error
            if isinstance(error, Exception):
                group.note_failure(self, error)
            raise
        finally:
            self._ended.set()


class JobGroup:
    """A nursery of jobs. Make it with `app.create_task_group()`.

    Leaving the block waits for all children. The first one that fails (after its retries) cancels the others, queued or
    running, on whatever worker they are; once all of them have ended, the block raises an `ExceptionGroup`. A cancel from
    outside does the same. Used in a handler, it gives the slot back while it waits.

    Of many children 1 000 are under way at a time, or as many as its `limit` says; each that ends makes room for the next. So a
    group of any size needs little memory, and is quickly cancelled: those whose turn has not come are never sent.
    """

    def __init__(self, connection: Connection, limit: int = AT_ONCE) -> None:
        self.failure: str | None = None  # why the siblings are cancelled
        self._connection = connection
        self._limit = limit
        self._serving = 0  # our children: each runs one job after the other
        self._waiting: deque[tuple[ChildJob[Any], Job[Any]]] = deque()
        self._group: TaskGroup = create_task_group()

    @property
    def cancel_scope(self) -> CancelScope:
        """The scope around the group; cancelling it cancels all children."""
        return self._group.cancel_scope

    async def __aenter__(self) -> JobGroup:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._group.__aexit__(exc_type, error, traceback)
        finally:
            for child, _ in self._waiting:
                child.drop(self.failure)
            self._waiting.clear()

    @overload
    def start_soon(self, task: Startable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> ChildJob[R]: ...
    @overload
    def start_soon(self, task: Job[R], /) -> ChildJob[R]: ...
    def start_soon(self, task: Any, /, *args: Any, **kwargs: Any) -> ChildJob[Any]:
        """Submit a job that belongs to this group.

        Args:
            task: A task, a task with `.options(...)`, or an unsent job.

        Raises:
            InvalidArguments: The arguments do not fit the task; nothing was sent.
            TypeError: It is neither.
        """
        job = _to_job(task, args, kwargs)
        child: ChildJob[Any] = ChildJob(self._connection.child_id(job), job.task)
        if self._serving < self._limit:
            self._group.start_soon(self._serve, child, job, name=f"{job.task} {child.id}")
            self._serving += 1
        else:
            self._waiting.append((child, job))
        return child

    async def _serve(self, child: ChildJob[Any], job: Job[Any]) -> None:
        try:
            await child.run(self._connection, job, self)
            while self._waiting:
                child, job = self._waiting.popleft()
                await child.run(self._connection, job, self)
        finally:
            self._serving -= 1

    def note_failure(self, child: ChildJob[Any], error: Exception) -> None:
        """Hear from a child that failed: its siblings are told why they end."""
        if self.failure is None:
            self.failure = f"its sibling {child.task} ({child.id}) ended with {type(error).__name__}"


def _to_job(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job[Any]:
    job: Job[Any]
    given: Any = task  # type checkers narrow this name only
    if isinstance(given, Job):
        if args or kwargs:
            raise TypeError(f"{task!r} has its arguments already: start_soon(job)")
        job = task
    elif callable(getattr(task, "job", None)):
        job = task.job(*args, **kwargs)
        check_job("start_soon()", job)
    else:
        expected = "start_soon(task, *args) or start_soon(task.job(*args)); for a plain function use anyio.create_task_group()"
        raise TypeError(f"{task!r} is not a task: expected {expected}")
    return job


def check_limit(limit: object) -> int:
    """Check how many may be under way at the same time; None: as many as there is room for."""
    if limit is None:
        return AT_ONCE
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidOptions("limit", limit, "1 or more, or None")
    return limit
