"""Which event loop, and how commands run on it."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from .exits import Exits
from .leaving import ending_signals
from .options import Backend
from .trouble import BY_SIGNAL, USAGE, Trouble

T = TypeVar("T")


class Stopped(Trouble):
    """A signal ended a command before it was through."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped by a signal", code=BY_SIGNAL + number)


def check_loop(backend: Backend, uvloop: bool) -> None:
    """Look whether the loop is there.

    Raises:
        Trouble: It is not, or the two do not go together.
    """
    if uvloop and backend is not Backend.ASYNCIO:
        raise Trouble(f"--uvloop goes with asyncio, not with {backend}", "leave one of the two out", code=USAGE)
    for wanted, library in ((backend is Backend.TRIO, "trio"), (uvloop, "uvloop")):
        if wanted and importlib.util.find_spec(library) is None:
            raise Trouble(f"{library} is not installed", f"python -m pip install {library}")


def run_on_loop(
    function: Callable[..., Awaitable[T]],
    *args: Any,
    backend: Backend = Backend.ASYNCIO,
    uvloop: bool = False,
    exits: Exits | None = None,
) -> T:
    """Run an async function to its end.

    Args:
        exits: What to do about `sys.exit()` in the code of handlers.
    """
    options: dict[str, Any] = {}
    if backend is Backend.ASYNCIO:
        options["use_uvloop"] = uvloop
        if exits is not None:
            make = importlib.import_module("uvloop").new_event_loop if uvloop else asyncio.new_event_loop
            options["loop_factory"] = lambda: exits.watch(make)
    result: T = anyio.run(function, *args, backend=str(backend), backend_options=options)
    return result


def run_until_signal(function: Callable[..., Awaitable[T]], *args: Any, **loop: Any) -> T:
    """Do the same; Ctrl-C, SIGTERM and the end of the terminal cancel the function, which may tidy up.

    Raises:
        Stopped: A signal came.
    """
    result: T = run_on_loop(_until_signal, function, args, **loop)
    return result


async def _until_signal(function: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
    received: list[int] = []
    result: list[T] = []

    async def watch(scope: anyio.CancelScope) -> None:
        async for number in signals:
            received.append(number)
            scope.cancel("a signal")

    with anyio.open_signal_receiver(*ending_signals()) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(watch, group.cancel_scope)
            result.append(await function(*args))
            group.cancel_scope.cancel()
    if result:
        return result[0]
    raise Stopped(received[0])
