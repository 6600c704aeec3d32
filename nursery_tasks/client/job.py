"""A job that is not sent yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import Any, Generic, NoReturn, TypeVar, Unpack, cast

import msgspec

from ..current import current_job_or_none
from ..errors import InvalidArguments, InvalidOptions, NotAJob, PayloadTooLarge
from ..model.delivery import Receipt, Submission
from ..model.headers import inherited
from ..model.limits import limits_for_job
from ..model.message import Message
from ..model.options import AT_MOST_ONCE, NOT_DURABLE, GivenOptions, JobOptions
from ..model.queue import FairBy
from ..model.retry import RetryRule
from .handle import JobHandle
from .ports import Connected, Recorder

R_co = TypeVar("R_co", covariant=True)


NEVER_AGAIN = RetryRule(attempts=1)  # on the wire no rule means the task's own


def named(coroutine: Coroutine[Any, Any, R_co], task: str, call: str) -> Coroutine[Any, Any, R_co]:
    """Give a coroutine the name that Python's warning shows when nobody awaits it."""
    any_coroutine: Any = coroutine  # typing's has no name
    any_coroutine.__qualname__ = f"{task}.{call}(...)`; write `await`, or without a loop `app.sync.{call}({task}.job(...))"
    return coroutine


def called_by(coroutine: object) -> tuple[str, str]:
    """Return the task whose call gave a coroutine, and what that call does, for an error about it."""
    marked = re.fullmatch(r"(\S+)\.(\w+)\(\.\.\.\)`;.*", getattr(coroutine, "__qualname__", ""))  # see `named`
    if marked:
        return marked[1], f"{marked[1]}.{marked[2]}(...) submits the job itself"
    name = getattr(coroutine, "__name__", "task")
    return name, f"{name}(...) calls the function itself"


