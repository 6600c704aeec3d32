"""Functions that yield, as functions that return a list: what a task with `many=True` runs.

The items are gathered in the attempt and leave with its outcome, in one step: a retry, or a worker that dies, sends none of
them twice. So they have to fit into memory, and their number is bounded.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from ..errors import TooManyItems
from ..model.stage import MAX_ITEMS


def drained(function: Callable[..., Any], most: int = MAX_ITEMS) -> Callable[..., Any]:
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
