"""What an app declares: its tasks and workflows, its errors and types, and what its workers open for them."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from .client import Connection, Job
from .client.job import check_job
from .errors import InvalidArguments, InvalidOptions, UnknownTask
from .middleware import Around
from .model.batch import Batch
from .model.codec import CustomType, Format
from .model.duration import Duration, to_seconds
from .model.keys import Key
from .model.options import AT_MOST_ONCE, NOT_DURABLE, DefaultOptions, JobOptions, check_options
from .model.queue import Queue, declare_queue
from .model.slips import SCHEDULE_ONLY, TASK_ONLY, WORKFLOW_ONLY
from .registry import Registry, TaskSpec, is_async, make_spec
from .resources import Lifespan, inject, open_resources
from .task import AsyncBatchTask, AsyncTask, SyncBatchTask, SyncTask, Task, Workflow
from .taskclass import HasRun, read_class

if TYPE_CHECKING:
    from .client.schedules import DeclaredSchedule
    from .model.stage import Stage
    from .scheduling import AnySpec
    from .scheduling.policies import CatchUp, Overlap

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
E = TypeVar("E", bound=type[BaseException])
F = TypeVar("F", bound=Callable[..., Any])

DURABLE_MAX_CRASHES = 100  # of a workflow that may live for months


class ScheduleOptions(TypedDict, total=False):
    """The keywords of `@app.task(schedule=...)` beside it; see `App.schedule`."""

    schedule: AnySpec | Sequence[AnySpec]
    jitter: Duration
    overlap: Overlap
    catch_up: CatchUp | Duration
    pause_on_failure: bool


class TaskOptions(DefaultOptions, ScheduleOptions, total=False):
    """The keywords of `@app.task(...)`: what its jobs have in common, and what belongs to the task."""

    name: str
    run_in: str
    kill_after: Duration
    raw: bool
    reply_to: str | None


class WorkflowOptions(DefaultOptions, ScheduleOptions, total=False):
    """The keywords of `@app.workflow(...)`: what its jobs have in common, and what belongs to the workflow."""

    name: str
    durable: bool
    undo_timeout: Duration


class Declarations(ABC):
    """The half of an app that needs no broker: what it declares, and what it looks up there.

    Attributes:
        registry: The tasks.
        lifespans: What a worker opens, by name, in the order in which it does.
        declared_schedules: What its workers put when they start, by name.
    """

    def __init__(self, codec: Format) -> None:
        self.registry = Registry(codec)
        self.lifespans: dict[str, Lifespan] = {}
        self.declared_schedules: dict[str, DeclaredSchedule] = {}

    @property
    @abstractmethod
    def connection(self) -> Connection:
        """The open connection of this event loop, for jobs of what is declared here.

        Raises:
            AppNotOpen: There is none.
        """

    @property
    @abstractmethod
    def open_connection(self) -> Connection | None:
        """The open connection, from any thread; None: there is none."""

    @overload
    def task(  # type: ignore[overload-overlap]
        self, cls: type[HasRun[P, Coroutine[Any, Any, R]]], /, **given: Unpack[TaskOptions]
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, cls: type[HasRun[P, R]], /, **given: Unpack[TaskOptions]) -> SyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, /, *, batch: Batch, **given: Unpack[TaskOptions]) -> _BatchDecorator: ...
    @overload
    def task(self, /, **given: Unpack[TaskOptions]) -> TaskDecorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **given: Any) -> Any:
        """Register a function as a task, with or without parentheses; or a class, as in `fetch = app.task(Fetch)`.

        An `async def` runs on the worker's event loop; a `def` in a thread of the worker's, or where *run_in* says. A class
        derives from `TaskClass` and has a method `run`; its attributes give options, which those given here outweigh.

        A process can be killed and has a GIL of its own, so it suits what computes. Its function is found by importing its
        module in the process, so it has to stand at the top of one, and a program's own module must start the program only
        under `if __name__ == "__main__":`. It has no lifespans (`current_job().state` is empty there).

        Args:
            function: The function, or the class.
            name: What messages call it; default: the function's name.
            run_in: `thread` (default), `process` or `interpreter` for a `def`; `loop` for an `async def`.
            kill_after: How long a handler in a process that was cancelled, or whose time is over, may take to end when
                `check_cancelled()` asks it to (default 2 s); then its processes are killed.
            raw: Other programs may put anything into the task's queue, and it becomes the one argument: as it is where the
                parameter is `bytes`, as text where it is `str`, and else as JSON of the parameter's type.
            reply_to: Where the results of what is raw go, for the other programs to read.
            batch: A `Batch`: one call gets the arguments of many jobs, in a list, and returns a list of their results.
            given: The defaults for its jobs; see `Task.options`. `id` and `at` belong to a call.

        Raises:
            InvalidOptions: A value is out of its range, or does not suit the function.
            DuplicateTask: The name is taken.
        """
        if function is not None:
            return self._register(function, dict(given))
        check_options(given, "task", (*TASK_ONLY, *SCHEDULE_ONLY))
        decorator = _BatchDecorator if given.get("batch") is not None else TaskDecorator
        return decorator(lambda target: self._register(target, dict(given)))

    @overload
    def workflow(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def workflow(self, /, **given: Unpack[WorkflowOptions]) -> _WorkflowDecorator: ...
    def workflow(self, function: Callable[..., Any] | None = None, /, **given: Any) -> Any:
        """Register an `async def` as a workflow, with or without parentheses: a task whose work is to run other tasks.

            @app.workflow
            async def movie(scene: str, frames: int) -> int:
                async with app.create_task_group() as group:
                    parts = [group.start_soon(render, scene, frame) for frame in range(frames)]
                return sum(len(part.return_value) for part in parts)

        Inside, everything is plain Python: `await task.run(...)`, loops, `try`, AnyIO's scopes, other workflows. What it awaits
        belongs to it and ends with it, and while it waits it holds no slot. It is submitted, awaited and cancelled like a task.

        With `durable=True` it survives its workers: after `kill -9` at any point another worker runs the function again. What
        has ended answers from its stored outcome, what runs is joined, nothing is started twice; `step`, `sleep` and
        `wait_for_event` do the same for what is no job. The function must make the same calls again: see the guide.

        Args:
            function: The function.
            name: What messages call it; default: the function's name.
            durable: Whether it survives its workers.
            undo_timeout: The budget of what `step.undo_with` has asked for, in seconds or as a timedelta (default 60).
            given: The defaults for its jobs; see `Task.options`. A durable workflow has no `retry`, which belongs to what it
                runs, and a `max_crashes` of 100.

        Raises:
            InvalidOptions: It is no `async def`, or a value is out of its range.
            DuplicateTask: The name is taken.
        """
        if function is not None:
            return self._register_workflow(function, dict(given))
        check_options(given, "workflow", _WORKFLOW_OWN)
        return _WorkflowDecorator(lambda target: self._register_workflow(target, dict(given)))

    def schedule(
        self,
        name: str,
        job: Job[Any],
        when: AnySpec | Sequence[AnySpec],
        *,
        jitter: Duration = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        overlap: Overlap = "allow",
        catch_up: CatchUp | Duration = "one",
        pause_on_failure: bool = False,
    ) -> None:
        """Declare a schedule: each worker of this app puts it into the broker when it starts, and any worker runs it.

            app.schedule("nightly", report.job("all"), cron("0 2 * * *", tz="Europe/Rome"), overlap="skip")

        What is taken out of the code stays in the broker until it is removed. `app.schedules.put` stores one at once, without
        any code. A task that takes no arguments can say so itself: `@app.task(schedule=every(0.5))`.

        Args:
            name: At most 150 characters without spaces. A run's id is this name and its moment.
            job: What each run is. It has no `id`, `at`, `delay` or `local`.
            when: `every(...)`, `cron(...)`, `at(...)`, `sun(...)`, or a list of them.
            jitter: The most by which a run is moved, in seconds or as a timedelta; the same for one slot everywhere.
            start, end: The first and the last moment that counts.
            limit: How many runs there are at most.
            overlap: What happens at a slot while an earlier run has not ended: `allow`, `skip`, `queue_one`, `queue_all` (they
                wait for it), or `cancel` (it is cancelled, and the new one starts when it has ended).
            catch_up: Which slots get a run that nobody was there for: the last `one`, `all`, `none`, or those not older than so
                many seconds or a timedelta.
            pause_on_failure: A run that has failed pauses the schedule.

        Raises:
            InvalidOptions: A value makes no sense, or the name is taken by another schedule.
        """
        from .client.schedules import declared_schedule  # late: most apps have none

        check_job("app.schedule()", job)
        declared = declared_schedule(
            name,
            job,
            when,
            jitter=jitter,
            start=start,
            end=end,
            limit=limit,
            overlap=overlap,
            catch_up=catch_up,
            pause_on_failure=pause_on_failure,
        )
        known = self.declared_schedules.get(name)
        if known is not None and known.job.task != job.task:
            raise InvalidOptions("name", name, f"another name: this one is the schedule of {known.job.task}")
        self.declared_schedules[name] = declared

    def queue(
        self,
        name: str,
        *,
        max_length: int | None = None,
        fair_by: Key | None = None,
        weights: Mapping[Any, float] | None = None,
    ) -> Queue:
        """Declare what is special about a queue; one that is not declared takes any number of jobs.

            app.queue("mail", max_length=10_000)
            app.queue("reports", fair_by="{tenant}", weights={"big": 2})

        It holds for what this program submits, so every program that submits there declares the same.

        Args:
            name: The queue's name.
            max_length: How many jobs may wait there, scheduled and ready ones. While it is full, `enqueue` and `run` wait for
                room, and `enqueue_nowait` raises `QueueFull`. Jobs that come back, and runs of schedules, are never refused.

            fair_by: Jobs of one priority take turns among the values of this: a template over the parameters of their tasks,
                such as `"{tenant}"`, or a function that is called with a job's arguments. It is made when the job is submitted.
            weights: How many turns a value gets, from 0.01 to 100, where it is not one.

        Raises:
            InvalidOptions: A value makes no sense, or something else was declared of this queue before.
        """
        queue = declare_queue(name, max_length, fair_by, weights)
        self.registry.add_queue(queue)
        return queue

    def error(self, cls: E) -> E:
        """Register an exception class of yours, so that jobs' errors come back as it; also usable as a decorator."""
        self.registry.add_error(cls)
        return cls

    def register_type(self, cls: type[R], *, encode: Callable[[R], Any], decode: Callable[[Any], R]) -> None:
        """Let values of a class and its subclasses travel: *encode* makes plain data of one, *decode* the reverse.

        Raises:
            InvalidOptions: It is no class, or one that travels without this.
        """
        self.registry.add_type(CustomType(cls, encode, decode))

    def lifespan(self, function: F) -> F:
        """Register a resource of the worker, opened before its first job and closed after its last; a decorator.

        What it yields is `current_job().state["<function name>"]` in every handler, and the value of parameters that
        have `resource(<function>)` as their default.

        Args:
            function: An async generator function that yields once, or one that returns an async context manager. It takes no
                argument, or the app, and resources that were registered before it.

        Raises:
            InvalidOptions: It is something else.
        """
        self.lifespans[function.__name__] = Lifespan(function, self, self.lifespans)
        return function

    @overload
    def middleware(self, function: F, /) -> F: ...
    @overload
    def middleware(self, /, *, around: Around = "attempt") -> Callable[[F], F]: ...
    def middleware(self, function: Any = None, /, *, around: Around = "attempt") -> Any:
        """Put a context manager around each attempt, or around each submission; the first one is the outermost.

            @app.middleware
            async def timed(job: CurrentJob) -> AsyncGenerator[None, None]:
                began = time.monotonic()
                yield
                job.log.info("took %.3f s", time.monotonic() - began)

        Around an attempt it gets the `CurrentJob`, and runs on the worker's loop inside of the attempt's time limit; what it
        raises is what the attempt fails with. With `around="submission"` it gets an `OutgoingJob`, whose headers it may change;
        what it raises before raises where the job is submitted, and nothing is stored.

        Args:
            function: An async generator function that yields once, or what returns an (async) context manager.

        Raises:
            InvalidOptions: It is none.
        """
        if function is not None:
            self.registry.middleware.add(function, around)
            return function

        def add(function: F) -> F:
            self.registry.middleware.add(function, around)
            return function

        return add

    def open_resources(self, names: Iterable[str], state: dict[str, Any]) -> AbstractAsyncContextManager[None]:
        """Open resources into *state* while the context is open, with those that they need; for calls without a worker."""
        return open_resources(self.lifespans, names, state)

    def tasks(self) -> list[Task[Any, Any]]:
        """List the registered tasks, by name."""
        return [self.get_task(name) for name in sorted(self.registry.tasks)]

    def get_task(self, name: str) -> Task[Any, Any]:
        """Return a registered task.

        Raises:
            UnknownTask: It is not registered; the message says what may have been meant.
        """
        spec = self.registry.tasks.get(name)
        if spec is None:
            raise UnknownTask(name, self.registry.tasks)
        if spec.workflow:
            return Workflow(self, spec)
        return self._make_task(spec)

    def _register(self, function: Callable[..., Any], given: dict[str, Any], stage: Stage | None = None) -> Task[Any, Any]:
        _check_callable(function)
        if isinstance(function, type):
            function, of_class = read_class(function, _TASK_WORDS)
            given = of_class | given
        schedule = _take_schedule(given)
        options = JobOptions(**check_options(given, "task", TASK_ONLY))
        name, run_in, kill_after, raw, reply_to, batch = (given.pop(word, None) for word in TASK_ONLY)
        _check_signature(function)
        function = inject(function, self.lifespans, run_in)
        spec = make_spec(function, name, run_in, options, kill_after, raw=raw, reply_to=reply_to, batch=batch, stage=stage)
        self._add(spec, given)
        task = self._make_task(spec)
        self._declare(task, schedule)
        return task

    def _make_task(self, spec: TaskSpec) -> Task[Any, Any]:
        if spec.batch is not None:
            kind = AsyncBatchTask[Any, Any, Any] if spec.kind == "loop" else SyncBatchTask[Any, Any, Any]
            return kind(self, spec)
        return AsyncTask(self, spec) if spec.kind == "loop" else SyncTask(self, spec)

    def _register_workflow(self, function: Callable[..., Any], given: dict[str, Any]) -> Workflow[Any, Any]:
        _check_callable(function)
        if isinstance(function, type) or not is_async(function):
            place = getattr(function, "__qualname__", repr(function))
            raise InvalidOptions("function", place, "an async def: a workflow awaits what it runs; other functions are tasks")
        schedule = _take_schedule(given)
        name, durable, undo_timeout = given.pop("name", None), given.pop("durable", False), given.pop("undo_timeout", None)
        function = inject(function, self.lifespans, None)
        if durable:
            function = self._make_durable(function, name, given, undo_timeout)
        elif undo_timeout is not None:
            raise InvalidOptions("undo_timeout", undo_timeout, "durable=True beside it; other workflows undo nothing")
        spec = make_spec(function, name, None, JobOptions(**check_options(given, "workflow")))
        self._add(replace(spec, workflow=True, durable=bool(durable)), given)
        workflow = Workflow[Any, Any](self, self.registry.tasks[spec.name])
        self._declare(workflow, schedule)
        return workflow

    def _declare(self, task: Task[Any, Any], schedule: dict[str, Any]) -> None:
        """Declare the schedule that a task's own decorator has given."""
        if not schedule:
            return
        when = schedule.pop("schedule")
        try:
            check_job("schedule", job := task.job())
        except InvalidArguments as error:
            meant = f"app.schedule({task.name!r}, {task.name}.job(...), ...)"
            raise InvalidOptions("schedule", when, f"a task without arguments; {meant} gives them ({error.problem})") from None
        self.schedule(task.name, job, when, **schedule)

    def _make_durable(
        self, function: Callable[..., Any], name: str | None, given: dict[str, Any], undo_timeout: Duration | None
    ) -> Callable[..., Any]:
        from .workflows import UNDO_SECONDS, UNDO_TASK, make_durable, make_undo  # late: they are built on the app's parts

        if given.get("retry") is not None:
            expected = "none: a durable workflow is run again when its worker dies; give retries to what it runs"
            raise InvalidOptions("retry", given["retry"], expected)
        if given.get("delivery") == AT_MOST_ONCE:
            raise InvalidOptions("delivery", AT_MOST_ONCE, NOT_DURABLE)
        given.setdefault("max_crashes", DURABLE_MAX_CRASHES)
        if UNDO_TASK not in self.registry.own:
            undoing = make_durable(self, UNDO_TASK, make_undo(self), 0.0)
            spec = make_spec(undoing, UNDO_TASK, None, JobOptions(max_crashes=DURABLE_MAX_CRASHES))
            self.registry.own[UNDO_TASK] = replace(spec, workflow=True, durable=True)
        seconds = UNDO_SECONDS if undo_timeout is None else to_seconds("undo_timeout", undo_timeout, at_least=0.001)
        return make_durable(self, name or function.__name__, function, seconds)

    def _add(self, spec: TaskSpec, given: dict[str, Any]) -> None:
        self.registry.add(spec)
        for cls in getattr(given.get("retry"), "classes", ()):  # errors that a policy names are known here
            self.error(cls)


