"""The user's middleware around a submission: it sees what is sent, and may change its headers.

Where no event loop runs, an async middleware is driven by hand. One that only does its work gets along with that; one that
waits for something does not, and is told so.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Final, TypeVar

from anyio import NoEventLoopError

from ..current import current_job_or_none
from ..errors import MiddlewareMisused
from ..middleware import Make, made, name_of
from ..model.headers import check_headers, inherited
from .ports import Unsent

T = TypeVar("T")

WAITS: Final = "waits for something, and app.sync has no event loop; make it a @contextmanager that blocks"
SWALLOWED: Final = "has kept an error of it to itself; let it through, because nothing can stand for the job that is missing"


class OutgoingJob:
    """A job that is about to be submitted, for a middleware.

    Attributes:
        task: The task's name.
        args, kwargs: Its arguments; to read.
        queue: Its queue.
        tags: Its tags.
        headers: Its headers, with those that it inherits; to change.
    """

    __slots__ = ("args", "headers", "kwargs", "queue", "tags", "task")

    def __init__(self, job: Unsent) -> None:
        self.task = job.task
        self.args: tuple[Any, ...] = tuple(job.args)
        self.kwargs: Mapping[str, Any] = dict(job.kwargs)
        self.queue = job.options.queue
        self.tags = job.options.tags
        parent = current_job_or_none()
        own = job.options.headers
        self.headers: dict[str, str] = dict(inherited(parent.headers, own) if parent else own)

    def __repr__(self) -> str:
        return f"<OutgoingJob {self.task}>"


Headers = list[Mapping[str, str] | None]  # of each job; None: as they would be anyway


@asynccontextmanager
async def around(middleware: Sequence[Make], jobs: Sequence[Unsent]) -> AsyncGenerator[Headers, None]:
    """Enter all of *middleware* for each job; yields their headers.

    Raises:
        MiddlewareMisused: One has returned no context manager, or has kept an error to itself.
        InvalidOptions: The headers are none any more.
    """
    if not middleware:
        yield [None] * len(jobs)
        return
    async with AsyncExitStack() as stack:
        outgoing = [OutgoingJob(job) for job in jobs]
        for each in outgoing:
            for make in middleware:
                manager = made(make, each)
                if isinstance(manager, AbstractAsyncContextManager):
                    await stack.enter_async_context(manager)
                else:
                    stack.enter_context(manager)
        yield [check_headers("headers", each.headers) for each in outgoing]
        return
    raise MiddlewareMisused("around a submission", SWALLOWED)


@contextmanager
def around_here(middleware: Sequence[Make], jobs: Sequence[Unsent]) -> Generator[Headers, None, None]:
    """Do the same without an event loop.

    Raises:
        MiddlewareMisused: Also where an async one waits for something.
    """
    if not middleware:
        yield [None] * len(jobs)
        return
    with ExitStack() as stack:
        outgoing = [OutgoingJob(job) for job in jobs]
        for each in outgoing:
            for make in middleware:
                manager = made(make, each)
                if isinstance(manager, AbstractAsyncContextManager):
                    stack.enter_context(_Driven(manager, name_of(make)))
                else:
                    stack.enter_context(manager)
        yield [check_headers("headers", each.headers) for each in outgoing]
        return
    raise MiddlewareMisused("around a submission", SWALLOWED)


class _Driven:
    """An async context manager whose steps are taken without a loop."""

    def __init__(self, manager: AbstractAsyncContextManager[Any], name: str) -> None:
        self._manager, self._name = manager, name

    def __enter__(self) -> object:
        return _drive(self._manager.__aenter__(), self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return _drive(self._manager.__aexit__(kind, error, trace), self._name)


def _drive(step: Coroutine[Any, Any, T], name: str) -> T:
    missing: RuntimeError | None = None
    try:
        step.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    except RuntimeError as error:  # it has looked for the loop before it waits
        if not isinstance(error, NoEventLoopError) and str(error) != "no running event loop":
            raise
        missing = error
    step.close()
    raise MiddlewareMisused(name, WAITS) from missing
