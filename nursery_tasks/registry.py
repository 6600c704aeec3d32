"""Names to functions and their settings. Data chooses among what is registered here, and nothing else."""

from __future__ import annotations

import inspect
import logging
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from . import errors, program
from .errors import DuplicateTask, InvalidOptions, UnknownTask
from .middleware import Middleware
from .model.batch import Batch
from .model.channel_message import ChannelMessage
from .model.codec import Codec, CustomType, Format
from .model.duration import Duration, to_seconds
from .model.failure import BUILTIN_ERRORS
from .model.options import KILL_AFTER_SECONDS, KINDS, JobOptions, Kind, check_name
from .model.queue import Queue
from .model.retry import qualified_name
from .model.stage import Stage
from .signature import TaskSignature

_log = logging.getLogger("nursery_tasks.registry")


RawBody = Literal["bytes", "str", "json", "message"]  # what a task makes of a body that another program has put in


def version_of(task: str, fingerprint: str) -> str:
    """Return the name of a task that takes what its parameters with this fingerprint do."""
    return f"{task}@{fingerprint}"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One registered task.

    Attributes:
        name: What messages call it.
        function: What runs.
        kind: Where it runs: `loop` for `async def`; `thread`, `process` or `interpreter` for `def`.
        options: The defaults of its jobs.
        signature: Its parameters.
        doc: The first line of its docstring.
        kill_after_seconds: How long a handler in a process may take to end when it has been asked to.
        workflow: It was registered by `@app.workflow`.
        durable: A workflow that goes on where it was when its worker dies.
        raw: How it takes what is raw on its queue; None: it does not.
        reply_to: Where the answers to raw bodies go; None: nowhere.
        batch: One call gets the arguments of many jobs; None: each job is a call. `signature` is that of one job.
        stage: Where its messages come from and go to, if it takes those of a channel.
    """

    name: str
    function: Callable[..., Any]
    kind: Kind
    options: JobOptions
    signature: TaskSignature
    doc: str
    kill_after_seconds: float = KILL_AFTER_SECONDS
    workflow: bool = False
    durable: bool = False
    raw: RawBody | None = None
    reply_to: str | None = None
    batch: Batch | None = None
    stage: Stage | None = None

    @property
    def version(self) -> str:
        """Its name, with the fingerprint of its parameters."""
        return version_of(self.name, self.signature.fingerprint)

    @property
    def address(self) -> tuple[str, str]:
        """Where another process finds the function: its module, and its name there."""
        return self.function.__module__, getattr(self.function, "__qualname__", "")

    @property
    def place(self) -> str:
        """Where the function stands, as `module.name`."""
        name = getattr(self.function, "__qualname__", None) or type(self.function).__qualname__
        return f"{self.function.__module__}.{name}"


OWN_ERRORS = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.NurseryTasksError)]


HERE: Final[tuple[Kind, ...]] = ("loop", "thread")  # kinds that call the function as it was registered
AWAY: Final[tuple[Kind, ...]] = ("process", "interpreter")  # kinds that import the function's module again


class Registry:
    """The tasks, exception classes and custom types of one app.

    Args:
        form: The wire format that is written.
    """

    def __init__(self, form: Format = "json") -> None:
        self.tasks: dict[str, TaskSpec] = {}
        self.own: dict[str, TaskSpec] = {}  # tasks of nursery-tasks itself: run like others, and in no listing of tasks
        self.queues: dict[str, Queue] = {}  # what is declared of them
        self.raw: dict[str, TaskSpec] = {}  # queue -> the task that takes what is raw there
        self.errors: dict[str, type[BaseException]] = {qualified_name(cls): cls for cls in OWN_ERRORS}
        self.codec = Codec(form)
        self.middleware = Middleware()
        self._known: tuple[str, ...] = ()
        self._known_size = (0, 0)
        self._types: tuple[CustomType, ...] = ()
        self._form: Format = form
        _registries.add(self)

    def returns_of(self, task: str | None) -> Any:
        """Return what a task's result is converted to; where the task is not known here, nothing in particular."""
        spec = None if task is None else self.tasks.get(task)
        return Any if spec is None else spec.signature.returns

    def add(self, spec: TaskSpec) -> None:
        """Register a task.

        Raises:
            DuplicateTask: Another function has that name already.
            InvalidOptions: Another task takes what is raw on that queue, or another stage reads from there.
        """
        known = self.tasks.get(spec.name)
        if known is not None and not _is_same(known.function, spec.function):
            raise DuplicateTask(spec.name, known.place, spec.place)
        other = self.raw.get(spec.options.queue) if spec.raw else None
        if other is not None and other.name != spec.name:
            raise _taken(spec, other)
        self.tasks[spec.name] = spec
        self._known = ()
        self.raw = {each.options.queue: each for each in self.tasks.values() if each.raw}

    def add_queue(self, queue: Queue) -> None:
        """Take what is declared of a queue.

        Raises:
            InvalidOptions: Something else was declared of it before.
        """
        known = self.queues.setdefault(queue.name, queue)
        if known != queue:
            raise InvalidOptions("name", queue.name, f"a queue that is declared once in an app; before, it was {known}")

    def max_length_for(self, spec: TaskSpec) -> int:
        """Return how many jobs may wait in a task's queue before no more messages become some; 0: any number."""
        declared = self.queues.get(spec.options.queue)
        if declared is not None and declared.max_length is not None:
            return declared.max_length
        return 0 if spec.stage is None else spec.stage.max_waiting

    def find(self, name: str) -> TaskSpec:
        """Look a task up.

        Raises:
            UnknownTask: It is not registered.
        """
        spec = self.tasks.get(name)
        if spec is None:
            raise UnknownTask(name, self.tasks)
        return spec

    @property
    def known(self) -> tuple[str, ...]:
        """What claims name: the tasks, and each with the fingerprint of its parameters. The same object until one is added."""
        size = len(self.tasks), len(self.own)
        if size != self._known_size or not self._known:
            specs = [*self.tasks.values(), *self.own.values()]
            self._known_size = size
            self._known = tuple(name for spec in specs for name in (spec.name, spec.version))
        return self._known

    def add_error(self, cls: type[BaseException]) -> None:
        """Let jobs' errors of this class come back as this class."""
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise InvalidOptions("error", cls, "an exception class")
        if BUILTIN_ERRORS.get(cls.__name__) is not cls:
            self.errors[qualified_name(cls)] = cls

    def codec_for(self, form: Format) -> Codec:
        """Return the codec that writes *form*, which is that of the app in another process."""
        return self.codec if form == self._form else Codec(form, self._types)

    def add_type(self, custom: CustomType) -> None:
        """Let values of a class travel."""
        self._types = (*self._types, custom)
        self.codec = Codec(self._form, self._types)


