"""Tasks: functions that can be called here as always, or submitted to run elsewhere."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar, Unpack, overload

from .client import Job, JobHandle, PartialJob
from .client.broadcast import Broadcast, send_broadcast
from .client.job import named
from .client.ports import Connected
from .current import current_job_or_none
from .errors import InvalidArguments, InvalidOptions
from .model.message import Message
from .model.options import GivenOptions, JobOptions
from .registry import AWAY, TaskSpec
from .resources import resources_of

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
L = TypeVar("L")  # what a batch task's function returns: a list of R, or None

_ENQUEUE: Final = "`await {name}.enqueue(...)`, and `app.sync.enqueue({name}.job(...))` in a program without an event loop"
_RUN: Final = "`await {name}.run(...)`, and `app.sync.run({name}.job(...))` in a program without an event loop"
_OTHER_WORDS: Final = {  # what other libraries call it -> what it is here
    **dict.fromkeys(("delay", "send", "kiq", "defer", "queue", "submit", "enqueue_job", "perform_async"), _ENQUEUE),
    **dict.fromkeys(
        ("apply_async", "send_with_options", "kicker", "schedule"), "`await {name}.options(delay=60).enqueue(...)`"
    ),
    **dict.fromkeys(("s", "si", "signature", "subtask", "message"), "`{name}.job(...)`"),
    **dict.fromkeys(("apply", "call_local"), "`await {name}.run_local(...)`"),
    **dict.fromkeys(("get", "call", "result"), _RUN),
    "configure": "`{name}.options(...)`",
    "map": "`await app.enqueue_many([{name}.job(item) for item in items])`",
}
_KEYED: Final = ("limits", "ordering_key", "debounce", "throttle")
_TO_COME: Final = object()  # an argument that the step before will bring


class Bound(Generic[P, R]):
    """A task with options: what `.options(...)` returns, and the base of `Task`."""

    def __init__(self, app: Connected, spec: TaskSpec, options: JobOptions) -> None:
        self._app = app
        self.spec = spec
        self._options = options

    @property
    def name(self) -> str:
        """What messages call the task."""
        return self.spec.name

    def options(self, **given: Unpack[GivenOptions]) -> Bound[P, R]:
        """Return the task with other options; the task itself stays as it is.

        Args:
            queue: The queue's name.
            local: Only workers on this node may run the job.
            priority: 0 (default) to 9; higher goes first among the ready jobs of a queue.
            timeout: The longest that one attempt may run, in seconds or as a timedelta; None: no limit. A process is killed, an
                `async def` is cancelled, a thread is asked (`check_cancelled()`), and an interpreter can have none.
            retry: A `Retry`, or a number of attempts; None: never again.
            delay: How long from now the job may not start.
            at: The moment before which the job must not start, a datetime with a time zone; wins over the delay.
            expires: How long the job may wait for its start, from the moment it may start; None: for ever.
            result_ttl: How long the outcome is kept (default one day).
            key: While a job of this task with the same key has not ended, no other is stored.
            id: The job's id; submitting the same id again stores nothing, so a submission can be repeated safely.
            tags: Words to find the job by.
            max_crashes: After how many workers that died under it the job is put aside (default 3).
            limits: `Concurrency(...)` and `RateLimit(...)`: how many jobs may run at once, or start in a time. They replace
                those of the task.
            ordering_key: Jobs of one key start one at a time, in the order of their submission: a template over the task's
                parameters, such as `"{account}"`, a function of the job's arguments, or an `OrderingKey`; None: no order.
            delivery: `at_least_once` (default), or `at_most_once`: the handler is never started twice. Its start is stored
                before it runs, and a job whose worker is lost after that is dead. It has no `retry`.
            debounce: `Debounce(...)`: the job waits until nobody has submitted the same for some time, and the last one runs.
            throttle: `Throttle(...)`: the first one runs, and the same is not stored again for some time. None takes either
                away from the task for this job.
            headers: A dict of texts that travels with the job, and with those that its handler submits; it is read there in
                `current_job().headers`. Names are in lower case, and all is at most 16 KiB. They replace those of the task.

        Raises:
            InvalidOptions: A value is out of its range, an option does not exist, or it does not go with another one.
        """
        options = self._options.changed_by(given)
        timeout = given.get("timeout")
        if self.spec.batch is not None and timeout is not None:
            expected = "it where the task is declared: a batch is one call for many jobs, with one time limit"
            raise InvalidOptions("timeout", timeout, expected)
        if not given.keys().isdisjoint(_KEYED):
            for keyed in options.keyed:
                keyed.check_parameters(self.name, self.spec.signature.parameters)
        return Bound(self._app, self.spec, options)

    @overload
    def job(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    def job(self: Bound[Concatenate[Any, Q], R], /, *args: Q.args, **kwargs: Q.kwargs) -> PartialJob[R]: ...
    def job(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return the unsent job. Where only the first argument is missing, it is a `PartialJob`, for a step of a `sequence`.

        Raises:
            InvalidArguments: The arguments do not fit the function (a `TypeError`).
        """
        signature = self.spec.signature
        job: Job[R] = Job(self._app, self.spec.name, args, kwargs, self._options, signature.returns)
        try:
            signature.check_call(args, kwargs, self._app.registry.codec)
        except InvalidArguments as missing:
            try:
                signature.check_call((_TO_COME, *args), kwargs, self._app.registry.codec)
            except InvalidArguments:
                raise missing from None
            return PartialJob(job, missing)
        return job

    def _whole_job(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job[R]:
        self.spec.signature.check_call(args, kwargs, self._app.registry.codec)
        return Job(self._app, self.spec.name, args, kwargs, self._options, self.spec.signature.returns)

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, JobHandle[R]]:
        """Submit a job, detached: it outlives this caller. Returns once the broker holds it.

        While its queue is full (`app.queue(..., max_length=)`), it waits for room, in a handler with its slot given back.

        Raises:
            InvalidArguments: The arguments do not fit the function; nothing was sent.
            NotSerializable, PayloadTooLarge: They cannot travel; nothing was sent.
            BrokerUnavailable: The broker did not answer; whether it holds the job is unknown. With `.options(id=...)` the
                call can be repeated safely.
            AppNotOpen: There is no `async with app` around this.

        Cancellation:
            Ends the wait for room, and nothing is submitted.
        """
        return named(self._enqueue(args, kwargs), self.name, "enqueue")

    def enqueue_nowait(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, JobHandle[R]]:
        """Submit a job as `enqueue` does, and never wait for room.

        Raises:
            QueueFull: Its queue has none; nothing was submitted.
            Exception: What `enqueue` raises.
            NotSupported: In the function of a durable workflow, where another run could find another answer.
        """
        return named(self._enqueue_nowait(args, kwargs), self.name, "enqueue_nowait")

    def broadcast(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Broadcast[R]]:
        """Submit a job once for each live worker that serves the task's queue, detached. See `App.broadcast`."""
        return named(self._broadcast(args, kwargs), self.name, "broadcast")

    async def _broadcast(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Broadcast[R]:
        job = self._whole_job(args, kwargs)
        return await send_broadcast(self._app.connection, job)

    async def _enqueue(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobHandle[R]:
        job = self._whole_job(args, kwargs)
        [receipt] = await self._app.connection.enqueue([job])
        return job.handle_on(receipt)

    async def _enqueue_nowait(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobHandle[R]:
        job = self._whole_job(args, kwargs)
        return job.handle_on(await self._app.connection.enqueue_nowait(job))

    def run(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Submit a job, owned, and wait for its result: the job belongs to the scope around this `await`.

        Raises:
            Exception: The job's own error, or `RemoteError` where its class is not registered here; and what `enqueue` raises.
            JobTimedOut, JobCancelled, JobExpired, JobDead: It ended like that.

        Cancellation:
            Cancels the job, and waits until it is gone (at most 10 s) before the cancellation goes on.
        """
        return named(self._run(args, kwargs), self.name, "run")

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        job = self._whole_job(args, kwargs)  # first: wrong arguments are told also where no app is open
        result: R = await self._app.connection.run(job)
        return result

    async def run_local(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task here, in this program, without a broker: same conversions, same timeout, no retries.

        Inside, `current_job().queue` and `.worker` are None. Resources that the task wants are opened for the call;
        in a job, those of its worker are there. A task of a process gets a process for this call.

        Raises:
            InvalidArguments: The arguments do not fit the function or its annotations.
            NotSerializable: They could not travel.
            JobTimedOut: It ran longer than its timeout.
            Exception: What the function raised.
        """
        return await self.attempt_local(args, kwargs)

    async def attempt_local(self, args: Sequence[Any], kwargs: Mapping[str, Any], attempt: int = 1) -> R:
        """Do the same as attempt number *attempt*; for flows."""
        from .execution.here import run_away, run_here

        codec, signature = self._app.registry.codec, self.spec.signature
        signature.check(args, kwargs)
        message = Message(task=self.name, args=list(args), kwargs=dict(kwargs))
        payload = codec.encode(f"an argument of {self.name}", message)
        received = codec.decode_message(payload)
        converted, named = signature.convert(received.args, received.kwargs, codec)
        if self.spec.batch is not None and self.spec.kind in AWAY:
            payload = codec.encode(f"an argument of {self.name}", Message(task=self.name, args=[[*args, *kwargs.values()]]))
        result: R
        if self.spec.kind in AWAY:
            result = await run_away(self.spec, payload, self._app.registry, self._options.timeout_seconds, attempt)
            return result
        around = current_job_or_none()
        state = dict(around.state) if around else {}
        async with self._app.open_resources(resources_of(self.spec.function).values(), state):
            result = await run_here(self.spec, converted, named, self._options.timeout_seconds, state, attempt)
        return result

    if not TYPE_CHECKING:  # a type checker knows that there is no such attribute

        def __getattr__(self, word: str) -> Any:
            """Say what other libraries' words are called here."""
            meant = _OTHER_WORDS.get(word, "").format(name=self.__dict__["spec"].name if "spec" in self.__dict__ else "task")
            raise AttributeError(f"a task has no {word!r}" + (f": here it is {meant}" if meant else ""), name=word, obj=self)

    def handle(self, job_id: str) -> JobHandle[R]:
        """Make a handle on a job of this task from its id."""
        return JobHandle(self._app, job_id, self.spec.name, self.spec.signature.returns)


class Task(Bound[P, R]):
    """A registered function. Calling it is still a plain call; `.enqueue` and `.run` make jobs."""

    def __init__(self, app: Connected, spec: TaskSpec) -> None:
        super().__init__(app, spec, spec.options)
        # Not the function's own attributes: one named like a method here (`job`, `options`) would hide it.
        functools.update_wrapper(typing.cast("Callable[..., Any]", self), spec.function, updated=())

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class AsyncTask(Task[P, R]):
    """A task made from an `async def`."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function itself, here."""
        coroutine: Coroutine[Any, Any, R] = self.spec.function(*args, **kwargs)
        return coroutine


class Workflow(AsyncTask[P, R]):
    """A task made by `@app.workflow`: an `async def` that runs other tasks. It is submitted, awaited and cancelled like any."""

    @property
    def durable(self) -> bool:
        """Whether it goes on where it was when its worker dies."""
        return self.spec.durable

    def __repr__(self) -> str:
        return f"<Workflow {self.name}>"


class SyncTask(Task[P, R]):
    """A task made from a `def`."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, here."""
        result: R = self.spec.function(*args, **kwargs)
        return result


class AsyncBatchTask(Task[[T], R], Generic[T, R, L]):
    """A task made from an `async def` with `batch=`: a job has one item, a call has a list of them."""

    def __call__(self, items: list[T], /) -> Coroutine[Any, Any, L]:
        """Call the function itself, here."""
        coroutine: Coroutine[Any, Any, L] = self.spec.function(items)
        return coroutine


class SyncBatchTask(Task[[T], R], Generic[T, R, L]):
    """A task made from a `def` with `batch=`."""

    def __call__(self, items: list[T], /) -> L:
        """Call the function itself, here."""
        results: L = self.spec.function(items)
        return results
