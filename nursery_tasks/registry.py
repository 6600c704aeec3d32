"""Names to functions and their settings. Data chooses among what is registered here, and nothing else."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import errors
from .errors import DuplicateTask, InvalidOptions, UnknownTask
from .model.codec import Codec, CustomType, Format
from .model.failure import BUILTIN_ERRORS
from .model.options import KINDS, JobOptions, Kind, check_name
from .model.retry import qualified_name
from .signature import TaskSignature


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One registered task.

    Attributes:
        name: What messages call it.
        function: What runs.
        kind: Where it runs: `loop` for `async def`, `thread` for `def`.
        options: The defaults of its jobs.
        signature: Its parameters.
        doc: The first line of its docstring.
    """

    name: str
    function: Callable[..., Any]
    kind: Kind
    options: JobOptions
    signature: TaskSignature
    doc: str

    @property
    def place(self) -> str:
        """Where the function stands, as `module.name`."""
        name = getattr(self.function, "__qualname__", None) or type(self.function).__qualname__
        return f"{self.function.__module__}.{name}"


OWN_ERRORS = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.NurseryTasksError)]


class Registry:
    """The tasks, exception classes and custom types of one app.

    Args:
        form: The wire format that is written.
    """

    def __init__(self, form: Format = "json") -> None:
        self.tasks: dict[str, TaskSpec] = {}
        self.errors: dict[str, type[BaseException]] = {qualified_name(cls): cls for cls in OWN_ERRORS}
        self.codec = Codec(form)
        self._types: tuple[CustomType, ...] = ()
        self._form: Format = form

    def add(self, spec: TaskSpec) -> None:
        """Register a task.

        Raises:
            DuplicateTask: Another function has that name already.
        """
        known = self.tasks.get(spec.name)
        if known is not None and not _is_same(known.function, spec.function):
            raise DuplicateTask(spec.name, known.place, spec.place)
        self.tasks[spec.name] = spec

    def find(self, name: str) -> TaskSpec:
        """Look a task up.

        Raises:
            UnknownTask: It is not registered.
        """
        spec = self.tasks.get(name)
        if spec is None:
            raise UnknownTask(name, self.tasks)
        return spec

    def add_error(self, cls: type[BaseException]) -> None:
        """Let jobs' errors of this class come back as this class."""
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise InvalidOptions("error", cls, "an exception class")
        if BUILTIN_ERRORS.get(cls.__name__) is not cls:
            self.errors[qualified_name(cls)] = cls

    def add_type(self, custom: CustomType) -> None:
        """Let values of a class travel."""
        self._types = (*self._types, custom)
        self.codec = Codec(self._form, self._types)


def make_spec(function: Callable[..., Any], name: str | None, run_in: str | None, options: JobOptions) -> TaskSpec:
    """Describe a function as a task.

    Raises:
        InvalidOptions: `run_in` does not suit the function, or the name is none.
    """
    task_name = name or getattr(function, "__name__", "")
    if not task_name or task_name == "<lambda>":
        raise InvalidOptions("name", task_name, "a name for a function that has none of its own: name=...")
    return TaskSpec(
        name=check_name("name", task_name),
        function=function,
        kind=_check_kind(function, run_in),
        options=options,
        signature=TaskSignature(task_name, function),
        doc=(inspect.getdoc(function) or "").partition("\n")[0],
    )


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling *function* gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


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
    if run_in != natural:
        expected = "'loop' (or nothing) for an async def" if natural == "loop" else "'thread' (or nothing) for a def"
        raise InvalidOptions("run_in", run_in, expected)
    return natural
