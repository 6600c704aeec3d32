"""What a worker opens once for all its jobs, and how handlers get it: by a parameter's default.

    @app.lifespan
    async def http_client() -> AsyncIterator[Client]:
        async with Client() as client:
            yield client

    @app.task
    async def fetch(url: str, http: Client = resource(http_client)) -> bytes: ...

The default is a mark. The task that is registered is a wrapper without that parameter: what it shows, checks and sends has no
place for it, and the value is put in where the function is called, from the state of the job that runs there.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast, overload

from .current import current_job_or_none
from .errors import InvalidOptions, NoResource

T = TypeVar("T")

_WORKER_KINDS: Final = ("loop", "thread")  # a resource lives in the worker's process, and no other can have it
_PLAIN: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """The mark of a parameter whose value is what *function*, an `@app.lifespan`, has yielded."""

    function: Callable[..., Any]


@overload
def resource(lifespan: Callable[..., AbstractAsyncContextManager[T]], /) -> T: ...
@overload
def resource(lifespan: Callable[..., AsyncIterator[T]], /) -> T: ...
def resource(lifespan: Callable[..., Any], /) -> Any:
    """Mark a parameter of a task, as its default, to be filled by the worker with what an `@app.lifespan` function yields.

    Every job of the worker gets the same value, opened before the first and closed after the last. In a plain call one passes
    it oneself, `run_local()` opens it for the call. It does not travel: who submits the job cannot give it. It also works as
    the default of another `@app.lifespan` function's parameter.

    Args:
        lifespan: The function that `@app.lifespan` has registered, itself.
    """
    return Resource(lifespan)


class Lifespan:
    """One registered resource.

    Args:
        function: An async generator function that yields once, or one that returns an async context manager; it takes nothing,
            or the app, and resources that were registered before it.
        app: What it gets if it wants it.

    Raises:
        InvalidOptions: It is something else.
    """

    def __init__(self, function: Callable[..., Any], app: object, known: Mapping[str, Lifespan]) -> None:
        self.name = function.__name__
        self.function = function
        self.needs = find_resources(function, known)
        takes_app = len(inspect.signature(function).parameters) - len(self.needs)
        if takes_app > 1 or inspect.iscoroutinefunction(function):
            expected = "an async generator function that takes nothing, or the app, and resources"
            raise InvalidOptions("lifespan", self.name, expected)
        opener = asynccontextmanager(function) if inspect.isasyncgenfunction(function) else function
        self._open = functools.partial(opener, app) if takes_app else opener

    def __call__(self, state: Mapping[str, Any]) -> AbstractAsyncContextManager[Any]:
        """Make the context that opens it; *state* holds what was opened before."""
        manager: AbstractAsyncContextManager[Any] = self._open(**{to: state[name] for to, name in self.needs.items()})
        return manager


@asynccontextmanager
async def open_resources(
    lifespans: Mapping[str, Lifespan], wanted: Iterable[str], state: dict[str, Any]
) -> AsyncGenerator[None, None]:
    """Open the wanted resources and those that they need, unless *state* has them; they are there while the context is open."""
    missing = _with_needs(lifespans, wanted) - state.keys()
    async with AsyncExitStack() as stack:
        for name, lifespan in lifespans.items():  # in the order in which they were registered, which is that of their needs
            if name in missing:
                state[name] = await stack.enter_async_context(lifespan(state))
        yield


def _with_needs(lifespans: Mapping[str, Lifespan], wanted: Iterable[str]) -> set[str]:
    found = set(wanted)
    for name in tuple(found):
        found |= _with_needs(lifespans, lifespans[name].needs.values())
    return found


# --- into functions ----------------------------------------------------------------------------------------------------------


def find_resources(function: Callable[..., Any], known: Mapping[str, Lifespan]) -> dict[str, str]:
    """Return which parameters want which resources.

    Raises:
        InvalidOptions: A resource is not registered, or a parameter after it could be given by position.
    """
    found: dict[str, str] = {}
    for parameter in inspect.signature(function).parameters.values():
        if isinstance(parameter.default, Resource):
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise InvalidOptions("parameter", parameter.name, "a name that can be used: no `/` after it")
            found[parameter.name] = _check_known(parameter.name, parameter.default.function, known)
        elif found and parameter.kind in (*_PLAIN, inspect.Parameter.VAR_POSITIONAL):
            # An argument by position would land in the resource's place.
            expected = f"a place before the resource {next(reversed(found))!r}, or keyword-only, after a `*`"
            raise InvalidOptions("parameter", parameter.name, expected)
    return found


def _check_known(parameter: str, function: Callable[..., Any], known: Mapping[str, Lifespan]) -> str:
    name = getattr(function, "__name__", "")
    if name not in known or known[name].function is not function:
        shown = cast("object", function)
        raise InvalidOptions(parameter, shown, "a function that was registered with @app.lifespan, above this one")
    return name


def inject(function: Callable[..., Any], known: Mapping[str, Lifespan], run_in: object) -> Callable[..., Any]:
    """Return a function like *function* that fills its resources in by itself; *function* itself where it wants none.

    Args:
        run_in: Where it is to run, as the user said.

    Raises:
        InvalidOptions: It runs where resources are not; and what `find_resources` raises.
    """
    resources = find_resources(function, known)
    if not resources or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return function  # one that yields is refused by who registers it
    if run_in is not None and run_in not in _WORKER_KINDS:
        expected = f"loop or thread, because {next(iter(resources))!r} is a resource: it lives in the worker's own process"
        raise InvalidOptions("run_in", run_in, expected)
    signature = inspect.signature(function)
    places = {name: place for place, name in enumerate(signature.parameters)}

    def fill(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        for parameter, name in resources.items():
            if parameter not in kwargs and (places[parameter] >= len(args) or is_keyword_only[parameter]):
                kwargs[parameter] = _open_resource(function, parameter, name)
        return kwargs

    is_keyword_only = {name: signature.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in resources}
    wrapper = _wrap(function, fill)
    visible = [parameter for name, parameter in signature.parameters.items() if name not in resources]
    hints = getattr(function, "__annotations__", {})
    vars(wrapper).update(__signature__=signature.replace(parameters=visible), __resources__=resources)
    wrapper.__annotations__ = {name: hint for name, hint in hints.items() if name not in resources}
    return wrapper


def resources_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return which parameters of a registered function are filled with which resources."""
    found: dict[str, str] = getattr(function, "__resources__", {})
    return found


def _wrap(
    function: Callable[..., Any], fill: Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]
) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **fill(args, kwargs))

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **fill(args, kwargs))

    return call


def _open_resource(function: Callable[..., Any], parameter: str, name: str) -> Any:
    job = current_job_or_none()
    if job is None or name not in job.state:
        raise NoResource(function.__name__, parameter, name)
    return job.state[name]
