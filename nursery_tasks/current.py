"""What a running handler can ask about itself."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, ContextVar
from datetime import datetime
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

import msgspec
from anyio import NoEventLoopError, from_thread, get_cancelled_exc_class

from .errors import NotInJob
from .loop.from_thread import call_on_loop

R = TypeVar("R")
Args = TypeVarTuple("Args")


class Slot(Protocol):
    """The right to run, which an attempt releases while its handler waits for other jobs."""

    @property
    def is_here(self) -> bool:
        """Whether this thread is the worker's own; the rest may only be called there, or where it is distant."""
        ...

    @property
    def is_distant(self) -> bool:
        """Whether the worker is another process."""
        ...

    def release(self) -> None:
        """Begin a wait."""
        ...

    async def acquire(self) -> None:
        """End a wait that went well; waits for a slot."""
        ...

    def acquire_nowait(self) -> None:
        """End a wait of a handler that is cancelled, or failed."""
        ...


class AttemptContext(Protocol):
    """What a worker keeps of a running attempt, for those who act on behalf of its handler.

    Attributes:
        broker: The broker that the job came from; its name where the handler runs in another process.
        token: The delivery's token: it owns the jobs that the handler awaits.
        cancel_reason: Why the attempt is to end, once it is.
        is_told: Whether somebody wants the job itself to end, by a cancel or a time limit; not while only its worker stops.
        deadline: When the time of the job's caller is over, on the loop's clock.
        slot: What it releases while it waits.
        coroutine, thread_id: Where the handler runs; written by who calls it, read to show its stack.
        can_resume: Set by a handler that loses nothing when it is stopped while it waits: it is asked whether that is so now.
    """

    coroutine: Coroutine[Any, Any, Any] | None
    thread_id: int | None
    can_resume: Callable[[], bool] | None

    @property
    def broker(self) -> object: ...
    @property
    def token(self) -> bytes: ...
    @property
    def cancel_reason(self) -> str | None: ...
    @property
    def is_told(self) -> bool: ...
    @property
    def deadline(self) -> float: ...
    @property
    def slot(self) -> Slot: ...


class ItemSink(Protocol):
    """Where a handler's items go before it has ended."""

    async def put(self, items: Sequence[Any] | bytes) -> None:
        """Put out the next ones, also encoded as a result of them would be, and wait while there is no room."""
        ...

    def put_blocking(self, items: Sequence[Any]) -> None:
        """Do the same in a thread or a process of its own."""
        ...


class BatchedJob(msgspec.Struct, frozen=True):
    """One of the jobs for which the function of a batch task was called.

    Attributes:
        id, attempt, parent, tags, headers, slot: As in `CurrentJob`.
    """

    id: str
    attempt: int = 1
    parent: str | None = None
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    slot: datetime | None = None


