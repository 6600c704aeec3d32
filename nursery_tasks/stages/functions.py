"""The user's function of a stage: what it says of its messages, and what a task runs in its place."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import Any, Final

from ..errors import InvalidOptions
from ..model.stage import StageKind
from ..registry import is_async

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def item_type(returns: Any) -> Any:
    """Return what a function yields, by the annotation of its result; Any where that does not say."""
    origin = typing.get_origin(returns)
    if isinstance(origin, type) and issubclass(origin, Iterable | AsyncIterable | Iterator):
        return next(iter(typing.get_args(returns)), Any)
    return Any


def returns_of(function: Callable[..., Any]) -> Any:
    """Return what a function returns, by its annotation; Any where nothing can be found."""
    try:
        return inspect.get_annotations(function, eval_str=True).get("return", Any)
    except Exception:  # an annotation may be any expression; the task's signature says what is wrong with it
        return Any


def flush_function(on_flush: Callable[[Any], Any], total_type: Any) -> Callable[..., Any]:
    """Return a function that a task can be made of, also of a builtin or a bound method."""

    async def flushed_here(total: Any) -> None:
        await on_flush(total)

    def flushed_in_thread(total: Any) -> None:
        on_flush(total)

    flushed: Callable[..., Any] = flushed_here if is_async(on_flush) else flushed_in_thread
    flushed.__annotations__ = {"total": total_type, "return": None}
    return flushed


def check_yields(function: Callable[..., Any]) -> None:
    """Refuse what a publisher cannot iterate.

    Raises:
        InvalidOptions: The function does not yield, and its annotation does not say that it returns something to iterate.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return
    returns = returns_of(function)
    kind = typing.get_origin(returns) or returns
    if inspect.iscoroutinefunction(function) or not (isinstance(kind, type) and issubclass(kind, Iterable | AsyncIterable)):
        expected = "a function that yields the items, or whose annotation says that it returns an Iterator or an AsyncIterator"
        raise InvalidOptions("function", getattr(function, "__qualname__", function), expected)


def yields_async(function: Callable[..., Any]) -> bool:
    """Say whether what a publisher's function gives is iterated on the loop."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return inspect.isasyncgenfunction(function)
    returns = returns_of(function)
    kind = typing.get_origin(returns) or returns
    return isinstance(kind, type) and issubclass(kind, AsyncIterable)


def check_folds(function: Callable[..., Any]) -> None:
    """Refuse what a collector cannot call.

    Raises:
        InvalidOptions: The function does not take a total and an item.
    """
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        shown = f"{getattr(function, '__name__', 'it')}{inspect.signature(function)}"
        raise InvalidOptions("function", shown, "a function of two: the total so far, and an item") from None


def check_takes_one(function: Callable[..., Any], kind: StageKind) -> None:
    """Refuse a function that cannot be called with one message, or says nothing of what that is to it.

    Raises:
        InvalidOptions: It takes another number of arguments, or its parameter has no annotation.
    """
    parameters = list(inspect.signature(function).parameters.values())
    needed = [each for each in parameters if each.default is inspect.Parameter.empty and each.kind in _POSITIONAL]
    if kind != "collector" and (len(needed) > 1 or not parameters):
        shown = f"{getattr(function, '__name__', 'it')}{inspect.signature(function)}"
        raise InvalidOptions("function", shown, f"a function of one parameter, the message, for a {kind}")
    if kind != "collector" and parameters[0].annotation is inspect.Parameter.empty:
        shown = f"{getattr(function, '__name__', 'it')}({parameters[0].name})"
        expected = f"an annotation of {parameters[0].name!r}: bytes, str, ChannelMessage, or what the JSON is to become"
        raise InvalidOptions("function", shown, expected)


def place_of(function: Callable[..., Any]) -> str:
    """Return the module and the name of a function."""
    return f"{function.__module__}.{getattr(function, '__qualname__', '')}"
