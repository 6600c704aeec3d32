"""Which event loop, and how commands run on it."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from .options import Backend
from .trouble import BY_SIGNAL, USAGE, Trouble

T = TypeVar("T")


def check_loop(backend: Backend, uvloop: bool) -> None:
    """Look whether the loop is there.

    Raises:
        Trouble: It is not, or the two do not go together.
    """
    if uvloop and backend is not Backend.ASYNCIO:
        raise Trouble(f"--uvloop goes with asyncio, not with {backend}", "leave one of the two out", code=USAGE)
    for wanted, library in ((backend is Backend.TRIO, "trio"), (uvloop, "uvloop")):
        if wanted and importlib.util.find_spec(library) is None:
            raise Trouble(f"{library} is not installed", f'python -m pip install "nursery-tasks[{library}]"')


def run_on_loop(
    function: Callable[..., Awaitable[T]], *args: Any, backend: Backend = Backend.ASYNCIO, uvloop: bool = False
) -> T:
    """Run an async function to its end."""
    options = {"use_uvloop": uvloop} if backend is Backend.ASYNCIO else {}
    result: T = anyio.run(function, *args, backend=str(backend), backend_options=options)
    return result


def run_until_signal(function: Callable[..., Awaitable[T]], *args: Any, **loop: Any) -> T:
    """Do the same; Ctrl-C and SIGTERM cancel the function, which may tidy up.

    Raises:
        Trouble: A signal came.
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

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(watch, group.cancel_scope)
            result.append(await function(*args))
            group.cancel_scope.cancel()
    if result:
        return result[0]
    raise Trouble("stopped by a signal", code=BY_SIGNAL + received[0])
