"""The app: what holds the tasks together, and the scope of a broker connection."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from anyio import CancelScope, CapacityLimiter, move_on_after, to_thread

from .brokers.gateway import Gateway
from .brokers.protocol import Broker, BrokerLimits, BrokerLocks, Describes
from .brokers.url import DEFAULT_URL, default_url, open_broker, redacted, with_store
from .client import Connection, Job, JobGroup, JobHandle
from .client.cancelling import CANCEL_WAIT_SECONDS, UNFINISHED
from .client.group import check_limit
from .client.keeping import Lock
from .client.locks import LOCK_LEASE_SECONDS, MIN_LOCK_LEASE_SECONDS, hold_lock
from .client.owner import OWNER_LEASE_SECONDS
from .client.sync import SyncClient
from .errors import AppAlreadyOpen, AppNotOpen, InvalidOptions, UnknownTask
from .events import EventListener, Events
from .model.codec import CustomType, Format
from .model.delivery import CancelAnswer
from .model.duration import Duration, to_optional_seconds, to_seconds
from .model.listing import JobFilter, LimitRecord, LockRecord, WorkerRecord
from .model.options import HARD_PAYLOAD_BYTES, GivenOptions, JobOptions, check_name, check_options
from .program import check_can_be_reached, check_is_guarded
from .registry import Registry, TaskSpec, is_async, make_spec
from .resources import Lifespan, inject, open_resources
from .task import AsyncTask, SyncTask, Task, Workflow
from .taskclass import HasRun, read_class

if TYPE_CHECKING:
    from .worker import Worker, WorkerOptions

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=type[BaseException])
F = TypeVar("F", bound=Callable[..., Any])

DURABLE_MAX_CRASHES = 100  # of a workflow that may live for months
MAX_PAYLOAD_BYTES = 1024 * 1024
CLOSE_SECONDS = 5.0
LISTED = 1_000  # limits, or locks, in one listing


class TaskOptions(GivenOptions, total=False):
    """The keywords of `@app.task(...)`: those of a job, and what belongs to the task."""

    name: str
    run_in: str
    kill_after: Duration
    raw: bool
    reply_to: str | None


class WorkflowOptions(GivenOptions, total=False):
    """The keywords of `@app.workflow(...)`: those of a job, and what belongs to the workflow."""

    name: str
    durable: bool
    undo_timeout: Duration


class App:
    """A set of tasks and the broker that their jobs go through.

    `async with app:` opens the connection; everything that submits or waits happens inside. Programs without an event loop use
    `app.sync` instead, without opening anything.

    Args:
        url: Which broker; default: the environment variable NURSERY_TASKS_BROKER, else `sqlite:///nursery-tasks.db`.
        store: The URL of the broker that keeps the jobs, where *url* is RabbitMQ (`amqp://`); without one, only the
            process that has submitted a job hears of it, see the how-to page.
        codec: What is written, `json` or `msgpack`; both are always understood.
        max_payload_bytes: Larger messages and results are refused (default 1 MiB, at most 16 MiB).
        node: This machine's name, for `.options(local=True)`; default: NURSERY_TASKS_NODE, else the host's name.
        require_workers: Let submitting raise `NoWorkers` when no live worker serves the queue.
        errors: Exception classes of yours that come back as themselves.
        owner_lease: How long the jobs that this program awaits live on when it is killed, in seconds or as a timedelta
            (default 15, at least 0.5): the broker hears from it each third of this.

    Raises:
        InvalidOptions: A setting makes no sense.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        store: str | None = None,
        codec: Format = "json",
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        node: str | None = None,
        require_workers: bool = False,
        errors: Iterable[type[BaseException]] = (),
        owner_lease: Duration = OWNER_LEASE_SECONDS,
    ) -> None:
        _check_url(url)
        if not 0 < max_payload_bytes <= HARD_PAYLOAD_BYTES:
            raise InvalidOptions("max_payload_bytes", max_payload_bytes, f"1 to {HARD_PAYLOAD_BYTES:,} bytes")
        owner_lease_seconds = to_seconds("owner_lease", owner_lease, at_least=0.5)
        self.url = url or default_url()
        if store is not None:
            self.url = with_store(self.url, store)
        self.registry = Registry(codec)
        self.events = Events()
        self.lifespans: dict[str, Lifespan] = {}  # in the order in which they are opened
        self.node = node or os.environ.get("NURSERY_TASKS_NODE") or socket.gethostname()
        self.max_payload_bytes = max_payload_bytes
        self.sync = SyncClient(
            self,
            self._sync_broker,
            self._close_sync,
            self.registry,
            self.events,
            node=self.node,
            limit_bytes=max_payload_bytes,
            require_workers=require_workers,
            owner_lease_seconds=owner_lease_seconds,
        )
        self._require_workers = require_workers
        self._owner_lease_seconds = owner_lease_seconds
        self._brokers = _SharedBroker(self.url)
        self._connection: Connection | None = None
        self._open: AbstractAsyncContextManager[None] | None = None
        for cls in errors:
            self.error(cls)

    def __repr__(self) -> str:
        return f"<App {self.shown_url} with {len(self.registry.tasks)} tasks>"

    @property
    def shown_url(self) -> str:
        """The broker's URL without its password, for people."""
        return redacted(self.url)

    # --- declaring -------------------------------------------------------------------------------------------------------

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
    def task(self, /, **given: Unpack[TaskOptions]) -> _Decorator: ...
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
            given: The defaults for its jobs; see `Task.options`.

        Raises:
            InvalidOptions: A value is out of its range, or does not suit the function.
            DuplicateTask: The name is taken.
        """
        if function is not None:
            _check_callable(function)
            return self._register(function, dict(given))
        if not given.keys() <= _TASK_WORDS:
            check_options({word: value for word, value in given.items() if word not in _OWN_WORDS})
        return _Decorator(lambda target: self._register(target, dict(given)))

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
            _check_callable(function)
            return self._register_workflow(function, dict(given))
        if not given.keys() <= _WORKFLOW_WORDS:
            check_options({word: value for word, value in given.items() if word not in _WORKFLOW_WORDS})
        return _WorkflowDecorator(lambda target: self._register_workflow(target, dict(given)))

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

    def open_resources(self, names: Iterable[str], state: dict[str, Any]) -> AbstractAsyncContextManager[None]:
        """Open resources into *state* while the context is open, with those that they need; for calls without a worker."""
        return open_resources(self.lifespans, names, state)

    # --- submitting ------------------------------------------------------------------------------------------------------

    def job(self, name: str, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Return the unsent job of a task by its name, also of one that this process has not imported."""
        spec = self.registry.tasks.get(name)
        if spec is None:
            return Job(self, name, args, kwargs, JobOptions())
        spec.signature.check(args, kwargs)
        return Job(self, name, args, kwargs, spec.options, spec.signature.returns)

    async def enqueue_many(self, jobs: Iterable[Job[Any]]) -> list[JobHandle[Any]]:
        """Submit many jobs at once, in a few calls to the broker. Raises as `Task.enqueue` does."""
        return await self.connection.enqueue_many(jobs)

    def create_task_group(self, *, limit: int | None = None) -> JobGroup:
        """Make a task group whose children are jobs, wherever they run; it reads like AnyIO's.

            async with app.create_task_group() as group:
                parts = [group.start_soon(render, scene, frame) for frame in range(240)]
            total = sum(len(part.return_value) for part in parts)

        The first child that fails, after its retries, cancels the others, queued or running, on every machine; when all have
        ended, the block raises an `ExceptionGroup`. See `JobGroup`.

        Args:
            limit: How many children may be under way at the same time; None: 1 000. The others wait here, and are not sent.

        Raises:
            InvalidOptions: The limit makes no sense.
            AppNotOpen: There is no `async with app` around this.
        """
        return JobGroup(self.connection, check_limit(limit))

    async def cancel_jobs(
        self,
        ids: Iterable[str] | None = None,
        *,
        task: str | None = None,
        tag: str | None = None,
        queue: str | None = None,
        reason: str | None = None,
        wait: Duration = CANCEL_WAIT_SECONDS,
    ) -> dict[CancelAnswer, int]:
        """Cancel many jobs: those with these ids, or all unfinished ones that match *task*, *tag* and *queue* together.

        Queued, delayed and running ones alike; what is submitted meanwhile may or may not be among them.

        Args:
            reason: Told to the handlers, and kept in the outcomes.
            wait: How long to wait for running ones to end, for each 500 of them, in seconds or as a timedelta.

        Returns:
            How many jobs came to what, see `JobHandle.cancel`.

        Raises:
            InvalidOptions: Nothing was given to choose by: cancelling everything must be asked for by a queue or a task.
            NotSupported: The broker cannot list jobs.
        """
        by_filter = not task is tag is queue is None
        if by_filter == (ids is not None):
            raise InvalidOptions("ids", ids, "either ids, or one or more of task=, tag= and queue= to choose by")
        wanted = JobFilter(states=UNFINISHED, task=task, tag=tag, queue=queue) if ids is None else list(ids)
        return await self.connection.cancel_jobs(wanted, reason, to_seconds("wait", wait))

    def lock(
        self, name: str, *, lease: Duration = LOCK_LEASE_SECONDS, wait: Duration | None = None
    ) -> AbstractAsyncContextManager[Lock]:
        """Hold a lock that all programs on this broker share, while a block runs.

            async with app.lock("reports") as lock:
                await store.write(report, fence=lock.token)

        Who waits gets it in the order of arrival. A lock is not re-entrant, and a handler that waits for one keeps its slot:
        where jobs should wait in their queue instead, give them `limits=[Concurrency(1)]`.

        Args:
            name: 1 to 200 characters without spaces.
            lease: After how long, in seconds or as a timedelta, others may have the lock when this program is killed (default
                15, at least 0.5). It is renewed each third of this, in a thread of its own.
            wait: How long to wait for it; None: for ever, 0: not at all.

        Raises:
            LockTaken: It was not free in time.
            LockLost: The lease could not be kept: the block was cancelled, or had ended without noticing.
            NotSupported: The broker has no locks.
            BrokerUnavailable: The broker did not answer when it was first asked.

        Cancellation:
            Leaves the line, or gives the lock back.
        """
        check_name("name", name)
        seconds = to_seconds("lease", lease, at_least=MIN_LOCK_LEASE_SECONDS)
        connection = self.connection
        return hold_lock(connection.gateway, connection.lock_keeper, name, seconds, to_optional_seconds("wait", wait))

    def handle(self, job_id: str, task: str = "job") -> JobHandle[Any]:
        """Make a handle on any job from its id."""
        return JobHandle(self, check_name("job_id", job_id), task)

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
        return AsyncTask(self, spec) if spec.kind == "loop" else SyncTask(self, spec)

    async def send_event(self, workflow_id: str, name: str, payload: Any = None) -> None:
        """Send an event to a durable workflow that waits for it, or will: see `wait_for_event`. Returns once it is stored.

        Args:
            workflow_id: The id of its job.
            name: The event's name; events of one name come to the workflow's waits one after the other.
            payload: Anything that can travel.

        Raises:
            UnknownJob: There is no such job.
            WorkflowEnded: It has ended.
            NoWorkflow: Its task is known here, and is no durable workflow.
            NotSerializable: The payload cannot travel.
            BrokerUnavailable: The broker did not answer; whether the event is stored is unknown.
        """
        from .workflows import send_event  # late: they are built on the app's parts

        await send_event(self.connection, check_name("workflow_id", workflow_id), name, payload)

    async def workers(self) -> list[WorkerRecord]:
        """List the live workers of this app's broker."""
        gateway = self.connection.gateway
        return await gateway.call(gateway.admin.workers)

    async def limits(self, most: int = LISTED) -> list[LimitRecord]:
        """List the limits that hold jobs or that jobs wait for, by name; nothing where the broker has none."""
        gateway = self.connection.gateway
        return await gateway.call(gateway.broker.limits, most) if isinstance(gateway.broker, BrokerLimits) else []

    async def locks(self, most: int = LISTED) -> list[LockRecord]:
        """List the locks that somebody holds or waits for, by name; nothing where the broker has none."""
        gateway = self.connection.gateway
        return await gateway.call(gateway.broker.locks, most) if isinstance(gateway.broker, BrokerLocks) else []

    async def describe_broker(self) -> dict[str, str]:
        """Return what the broker has to say of its storage, by name; nothing where it says nothing."""
        gateway = self.connection.gateway
        return await gateway.call(gateway.broker.describe) if isinstance(gateway.broker, Describes) else {}

    def subscribe(self, listener: EventListener) -> Callable[[], None]:
        """Call *listener* with every `JobEvent` of this process; returns a function that ends it."""
        return self.events.subscribe(listener)

    # --- living ----------------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The open connection of this event loop.

        Raises:
            AppNotOpen: There is none.
        """
        if self._connection is None:
            raise AppNotOpen("this call")
        if threading.get_ident() != self._connection.thread:
            raise AppNotOpen("this call, which comes from another thread than `async with app`,")
        return self._connection

    @property
    def open_connection(self) -> Connection | None:
        """The open connection, from any thread; None: there is none."""
        return self._connection

    async def __aenter__(self) -> App:
        if self._open is not None:
            raise AppAlreadyOpen
        self._open = self._serving()
        try:
            await self._open.__aenter__()
        except BaseException:
            self._open = None
            raise
        return self

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        assert self._open is not None
        opened, self._open = self._open, None
        return await opened.__aexit__(*exc_info)

    @asynccontextmanager
    async def _serving(self) -> AsyncGenerator[None, None]:
        broker = await self._acquire()
        try:
            connection = Connection(
                self,
                Gateway(broker),
                self.events,
                node=self.node,
                limit_bytes=self.max_payload_bytes,
                require_workers=self._require_workers,
                owner_lease_seconds=self._owner_lease_seconds,
            )
            async with connection.serving():
                self._connection = connection
                try:
                    yield
                finally:
                    self._connection = None
        finally:
            with move_on_after(CLOSE_SECONDS, shield=True):
                await self._in_thread(self._brokers.release)

    @contextmanager
    def use_broker(self, broker: Broker) -> Generator[None, None, None]:
        """Let the app use *broker* instead of its URL while the context is open; for tests. The app must not be open yet.

        The broker is not closed at the end.
        """
        if self._open is not None:
            raise AppAlreadyOpen
        before, self._brokers = self._brokers, _SharedBroker(broker.name, broker)
        try:
            yield
        finally:
            self._brokers = before

    async def _acquire(self) -> Broker:
        check_is_guarded("the app was opened")
        with CancelScope(shield=True):  # bounded by the broker's own timeouts; left half-way, nobody would close it
            return await self._in_thread(self._brokers.acquire)
        raise AssertionError("a shielded scope swallows nothing")

    async def _in_thread(self, call: Callable[[], R]) -> R:
        # Opening and closing a file may wait for the disk or a lock; memory: stays on the loop, for the virtual clock.
        # A limiter of its own: the program's threads may all be busy with what waits for this.
        if not self._brokers.blocking:
            return call()
        return await to_thread.run_sync(call, abandon_on_cancel=True, limiter=CapacityLimiter(1))

    def open_worker(self, **options: Unpack[WorkerOptions]) -> AbstractAsyncContextManager[Worker]:
        """Run a worker inside this program: no signal handlers, nothing left behind.

        `async with app, app.open_worker(slots=8):` works jobs off while the block runs; leaving it drains. See
        `WorkerOptions` for what can be set.
        """
        from .worker import open_worker  # late: only this method needs the worker, and the worker is built on the app's parts
        from .workflows import register_flows

        register_flows(self)
        return open_worker(self, **options)

    def _register(self, function: Callable[..., Any], given: dict[str, Any]) -> Task[Any, Any]:
        if isinstance(function, type):
            function, of_class = read_class(function, _TASK_WORDS)
            given = of_class | given
        name, run_in, kill_after, raw, reply_to = (given.pop(word, None) for word in _OWN_WORDS)
        options = JobOptions(**check_options(given))
        function = inject(function, self.lifespans, run_in)
        spec = make_spec(function, name, run_in, options, kill_after, raw=raw, reply_to=reply_to)
        self._add(spec, given)
        return AsyncTask(self, spec) if is_async(function) else SyncTask(self, spec)

    def _register_workflow(self, function: Callable[..., Any], given: dict[str, Any]) -> Workflow[Any, Any]:
        if isinstance(function, type) or not is_async(function):
            place = getattr(function, "__qualname__", repr(function))
            raise InvalidOptions("function", place, "an async def: a workflow awaits what it runs; other functions are tasks")
        name, durable, undo_timeout = given.pop("name", None), given.pop("durable", False), given.pop("undo_timeout", None)
        function = inject(function, self.lifespans, None)
        if durable:
            function = self._make_durable(function, name, given, undo_timeout)
        elif undo_timeout is not None:
            raise InvalidOptions("undo_timeout", undo_timeout, "durable=True beside it; other workflows undo nothing")
        spec = make_spec(function, name, None, JobOptions(**check_options(given)))
        self._add(replace(spec, workflow=True, durable=bool(durable)), given)
        return Workflow(self, self.registry.tasks[spec.name])

    def _make_durable(
        self, function: Callable[..., Any], name: str | None, given: dict[str, Any], undo_timeout: Duration | None
    ) -> Callable[..., Any]:
        from .workflows import UNDO_SECONDS, UNDO_TASK, make_durable, make_undo  # late: they are built on the app's parts

        if given.get("retry") is not None:
            expected = "none: a durable workflow is run again when its worker dies; give retries to what it runs"
            raise InvalidOptions("retry", given["retry"], expected)
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

    def _sync_broker(self) -> Broker:
        check_is_guarded("app.sync was used")
        check_can_be_reached(self.shown_url, not self._brokers.blocking)
        return self._brokers.keep()

    def _close_sync(self) -> None:
        self._brokers.let_go()


class _Decorator:
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


class _WorkflowDecorator:
    """What `@app.workflow(...)` with parentheses gives."""

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]:
        workflow: Workflow[P, R] = self._register(function)
        return workflow


class _SharedBroker:
    """The app's one broker object, shared by the connection and the sync client, closed by the last that needs it.

    The sync client has no scope that could end, so what it opened stays open until `app.sync.close()` or the process's end.
    """

    def __init__(self, url: str, broker: Broker | None = None) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._users = 0
        self._foreign = broker is not None  # whoever made it closes it
        self._kept = False
        self._broker: Broker | None = broker

    @property
    def blocking(self) -> bool:
        return self._broker.blocking if self._broker is not None else not self._url.startswith("memory:")

    def acquire(self) -> Broker:
        with self._lock:
            self._users += 1
            return self._opened()

    def keep(self) -> Broker:
        with self._lock:
            self._kept = True
            return self._opened()

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            self._close_if_unused()

    def let_go(self) -> None:
        with self._lock:
            self._kept = False
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not self._users and not self._kept and not self._foreign and self._broker is not None:
            self._broker.close()
            self._broker = None

    def _opened(self) -> Broker:
        if self._broker is None:
            self._broker = open_broker(self._url)
        return self._broker


def _check_url(url: object) -> None:
    given = url
    if url is not None and not isinstance(url, str):
        meant = f"sqlite:///{url}" if isinstance(url, os.PathLike) else DEFAULT_URL
        raise InvalidOptions("url", given, f"a broker's URL as a text, such as {meant!r}")


def _check_callable(function: object) -> None:
    if isinstance(function, str):
        raise InvalidOptions("function", function, f"a function; a task's name is given by @app.task(name={function!r})")
    if not callable(function):
        raise InvalidOptions(
            "function", function, "a function or a class; options are given by name, as in @app.task(timeout=10)"
        )


_OWN_WORDS = ("name", "run_in", "kill_after", "raw", "reply_to")  # what belongs to the task and not to each job
_TASK_WORDS = GivenOptions.__annotations__.keys() | set(_OWN_WORDS)
_WORKFLOW_WORDS = GivenOptions.__annotations__.keys() | {"name", "durable", "undo_timeout"}
