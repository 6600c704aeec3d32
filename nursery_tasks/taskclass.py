"""Tasks as classes: a `run` method, options as class attributes, a fresh instance for each attempt.

    class Web(TaskClass):  # a base for others: nothing registers it
        timeout = 60
        retry = Retry(5)

    class Fetch(Web):
        queue = "web"

        async def run(self, url: str) -> bytes:
            self.log.info("fetching %s", url)
            ...

    fetch = app.task(Fetch)
    await fetch.run("https://a")

The class stays a class, with bases and subclasses, and the task is a value of its own, as for a function. That is the one form
in which both type checkers see the arguments of `run`: mypy does not apply a decorator to a class, and so would know neither
`Fetch.enqueue` nor that `Fetch.run` has become a submission, see https://github.com/python/mypy/issues/3135.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar, Final, ParamSpec, Protocol, TypeVar

from .current import CurrentJob, current_job
from .errors import InvalidOptions
from .model.duration import Duration
from .model.retry import Retry
from .model.slips import meant_by, misplaced

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

SURELY: Final = ("retries", "max_retries", "time_limit", "queue_name")  # other libraries' words that mean nothing else
ALIKE: Final = 0.85  # of 1, from which on an attribute is taken for a mistyped option


class HasRun(Protocol[P, R_co]):
    """A class with a `run` method, for type checkers: its parameters become those of the task."""

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Do what a job of this class does."""
        ...


class TaskClass:
    """The base of classes that are tasks; see `App.task`.

    An instance is one attempt: it is made without arguments, its `run` is called, and it is dropped. Class attributes with the
    names of options are the defaults of its jobs; subclasses inherit them, all but `name`.
    """

    name: ClassVar[str]
    run_in: ClassVar[str]
    queue: ClassVar[str]
    priority: ClassVar[int]
    timeout: ClassVar[Duration | None]
    retry: ClassVar[Retry | int | None]
    delay: ClassVar[Duration]
    expires: ClassVar[Duration | None]
    result_ttl: ClassVar[Duration]
    max_crashes: ClassVar[int]
    kill_after: ClassVar[Duration]
    raw: ClassVar[bool]
    reply_to: ClassVar[str | None]

    @property
    def job(self) -> CurrentJob:
        """The job that runs here: its id, attempt, state, progress.

        Raises:
            NotInJob: The instance was made by hand.
        """
        return current_job()

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The job's logger, `self.job.log`."""
        return self.job.log


def read_class(cls: type[Any], words: Collection[str]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function that runs one attempt of *cls*, and the options that *cls* gives.

    Args:
        words: The names of all options.

    Raises:
        InvalidOptions: It is no `TaskClass`, has no `run` that can be called, cannot be made without arguments, or has an
            attribute that looks like a mistyped option.
    """
    _check_class(cls)
    for name, value in _attributes(cls):
        if name not in words:
            _check_not_mistyped(name, value, words)
    options = {word: getattr(cls, word) for word in words if word != "name" and hasattr(cls, word)}
    if "name" in vars(cls):  # two classes cannot have one name, so it is not inherited
        options["name"] = cls.name
    return _to_function(cls), options


def _check_class(cls: type[Any]) -> None:
    place = cls.__qualname__
    if not issubclass(cls, TaskClass):
        raise InvalidOptions("class", place, "a subclass of nursery_tasks.TaskClass, or a function")
    run: object = inspect.getattr_static(cls, "run", None)
    if run is None:
        raise InvalidOptions("class", place, "a method `run(self, ...)`, which does what a job of this class does")
    if not inspect.isfunction(run):
        raise InvalidOptions("run", run, f"a plain method of {place}, neither static nor of the class")
    if inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run):
        raise InvalidOptions("run", f"{place}.run", "a method that returns its result; this one yields")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise InvalidOptions("class", place, f"a class without abstract methods; it lacks {missing}")
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        expected = f"an __init__ that needs no arguments ({error}): each attempt makes an instance of its own"
        raise InvalidOptions("class", place, expected) from None


def _attributes(cls: type[Any]) -> Iterator[tuple[str, object]]:
    """Yield the values that the user's classes hold, with their names; no methods and no properties."""
    for base in cls.__mro__:
        if base is not TaskClass and issubclass(base, TaskClass):
            for name, value in vars(base).items():
                if not name.startswith("_") and not callable(value) and not hasattr(value, "__get__"):
                    yield name, value


def _check_not_mistyped(name: str, value: object, words: Collection[str]) -> None:
    if name == "abstract":
        raise InvalidOptions(name, value, "no such word: a base class is one that is not given to app.task()")
    elsewhere = misplaced(name, value, "task")
    if elsewhere is not None:
        raise elsewhere
    meant = meant_by(name, words, ALIKE, SURELY)
    if meant is not None:
        raise InvalidOptions(name, value, f"{meant}; what is no option may begin with an underscore")


def _to_function(cls: type[Any]) -> Callable[..., Any]:
    run = cls.run
    function = _call_async(cls) if inspect.iscoroutinefunction(run) else _call(cls)
    functools.update_wrapper(function, run)
    function.__name__, function.__qualname__, function.__module__ = cls.__name__, cls.__qualname__, cls.__module__
    function.__doc__ = vars(cls).get("__doc__") or run.__doc__
    signature = inspect.signature(run)
    _, *visible = signature.parameters.values()
    vars(function)["__signature__"] = signature.replace(parameters=visible)
    return function


def _call_async(cls: type[Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await cls().run(*args, **kwargs)

    return call


def _call(cls: type[Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return cls().run(*args, **kwargs)

    return call
