"""The user's function of a stage: what it says of its messages, and what a task runs in its place.

With `many=True` a function that yields becomes one that returns a list. The items are gathered in the attempt and leave with
its outcome, in one step: a retry, or a worker that dies, sends none of them twice. So they have to fit into memory, and their
number is bounded.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Final

from ..errors import InvalidOptions, TooManyItems
from ..model.stage import MAX_ITEMS, StageKind
from ..registry import is_async

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def gathered(function: Callable[..., Any], most: int = MAX_ITEMS) -> Callable[..., Any]:
    """Return *function* with its items in a list; also one that returns something to iterate.

    Raises:
        TooManyItems: From the returned function: it has made more than *most*.
    """
    if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def gather(*args: Any, **kwargs: Any) -> list[Any]:
            if inspect.isasyncgenfunction(function):
                async with aclosing(function(*args, **kwargs)) as made:
                    return await _all_of(made, function.__name__, most)
            return await _all_of(await function(*args, **kwargs), function.__name__, most)

        return gather

    @functools.wraps(function)
    def collect(*args: Any, **kwargs: Any) -> list[Any]:
        items: list[Any] = []
        for item in _iterable(function(*args, **kwargs), function.__name__):
            items.append(_counted(item, items, function.__name__, most))
        return items

    return collect


def _iterable(made: Any, name: str) -> Iterable[Any]:
    given = made  # which stays untyped
    if given is None:
        return ()
    if not isinstance(made, Iterable):
        raise TypeError(f"{name} returned {type(given).__name__}: expected a list, or yielded items, because of many=True")
    items: Iterable[Any] = given
    return items


async def _all_of(made: Any, name: str, most: int) -> list[Any]:
    items: list[Any] = []
    given = made  # which stays untyped
    if isinstance(made, AsyncIterable):
        many: AsyncIterable[Any] = given
        async for item in many:
            items.append(_counted(item, items, name, most))
        return items
    for item in _iterable(made, name):
        items.append(_counted(item, items, name, most))
    return items


def _counted(item: Any, items: list[Any], name: str, most: int) -> Any:
    if len(items) >= most:
        raise TooManyItems(name, most)
    return item


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
