"""Call a `def` handler in a thread.

A thread cannot be stopped from outside. A cancelled call is waited for, so that the slot stays taken while the thread runs; the
handler leaves early when it calls `check_cancelled()`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import copy_context
from typing import Any, cast

from anyio import CapacityLimiter, to_thread

from ..current import CurrentJob, set_current


async def call_in_thread(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], job: CurrentJob, limiter: CapacityLimiter | None
) -> Any:
    """Call *function* in a worker thread, with *job* as the current job.

    Args:
        limiter: How many threads at once; None: AnyIO's own limit.

    Raises:
        TypeError: It returned something to be awaited, which in a thread nobody can await.

    Cancellation:
        Waits for the thread to end. Its result is returned, its cancellation (from `check_cancelled()`) goes on.
    """
    context = copy_context()
    context.run(set_current, job)
    call = functools.partial(context.run, functools.partial(_call, function, args, kwargs))
    return await to_thread.run_sync(call, limiter=limiter)


def _call(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call *function*, and look in the thread at what it returns: Trio would refuse a coroutine in words of its own."""
    result: object = function(*args, **kwargs)
    if not isinstance(result, Awaitable):
        return result
    if isinstance(result, Coroutine):
        result.close()  # else Python would warn, far from here, that it was never awaited
    what = type(cast("object", result)).__name__
    raise TypeError(
        f"a def handler returned a {what} that nobody awaits; "
        "make the wrapper async def (or mark it with inspect.markcoroutinefunction)"
    )
