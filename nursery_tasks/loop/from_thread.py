"""From a thread to the event loop that it works for.

AnyIO starts a thread for a loop and lets it call back; a thread that somebody else started has no loop behind it, and in a
thread where a loop runs itself, waiting would stop that loop.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import TypeVar, TypeVarTuple, Unpack

from anyio import NoEventLoopError, current_effective_deadline, from_thread

from ..errors import NoLoopBehind, WouldBlockLoop
from ..forks import at_fork


class _Inherited:
    """What a forked child has a copy of, and what does not run there: its parent's loop."""

    thread: int | None = None  # the one that has forked, which may have worked for a loop
    token: object = None  # of a run of Trio; asyncio looks itself


R = TypeVar("R")
Args = TypeVarTuple("Args")


class _TooLate(Exception):
    """The host was cancelled before its function could begin."""


def runs_loop() -> bool:
    """Say whether an event loop runs in this very thread. The loops themselves are asked: context variables go to threads."""
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    return (asyncio is not None and asyncio._get_running_loop() is not None) or (
        trio is not None and bool(trio.lowlevel.in_trio_run()) and trio.lowlevel.current_trio_token() is not _Inherited.token
    )


def check_may_block(call: str, instead: str) -> None:
    """Check that waiting here stops nobody else.

    Args:
        call: What the user called, for the error.
        instead: What to write where a loop runs.

    Raises:
        WouldBlockLoop: An event loop runs in this thread.
    """
    if runs_loop():
        raise WouldBlockLoop(call, instead)


def has_loop_behind() -> bool:
    """Say whether this thread was started by AnyIO for a loop, in this process.

    Raises:
        The backend's cancellation exception, when what the thread works for has been cancelled.
    """
    if threading.get_ident() == _Inherited.thread:
        return False
    try:
        from_thread.check_cancelled()
    except NoEventLoopError:
        return False
    return True


def _in_forked_child() -> None:
    trio = sys.modules.get("trio")
    _Inherited.thread = threading.get_ident()
    _Inherited.token = trio.lowlevel.current_trio_token() if trio is not None and trio.lowlevel.in_trio_run() else None


at_fork(in_child=_in_forked_child)


def call_on_loop(call: str, instead: str, function: Callable[[Unpack[Args]], Awaitable[R]], *args: *Args) -> R:
    """Call an async function on the loop that this thread works for, in this thread's context, and wait for its result.

    Args:
        call: What the user called, for the errors.
        instead: What to write where a loop runs.

    Raises:
        WouldBlockLoop: An event loop runs in this thread.
        NoLoopBehind: No event loop has started this thread.

    Cancellation:
        What cancels the thread's host cancels the function; its cancellation exception comes out here.
    """
    check_may_block(call, instead)
    if not has_loop_behind():
        raise NoLoopBehind(call)

    async def awaited() -> R:
        if current_effective_deadline() == -math.inf:
            # On asyncio, AnyIO delivers a cancel that came after the look above and before this first step to nobody: the
            # thread's host was shielded, and this task was not there yet.
            raise _TooLate
        return await function(*args)

    try:
        return from_thread.run(awaited)
    except (CancelledError, _TooLate):  # the first is AnyIO's word for it on asyncio; it is an Exception, which handlers catch
        from_thread.check_cancelled()
        raise
