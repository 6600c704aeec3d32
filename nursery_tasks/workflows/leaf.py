"""The steps of a flow that are no groups: jobs and plain functions."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Protocol, TypeVar

from anyio import to_thread

from ..client import Job, PartialJob
from ..client.job import called_by
from ..errors import InvalidArguments, NotAJob
from ..task import Bound
from .data import CallData, JobData, NodeData, options_to_data
from .mermaid import Drawing, Ends
from .node import Given, Node, Place, Why

R_co = TypeVar("R_co", covariant=True)


class Runnable(Protocol[R_co]):
    """What runs as a step, for type checkers: a task, with options or without, a job, or another flow."""

    def run(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, R_co]:
        """Run it."""
        ...


Step = Runnable[Any] | Callable[..., Any]

# What an enqueued flow may call beside tasks. Data chooses among these, and nothing else.
PLAIN: Final[dict[str, Callable[..., Any]]] = {
    function.__name__: function for function in (all, any, len, list, max, min, sorted, sum)
}


class JobNode(Node):
    """A step that is a job; what the step gets stands before the job's own arguments."""

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(returns=job.returns)
        self.job = job

    @property
    def label(self) -> str:
        return self.job.task

    def jobs(self) -> Iterator[Job[Any]]:
        yield self.job

    def check(self, given: int) -> None:
        spec = self.job.app.registry.tasks.get(self.job.task)
        if spec is None or self.job.made_for != spec.signature.fingerprint:  # another program's: only its worker can say
            return
        try:
            spec.signature.check((*(None,) * given, *self.job.args), self.job.kwargs)
        except InvalidArguments as error:
            raise _explained(error, given) from None

    async def perform(self, place: Place, given: Given, why: Why) -> Any:
        return await place.run(self.job.with_first(*given), why)

    def draw(self, drawing: Drawing, level: int) -> Ends:
        own = [*map(repr, self.job.args), *(f"{name}={value!r}" for name, value in self.job.kwargs.items())]
        return drawing.add_job(f"{self.label}({', '.join(own)})" if own else self.label, level)

    def to_data(self) -> NodeData:
        job = self.job
        spec = job.app.registry.tasks.get(job.task)
        options = options_to_data(job.task, job.options, None if spec is None else spec.options)
        return JobData(job.task, list(job.args), dict(job.kwargs), options, job.made_for)


class CallNode(Node):
    """A step that is a plain function, called where the flow runs: a `def` in a thread, one of Python's own directly."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.is_plain = PLAIN.get(getattr(function, "__name__", "")) is function
        self._calls_here = self.is_plain or inspect.iscoroutinefunction(inspect.unwrap(function))
        super().__init__(returns=Any if self.is_plain else _returns_of(function))

    @property
    def label(self) -> str:
        return getattr(self.function, "__name__", None) or type(self.function).__name__

    def check(self, given: int) -> None:
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # some of those in C have none
            return
        try:
            signature.bind(*(None,) * given)
        except TypeError as error:
            raise _explained(InvalidArguments(self.label, str(error), str(signature), "function"), given) from None

    async def perform(self, place: Place, given: Given, why: Why) -> Any:
        [value] = self._call(given) if self._calls_here else await to_thread.run_sync(self._call, given)
        return await value if inspect.isawaitable(value) else value

    def _call(self, given: Given) -> list[Any]:
        return [self.function(*given)]  # wrapped: Trio refuses what comes out of a thread as a bare coroutine

    def draw(self, drawing: Drawing, level: int) -> Ends:
        return drawing.add_call(self.label, level)

    def to_data(self) -> NodeData:
        if self.is_plain:
            return CallData(self.label)
        expected = f"a task: write @app.task above {self.label}; of plain functions workers know {', '.join(PLAIN)}"
        raise NotAJob("a flow that is to run on workers", f"the plain function {self.label}", expected)


def to_node(call: str, step: Any) -> Node:
    """Make a node of what a user gave as a step.

    Args:
        call: What the user called, for the error.

    Raises:
        NotAJob: It is none, and the message says what to write.
        InvalidArguments: It is a task that needs more than one argument.
    """
    given: object = step  # type checkers narrow this name only
    if isinstance(given, Node):
        return given
    step = step.job() if isinstance(given, Bound) else step
    job: object = step
    if isinstance(job, PartialJob | Job):
        return JobNode(step.unfilled if isinstance(job, PartialJob) else step)
    if isinstance(given, Coroutine):
        step.close()  # else Python would warn, far from here, that it was never awaited
        name, done = called_by(step)
        raise NotAJob(call, f"a coroutine: {done}", f"{name}, or {name}.job(...)")
    if callable(step):
        return CallNode(step)
    if isinstance(given, list | tuple):
        raise NotAJob(call, f"a {type(step).__name__}", f"its items: {call.partition('(')[0]}(*steps)")
    raise NotAJob(call, f"{step!r}, which cannot run", "a task, task.job(...), a sequence, a parallel, or a function")


def _explained(error: InvalidArguments, given: int) -> InvalidArguments:
    how = "as a step it gets one argument before its own, what the step before returned" if given else "nothing was given to it"
    return InvalidArguments(error.task, f"{error.problem} ({how})", error.signature, error.what)


def _returns_of(function: Callable[..., Any]) -> Any:
    try:
        return typing.get_type_hints(function).get("return", Any)
    except Exception:  # no function, or its hints cannot be read: then nothing is known
        return Any