_registries: weakref.WeakSet[Registry] = weakref.WeakSet()


def find_registered(module: str, qualname: str, name: str) -> tuple[Registry, TaskSpec] | None:
    """Find a task of any app in this process by the place of its function; the one called *name*, where there are several."""
    found: tuple[Registry, TaskSpec] | None = None
    for registry in list(_registries):
        for spec in registry.tasks.values():
            if spec.address == (module, qualname):
                if spec.name == name:
                    return registry, spec
                found = registry, spec
    return found


def has_tasks_of(module: str) -> bool:
    """Say whether any app in this process has a task whose function is in *module*."""
    return any(spec.address[0] == module for registry in list(_registries) for spec in list(registry.tasks.values()))


def make_spec(
    function: Callable[..., Any],
    name: str | None,
    run_in: str | None,
    options: JobOptions,
    kill_after: Duration | None = None,
    *,
    raw: object = None,
    reply_to: object = None,
    batch: object = None,
    stage: Stage | None = None,
) -> TaskSpec:
    """Describe a function as a task.

    Raises:
        InvalidOptions: `run_in`, `kill_after`, `raw`, `batch` or the timeout does not suit the function, or the name is none.
    """
    task_name = getattr(function, "__name__", "") if name is None else check_name("name", name)
    if task_name in ("", "<lambda>"):
        raise InvalidOptions("name", task_name, "a name for a function that has none of its own: name=...")
    kind = _check_kind(function, run_in)
    if kill_after is not None and kind != "process":
        expected = f"run_in='process' beside it; nothing can kill a handler that runs in a {kind}"
        raise InvalidOptions("kill_after", kill_after, expected)
    if options.timeout_seconds is not None:
        _check_timeout(task_name, kind, options.timeout_seconds)
    if not isinstance(batch, Batch | None):
        raise InvalidOptions("batch", batch, "Batch(100, wait=0.5), or None")
    if batch is not None and raw and stage is None:
        raise InvalidOptions("batch", batch, "no raw=True beside it: what other programs put in comes one by one")
    signature = TaskSignature(task_name, function, answers=raw is True, batch=batch is not None)
    for keyed in options.keyed:
        keyed.check_parameters(task_name, signature.parameters)
    if raw not in (None, False, True):
        raise InvalidOptions("raw", raw, "True: the task takes what is raw on its queue; the queue is named by queue=")
    if reply_to is not None and not raw:
        raise InvalidOptions("reply_to", reply_to, "raw=True beside it; a message says itself where its answer goes")
    if raw and options.ordering_key is not None:
        expected = "no ordering key for a raw task: what is put in by others has none"
        raise InvalidOptions("ordering_key", options.ordering_key, expected)
    if raw and options.limits:
        raise InvalidOptions("limits", options.limits, "no limits for a raw task: what is put in by others has none")
    if raw and options.keyed_in_time is not None:
        expected = "None for a raw task: each message that others put in is a job"
        raise InvalidOptions(options.keyed_in_time.kind, options.keyed_in_time, expected)
    return TaskSpec(
        name=check_name("name", task_name),
        function=function,
        kind=kind,
        options=options,
        signature=signature,
        doc=(inspect.getdoc(function) or "").partition("\n")[0],
        kill_after_seconds=KILL_AFTER_SECONDS if kill_after is None else to_seconds("kill_after", kill_after),
        raw=_raw_body(signature) if raw else None,
        reply_to=None if reply_to is None else check_name("reply_to", reply_to),
        batch=batch,
        stage=stage,
    )


