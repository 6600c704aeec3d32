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
from typing import Any

from ..errors import InvalidOptions, TooManyItems
from ..model.stage import MAX_ITEMS, StageKind
from ..registry import is_async


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
        for item in function(*args, **kwargs) or ():
            items.append(_counted(item, items, function.__name__, most))
        return items

    return collect


async def _all_of(made: AsyncIterable[Any] | Iterable[Any] | None, name: str, most: int) -> list[Any]:
    items: list[Any] = []
    if isinstance(made, AsyncIterable):
        async for item in made:
            items.append(_counted(item, items, name, most))
        return items
    for item in made or ():
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


def check_takes_one(function: Callable[..., Any], kind: StageKind) -> None:
    """Refuse a function that says nothing of what a message is to it; that it takes more than one is told by the registry.

    Raises:
        InvalidOptions: Its parameter has no annotation.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if kind != "collector" and parameters and parameters[0].annotation is inspect.Parameter.empty:
        shown = f"{getattr(function, '__name__', 'it')}({parameters[0].name})"
        expected = f"an annotation of {parameters[0].name!r}: bytes, str, ChannelMessage, or what the JSON is to become"
        raise InvalidOptions("function", shown, expected)


def place_of(function: Callable[..., Any]) -> str:
    """Return the module and the name of a function."""
    return f"{function.__module__}.{getattr(function, '__qualname__', '')}"