class TaskDecorator:
    """What `@app.task(...)` with parentheses gives: a decorator that is typed by what it gets."""

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    @overload
    def __call__(self, cls: type[HasRun[P, Coroutine[Any, Any, R]]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, cls: type[HasRun[P, R]], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        return self._register(function)


class _BatchDecorator:
    """What `@app.task(batch=...)` gives."""

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    @overload
    def __call__(self, function: Callable[[list[T]], Coroutine[Any, Any, None]], /) -> AsyncBatchTask[T, None, None]: ...
    @overload
    def __call__(
        self, function: Callable[[list[T]], Coroutine[Any, Any, list[R | Exception]]], /
    ) -> AsyncBatchTask[T, R, list[R | Exception]]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], Coroutine[Any, Any, list[R]]], /) -> AsyncBatchTask[T, R, list[R]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[T]], Coroutine[Any, Any, list[R] | None]], /
    ) -> AsyncBatchTask[T, R | None, list[R] | None]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], None], /) -> SyncBatchTask[T, None, None]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], list[R | Exception]], /) -> SyncBatchTask[T, R, list[R | Exception]]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], list[R]], /) -> SyncBatchTask[T, R, list[R]]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], list[R] | None], /) -> SyncBatchTask[T, R | None, list[R] | None]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        return self._register(function)


