"""What a task runs in the place of a function with `many=True`, which yields its items or returns something to iterate.

The items of a small answer are gathered, and leave in one step with the outcome. Whoever makes more than `STEP` has them put
out a step at a time while it goes on, so a million of them need no more memory than a thousand, and it waits while there is no
room for more. Where nothing takes steps (a plain call, a virtual clock) all of them are gathered.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from contextlib import aclosing, closing, nullcontext
from typing import Any, Final, cast

from ..current import current_job_or_none
from ..loop.from_thread import runs_loop

STEP: Final = 1_000  # items


class _Items:
    """The items of one call that have not left yet."""

    def __init__(self) -> None:
        job = current_job_or_none()
        self._sink = None if job is None else job.items
        self._streams = False
        self._waiting: list[Any] = []

    async def add(self, item: Any) -> None:
        """Take an item of an async function."""
        if self._sink is not None and len(self._waiting) >= STEP:
            self._streams = True
            await self._sink.put(self._taken())
        self._waiting.append(item)

    async def end(self) -> list[Any]:
        """Return what leaves with the outcome."""
        if self._sink is not None and self._streams:
            await self._sink.put(self._taken())
        return self._waiting

    def add_blocking(self, item: Any) -> None:
        """Take an item in a thread, or in a process."""
        if self._sink is not None and len(self._waiting) >= STEP and not runs_loop():
            self._streams = True
            self._sink.put_blocking(self._taken())
        self._waiting.append(item)

    def end_blocking(self) -> list[Any]:
        """Return what leaves with the outcome."""
        if self._sink is not None and self._streams:
            self._sink.put_blocking(self._taken())
        return self._waiting

    def _taken(self) -> list[Any]:
        taken, self._waiting = self._waiting, []
        return taken


def streamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes the items of *function* leave, and returns those that leave with the outcome."""
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def generate(*args: Any, **kwargs: Any) -> list[Any]:
            async with aclosing(function(*args, **kwargs)) as made:
                return await _all_of(made, function.__name__)

        return generate
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> list[Any]:
            return await _all_of(await function(*args, **kwargs), function.__name__)

        return call

    @functools.wraps(function)
    def iterate(*args: Any, **kwargs: Any) -> list[Any]:
        made = _iterable(function(*args, **kwargs), function.__name__)
        with closing(cast("Generator[Any, None, None]", made)) if inspect.isgenerator(made) else nullcontext():
            return _all_of_blocking(made)

    return iterate


async def _all_of(made: Any, name: str) -> list[Any]:
    items, given = _Items(), made  # which stays untyped
    if isinstance(made, AsyncIterable):
        many: AsyncIterable[Any] = given
        async for item in many:
            await items.add(item)
    else:
        for item in _iterable(made, name):
            await items.add(item)
    return await items.end()


def _all_of_blocking(made: Iterable[Any]) -> list[Any]:
    items = _Items()
    for item in made:
        items.add_blocking(item)
    return items.end_blocking()


def _iterable(made: Any, name: str) -> Iterable[Any]:
    given = made  # which stays untyped
    if given is None:
        return ()
    if not isinstance(made, Iterable):
        raise TypeError(f"{name} returned {type(given).__name__}: expected a list, or yielded items, because of many=True")
    items: Iterable[Any] = given
    return items