class CurrentJob(msgspec.Struct, frozen=True, kw_only=True):  # made for every job: a frozen dataclass takes ten times as long
    """The job that is running here; get it with `current_job()`.

    In a batch task it is the first one of the batch; what it says of its progress, it says of all.

    Attributes:
        id: The job's id.
        task: The task's name.
        attempt: The number of this attempt, from 1.
        queue: The queue it came from; None when the task runs without a broker (`run_local`).
        worker: The worker's name; None likewise.
        parent: The id of the job that submitted this one.
        tags: As submitted.
        headers: What came with it, and goes with the jobs that are submitted here; they may have others beside, which win.
            What is changed in it changes what those get, not the job itself. In a batch task they are those of the first one.
        slot: Of a run of a schedule: the moment that the schedule has named, in UTC, however late it runs; None: it is none,
            or somebody has run it by hand.
        state: The worker's resources, by the names of the `@app.lifespan` functions that made them; empty in a process or
            an interpreter, which cannot share them.
        batch: In a batch task the jobs, in the order of the function's list; else empty.
        log: A logger whose records carry the job's id, task and attempt.
    """

    id: str
    task: str
    attempt: int = 1
    queue: str | None = None
    worker: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    slot: datetime | None = None
    state: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    batch: tuple[BatchedJob, ...] = ()
    _report: Callable[[Any], None] | None = None
    # What the worker keeps of the attempt, and what a durable workflow keeps of its calls (`client.ports.Recorder`): for
    # nursery-tasks itself, not for handlers.
    context: AttemptContext | None = None
    recorder: Any = None
    items: ItemSink | None = None  # of a handler whose items are messages
    _check: Callable[[], None] | None = None  # asks whether the job is to end, where the loop is in another process

    @property
    def cancel_reason(self) -> str | None:
        """Why the job is being cancelled, for a handler that cleans up; None while it is not, or when nobody gave a reason."""
        return None if self.context is None else self.context.cancel_reason

    def progress(self, value: Any) -> None:
        """Say how far the job is; `await handle.progress()` shows it. The latest value replaces the one before.

        Args:
            value: Anything JSON-like: a number, a text, a dict; at most 64 KiB.

        Raises:
            PayloadTooLarge: It is larger; the latest value stays.
        """
        if self._report is not None:
            self._report(value)

    def wait(self, function: Callable[[Unpack[Args]], Awaitable[R]], *args: *Args) -> R:
        """Call an async function from a `def` handler, on the worker's loop, and wait for its result.

        The thread waits, the loop does not: with `slots=100`, a hundred handlers wait at the same time. Inside *function*,
        `current_job()` is this job; `job.wait(other_task.run, arg)` runs another job that this one owns.

        Raises:
            WouldBlockLoop: A loop runs in this thread, as in an `async def` handler, which can write `await` instead.
            NoLoopBehind: The thread is none that a worker has started.
            Exception: What the function raised.

        Cancellation:
            A cancelled job, or a timeout, cancels the function; its cancellation comes out here, and must be let through.
        """
        name = getattr(function, "__name__", "function")
        return call_on_loop("current_job().wait()", f"await {name}(...)", function, *args)

    def check_cancelled(self) -> None:
        """Do what `nursery_tasks.check_cancelled()` does."""
        if self._check is not None:
            self._check()
            return
        try:
            from_thread.check_cancelled()
        except NoEventLoopError:  # not in a worker thread: the loop itself cancels at the next await
            return

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger of the task's name below `nursery_tasks.job`; its records carry `job_id`, `task` and `attempt`."""
        extra = {"job_id": self.id, "task": self.task, "attempt": self.attempt}
        return logging.LoggerAdapter(logging.getLogger(f"nursery_tasks.job.{self.task}"), extra)


_current: ContextVar[CurrentJob] = ContextVar("nursery_tasks_current_job")


def current_job() -> CurrentJob:
    """Return the job that is running here, in the handler or in anything that it started or called.

    Raises:
        NotInJob: No job is running here.
    """
    try:
        return _current.get()
    except LookupError:
        raise NotInJob("current_job()") from None


def current_job_or_none(context: Context | None = None) -> CurrentJob | None:
    """Do the same, with None outside of a job.

    Args:
        context: Where to look; default: here.
    """
    return _current.get(None) if context is None else context.get(_current)


def check_cancelled() -> None:
    """Leave a handler that runs in a thread or process when its job is cancelled or its time is over; else do nothing.

    Call it now and then in a long loop. In an `async def` handler there is nothing to call: every `await` looks. In an
    interpreter it does nothing, because nobody can ask there.

    Raises:
        BaseException: The event loop's own cancellation, or in a process `CancelRequested`: let it through.
        NotInJob: No job is running here.
    """
    current_job().check_cancelled()


@contextmanager
def job_is_current(job: CurrentJob) -> Generator[None, None, None]:
    """Make *job* the current one in a block."""
    token = _current.set(job)
    try:
        yield
    finally:
        _current.reset(token)


def set_current(job: CurrentJob) -> None:
    """Make *job* the current one in this context; for the worker, which gives every attempt a context of its own."""
    _current.set(job)


@asynccontextmanager
async def slot_released() -> AsyncGenerator[None, None]:
    """Release the current attempt's slot while the body waits for another job; outside of a job do nothing.

    Cancellation:
        The slot is taken again at once, if need be beside all others.
    """
    job = current_job_or_none()
    slot = None if job is None or job.context is None else job.context.slot
    if slot is None or not slot.is_here:
        yield
        return
    slot.release()
    try:
        yield
    except get_cancelled_exc_class():
        slot.acquire_nowait()
        raise
    except BaseException:  # the handler may catch it, and go on
        await slot.acquire()
        raise
    await slot.acquire()


@contextmanager
def distant_slot_released() -> Generator[None, None, None]:
    """Do the same for a wait that blocks, in a handler that runs in a process; elsewhere do nothing."""
    job = current_job_or_none()
    slot = None if job is None or job.context is None else job.context.slot
    if slot is None or not slot.is_distant:
        yield
        return
    slot.release()
    try:
        yield
    finally:
        slot.acquire_nowait()


def owner_on(broker: object) -> bytes | None:
    """Return what owns the jobs that are awaited here: the current attempt's token, where its job came from *broker*."""
    job = current_job_or_none()
    context = None if job is None else job.context
    if context is None or (context.broker is not broker and context.broker != getattr(broker, "name", None)):
        return None
    return context.token