class _WorkflowDecorator:
    """What `@app.workflow(...)` with parentheses gives."""

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]:
        workflow: Workflow[P, R] = self._register(function)
        return workflow


def _check_signature(function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function)
    except ValueError:  # some of Python's own have none
        name = getattr(function, "__name__", "it")
        expected = f"a function whose parameters can be seen: write `def my_{name}(...): return {name}(...)` around it"
        raise InvalidOptions("function", name, expected) from None


def _check_callable(function: object) -> None:
    if isinstance(function, str):
        raise InvalidOptions("function", function, f"a function; a task's name is given by @app.task(name={function!r})")
    if not callable(function):
        raise InvalidOptions(
            "function", function, "a function or a class; options are given by name, as in @app.task(timeout=10)"
        )
    if isinstance(function, Task):
        text = f"a function: {function.name} is a task already, by another decorator"
        raise InvalidOptions("function", cast("object", function), text)


def _take_schedule(given: dict[str, Any]) -> dict[str, Any]:
    """Take what is of a schedule out of a task's options."""
    schedule: dict[str, Any] = {word: given.pop(word) for word in SCHEDULE_ONLY if word in given}
    if schedule and schedule.get("schedule") is None:
        word, value = next(iter(schedule.items()))
        raise InvalidOptions(word, value, "schedule=cron(...), or every(...), beside it")
    return schedule


_WORKFLOW_OWN = ("name", *WORKFLOW_ONLY, *SCHEDULE_ONLY)
_TASK_WORDS = DefaultOptions.__annotations__.keys() | set(TASK_ONLY) | set(SCHEDULE_ONLY)