class Job(Generic[R_co]):
    """A task with its arguments and options, not sent. It can be sent more than once; each time is a new job.

    Make one with `task.job(...)`, or with `app.job("name", ...)` for a task that this process has not imported.
    """

    __slots__ = ("_app", "args", "fingerprint", "kwargs", "options", "returns", "task")

    def __init__(
        self,
        app: Connected,
        task: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: JobOptions,
        returns: Any = Any,
        fingerprint: str | None = None,
    ) -> None:
        self._app = app
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.options = options
        self.returns = returns
        self.fingerprint = fingerprint  # of the version of the task that the arguments are for; None: this process's own

    def __repr__(self) -> str:
        shown = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"<Job {self.task}({', '.join(shown)})>"

    def __await__(self) -> Generator[Any, Any, R_co]:
        """Refuse: awaiting an unsent job would hide whether it is owned or detached."""
        raise TypeError(f"{self!r} is not sent: `await job.run()` owns it, `await job.enqueue()` lets it go")

    def with_options(self, **given: Unpack[GivenOptions]) -> Job[R_co]:
        """Return a copy with other options."""
        return Job(self._app, self.task, self.args, self.kwargs, self.options.changed_by(given), self.returns, self.fingerprint)

    @property
    def app(self) -> Connected:
        """The app that it is a job of."""
        return self._app

    def with_first(self, *given: Any) -> Job[R_co]:
        """Return a copy with *given* put before its own arguments; for flows."""
        args = (*given, *self.args)
        return Job(self._app, self.task, args, self.kwargs, self.options, self.returns, self.fingerprint)

    @property
    def made_for(self) -> str | None:
        """The fingerprint of the parameters that the arguments were made for; None: nobody here knows the task."""
        spec = self._app.registry.tasks.get(self.task)
        return self.fingerprint or (spec.signature.fingerprint if spec is not None else None)

    def enqueue(self) -> Coroutine[Any, Any, JobHandle[R_co]]:
        """Submit it, detached: it outlives this caller. See `Task.enqueue`."""
        return named(self._enqueue(), self.task, "enqueue")

    def enqueue_nowait(self) -> Coroutine[Any, Any, JobHandle[R_co]]:
        """Submit it, detached, if its queue has room. See `Task.enqueue_nowait`."""
        return named(self._enqueue_nowait(), self.task, "enqueue_nowait")

    def run(self) -> Coroutine[Any, Any, R_co]:
        """Submit it, owned, and wait for its result. See `Task.run`."""
        return named(self._run(), self.task, "run")

    async def _enqueue(self) -> JobHandle[R_co]:
        [receipt] = await self._app.connection.enqueue([self])
        return self.handle_on(receipt)

    async def _enqueue_nowait(self) -> JobHandle[R_co]:
        return self.handle_on(await self._app.connection.enqueue_nowait(self))

    async def _run(self) -> R_co:
        result: R_co = await self._app.connection.run(self)
        return result

    def handle_on(self, receipt: Receipt) -> JobHandle[R_co]:
        """Make a handle on what the broker has stored for it."""
        return JobHandle(self._app, receipt.id, self.task, self.returns, receipt.created)

    def to_submission(
        self,
        job_id: str,
        now: float,
        limit_bytes: int,
        remaining_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Submission:
        """Encode it; for the connection.

        Args:
            remaining_seconds: How much longer the caller who awaits it can wait; None: for ever, or nobody awaits it.
            headers: As middleware has left them; None: its own, and those that it inherits.

        Raises:
            NotSerializable: An argument cannot travel.
            PayloadTooLarge: The message is larger than *limit_bytes*.
            InvalidOptions: A key cannot be made of the arguments, a durable workflow is to be delivered once, or what the job
                inherits of its parent's headers is none, or too much.
        """
        options = self.options
        parent = current_job_or_none()
        recorder: Recorder | None = parent.recorder if parent else None
        if options.debounce is not None:
            remaining_seconds = None  # the job that it takes the place of may be somebody else's, who can wait for longer
        if headers is None:
            headers = inherited(parent.headers, options.headers) if parent else options.headers
        message = msgspec.structs.replace(
            self._message(),
            parent=parent.id if parent else None,
            remaining=remaining_seconds,
            deadline=None if remaining_seconds is None else now + remaining_seconds,
            call=recorder.call_of(options.job_id or job_id) if recorder else None,
            sent_at=now,
            headers=dict(headers),
        )
        return self._submission(options.job_id or job_id, message, limit_bytes)

    def to_template(self, limit_bytes: int) -> Submission:
        """Encode it for a schedule, whose runs are jobs like this one: without an id, a parent and a moment.

        Raises:
            InvalidOptions: It says itself when it is to start, what its id is, or on which machine it runs.
            NotSerializable, PayloadTooLarge: As `to_submission`.
        """
        options = self.options
        for word, given in (("at", options.start_at), ("delay", options.delay_seconds), ("id", options.job_id)):
            if given:
                raise InvalidOptions(
                    word, given, "none in the job of a schedule, which names its runs and says when they start"
                )
        if options.local:
            raise InvalidOptions("local", True, "False in the job of a schedule, which any worker may run; give it a queue")
        if (in_time := options.keyed_in_time) is not None:
            expected = f"None in the job of a schedule, which says itself when its runs start: .options({in_time.kind}=None)"
            raise InvalidOptions(in_time.kind, in_time, expected)
        return self._submission("", self._message(), limit_bytes)

    def _message(self) -> Message:
        """Make the message, without what is of one submission."""
        options, changed = self.options, self.options.changed
        return Message(
            task=self.task,
            args=list(self.args),
            kwargs=dict(self.kwargs),
            timeout=options.timeout_seconds or 0.0 if "timeout_seconds" in changed else None,
            retry=(options.retry or NEVER_AGAIN) if "retry" in changed else None,
            tags=options.tags,
            fingerprint=self.made_for,
            headers=dict(options.headers),
            once=options.delivery == AT_MOST_ONCE if "delivery" in changed else None,
        )

    def _submission(self, job_id: str, message: Message, limit_bytes: int) -> Submission:
        options, queue = self.options, self._app.registry.queues.get(self.options.queue)
        if options.delivery == AT_MOST_ONCE and self._is_durable():
            raise InvalidOptions("delivery", options.delivery, NOT_DURABLE)
        share = None if queue is None or queue.fair_by is None else self._share(queue.fair_by)
        payload = self._app.registry.codec.encode(f"an argument of {self.task}", message)
        if len(payload) > limit_bytes:
            raise PayloadTooLarge(f"the message for {self.task}", len(payload), limit_bytes)
        return Submission(
            id=job_id,
            queue=options.queue,
            task=self.task,
            payload=payload,
            priority=options.priority,
            delay_seconds=options.delay_seconds if options.debounce is None else options.debounce.seconds,
            start_at=options.start_at,
            expires_seconds=options.expires_seconds,
            key=options.key,
            parent=message.parent,
            tags=options.tags,
            keep_seconds=options.result_ttl_seconds,
            max_crashes=options.max_crashes,
            limits=limits_for_job(options.all_limits, *self._keyed()) if options.all_limits else (),
            window=None if options.keyed_in_time is None else options.keyed_in_time.for_job(*self._keyed()),
            once=options.delivery == AT_MOST_ONCE,
            max_length=0 if queue is None else queue.max_length or 0,
            share=share,
            weight=1.0 if queue is None or share is None else queue.weights.get(share, 1.0),
        )

    def _share(self, by: FairBy) -> str:
        """Say whose turn it takes; jobs of tasks that this program does not have take turns together."""
        return by.share_of(*self._keyed()) if self.task in self._app.registry.tasks else ""

    def _is_durable(self) -> bool:
        spec = self._app.registry.tasks.get(self.task)
        return spec is not None and spec.durable

    def _keyed(self) -> tuple[str, Sequence[Any], Mapping[str, Any], Callable[[], Mapping[str, Any]]]:
        """Return what keys are made of: the task, the arguments, and what gives them by name."""
        spec = self._app.registry.tasks.get(self.task)

        def by_name() -> dict[str, Any]:
            return dict(self.kwargs) if spec is None else spec.signature.by_name(self.args, self.kwargs)

        return self.task, self.args, self.kwargs, by_name


class PartialJob(Generic[R_co]):
    """A job that lacks its first argument: what `task.job(...)` gives when only that one is missing.

    In a `sequence` the result of the step before becomes that argument. `partial.job(value)` completes it by hand.
    """

    __slots__ = ("_job", "_missing")

    def __init__(self, job: Job[R_co], missing: InvalidArguments) -> None:
        self._job = job
        self._missing = missing  # what to raise where the argument does not come

    def __repr__(self) -> str:
        return f"<PartialJob{repr(self._job).removeprefix('<Job')}"

    def __await__(self) -> Generator[Any, Any, R_co]:
        """Refuse, as a `Job` does."""
        raise self._missing.with_traceback(None)

    @property
    def unfilled(self) -> Job[R_co]:
        """The job without its first argument; for flows."""
        return self._job

    def refuse(self) -> NoReturn:
        """Raise what is wrong with it outside of a flow.

        Raises:
            InvalidArguments: The first argument is missing.
        """
        raise self._missing.with_traceback(None)

    def with_options(self, **given: Unpack[GivenOptions]) -> PartialJob[R_co]:
        """Return a copy with other options."""
        return PartialJob(self._job.with_options(**given), self._missing)

    def job(self, *given: Any) -> Job[R_co]:
        """Return the whole job, with *given* as its first argument.

        Raises:
            InvalidArguments: Nothing was given.
            TypeError: It is more than one.
        """
        if not given:
            self.refuse()
        if len(given) > 1:
            raise TypeError(f"{self!r} lacks one argument, and got {len(given)}")
        return self._job.with_first(*given)

    async def run(self, *given: Any) -> R_co:
        """Run it, owned, with *given* as its first argument. See `Task.run`."""
        return await self.job(*given).run()

    async def enqueue(self, *given: Any) -> JobHandle[R_co]:
        """Submit it, detached, with *given* as its first argument. See `Task.enqueue`."""
        return await self.job(*given).enqueue()


def check_job(call: str, given: object) -> None:
    """Check that *given* is an unsent job; *call* is what the user called.

    Raises:
        NotAJob: It is something else, and the message says how to make one.
        InvalidArguments: It is one that lacks an argument.
    """
    if isinstance(given, Job):
        return
    if isinstance(given, PartialJob):
        given.refuse()
    if isinstance(given, Coroutine):
        given.close()  # else Python would warn, far from here, that it was never awaited
        name, done = called_by(cast("object", given))
        raise NotAJob(call, f"a coroutine: {done}", f"{name}.job(...)")
    task: object = getattr(given, "name", None) if hasattr(given, "enqueue") else None
    if isinstance(task, str):
        raise NotAJob(call, f"the task {task}", f"{task}.job(...)")
    raise NotAJob(call, f"{given!r}, which is no job", "task.job(...)")


def check_jobs(call: str, given: Iterable[Job[Any]]) -> list[Job[Any]]:
    """Check that *given* holds unsent jobs, and return them.

    Raises:
        NotAJob: It is no list, or holds something else.
    """
    if isinstance(given, Job):
        raise NotAJob(call, f"{given!r}", "a list of jobs: [job]")
    if not isinstance(given, Iterable):
        raise NotAJob(call, f"{given!r}, which is no list", "a list of jobs: [task.job(...), ...]")
    listed = list(given)
    wrong = [one for one in listed if not isinstance(one, Job)]
    for one in wrong[1:]:
        if isinstance(one, Coroutine):
            one.close()
    if wrong:
        check_job(call, wrong[0])
    return listed
