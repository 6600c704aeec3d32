"""Middleware: context managers of the user's around each attempt, and around each submission.

The first one that was registered is the outermost. What is registered here is only the list; the worker enters the ones around
an attempt (`worker/around.py`), and the client those around a submission (`client/around.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, Literal, cast

from .errors import InvalidOptions, MiddlewareMisused

Around = Literal["attempt", "submission"]
AnyContextManager = AbstractAsyncContextManager[Any] | AbstractContextManager[Any]
Make = Callable[[Any], object]  # what is registered: called with the job, or with what is sent

WHERE: Final = ("attempt", "submission")


class Middleware:
    """What an app has registered, outermost first.

    Attributes:
        attempt: Called with the `CurrentJob`.
        submission: Called with what is sent, an `OutgoingJob`.
    """

    def __init__(self) -> None:
        self.attempt: list[Make] = []
        self.submission: list[Make] = []

    def add(self, function: object, around: str) -> None:
        """Register a function that returns a context manager, or an (async) generator function that can be made one.

        Raises:
            InvalidOptions: It is neither, or there is no such place.
        """
        if around not in WHERE:
            raise InvalidOptions("around", around, " or ".join(map(repr, WHERE)))
        if not callable(function) or inspect.iscoroutinefunction(function):
            expected = "a function with @asynccontextmanager or @contextmanager that takes one argument"
            raise InvalidOptions("middleware", function, expected)
        make: Make = function
        if inspect.isasyncgenfunction(function):
            make = asynccontextmanager(function)
        elif inspect.isgeneratorfunction(function):
            make = contextmanager(function)
        (self.attempt if around == "attempt" else self.submission).append(make)


def made(make: Make, given: object) -> AnyContextManager:
    """Call one of them.

    Raises:
        MiddlewareMisused: It has returned something else than a context manager.
    """
    manager = make(given)
    if isinstance(manager, AbstractAsyncContextManager | AbstractContextManager):
        return cast("AnyContextManager", manager)
    raise MiddlewareMisused(name_of(make), f"has returned {type(manager).__name__}, which is no context manager")


def name_of(make: object) -> str:
    """Return what a middleware is called."""
    return getattr(make, "__qualname__", repr(make))