def _raw_body(signature: TaskSignature) -> RawBody:
    """Say how a task takes a raw body: by the annotation of its one parameter."""
    wanted = signature.wants_of_one()
    if wanted is bytes:
        return "bytes"
    if wanted is ChannelMessage:
        return "message"
    return "str" if wanted is str else "json"


def _check_timeout(task: str, kind: Kind, timeout_seconds: float) -> None:
    """Refuse a time limit that nothing could hold, and say of one what it needs."""
    if kind == "interpreter":
        expected = "None: a handler in an interpreter cannot be told to end; run_in='process' holds a time limit"
        raise InvalidOptions("timeout", timeout_seconds, expected)
    if kind == "thread":
        text = "task %s runs in a thread: its timeout of %g s is asked for by check_cancelled(), and cannot be enforced"
        _log.info(text, task, timeout_seconds)


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling *function* gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _taken(spec: TaskSpec, other: TaskSpec) -> InvalidOptions:
    """Say that *other* reads already where *spec* would, in the words of how *spec* was declared."""
    if spec.stage is None:
        expected = f"another queue for {spec.name}: on {spec.options.queue!r} {other.name} ({other.place}) takes what is raw"
        return InvalidOptions("raw", True, expected)
    kind = "task" if other.stage is None else "stage"
    expected = f"another place for {spec.name}; the {kind} {other.name} ({other.place}) reads from there"
    return InvalidOptions("source", str(spec.stage.source), expected)


def _is_same(known: Callable[..., Any], new: Callable[..., Any]) -> bool:
    """Say whether the newer one replaces the other: a module was loaded again, or as __main__ and by its name."""
    if getattr(known, "__qualname__", known) != getattr(new, "__qualname__", new):
        return False
    return known.__module__ == new.__module__ or _file_of(known) == _file_of(new) is not None


def _file_of(function: Callable[..., Any]) -> str | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return None if code is None else os.path.abspath(code.co_filename)


def _check_kind(function: Callable[..., Any], run_in: str | None) -> Kind:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidOptions("function", function.__qualname__, "a function that returns its result; this one yields")
    natural: Kind = "loop" if is_async(function) else "thread"
    if run_in is None:
        if natural == "thread" and inspect.iscoroutinefunction(inspect.unwrap(function)):
            # In a thread it would return a coroutine that nobody awaits.
            text = "an async def; its decorator made a def of it: make the wrapper async def (or mark it with"
            place = getattr(function, "__qualname__", repr(function))
            raise InvalidOptions("function", place, f"{text} inspect.markcoroutinefunction), or say run_in='thread'")
        return natural
    if run_in not in KINDS:
        raise InvalidOptions("run_in", run_in, f"one of {', '.join(KINDS)}")
    if natural == "loop" and run_in != "loop":
        more = "; a process or a thread has no event loop to run it on, write a def" if run_in != "thread" else ""
        raise InvalidOptions("run_in", run_in, f"'loop' (or nothing) for an async def{more}")
    if natural == "thread" and run_in == "loop":
        raise InvalidOptions("run_in", run_in, "'thread' (or nothing), 'process' or 'interpreter' for a def")
    if run_in in AWAY:
        _check_can_be_found(function, run_in)
    return run_in  # type: ignore[return-value]  # one of KINDS


def _check_can_be_found(function: Callable[..., Any], run_in: str) -> None:
    """Refuse what another interpreter cannot find by importing its module, and an interpreter where Python has none."""
    problem = program.why_no_interpreters() if run_in == "interpreter" else None
    if problem is not None:
        raise InvalidOptions("run_in", run_in, f"'process', which runs everywhere: an interpreter {problem}")
    place = getattr(function, "__qualname__", "")
    if not place or "<" in place:
        what = place or f"an object of {type(function).__qualname__}"
        expected = f"a function at the top of a module, which the {run_in} can import and find by its name; move it there"
        raise InvalidOptions("function", what, expected)
