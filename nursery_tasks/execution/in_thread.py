"""Call a `def` handler in a thread.

A thread cannot be stopped from outside. A cancelled call is waited for, so that the slot stays taken while the thread runs; the
handler leaves early when it calls `check_cancelled()`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from anyio import CapacityLimiter, to_thread

from ..current import CurrentJob, set_current


async def call_in_thread(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], job: CurrentJob, limiter: CapacityLimiter | None
) -> Any:
    """Call *function* in a worker thread, with *job* as the current job.

    Args:
        limiter: How many threads at once; None: AnyIO's own limit.

    Cancellation:
        Waits for the thread to end. Its result is returned, its cancellation (from `check_cancelled()`) goes on.
    """
    context = copy_context()
    context.run(set_current, job)
    call = functools.partial(context.run, functools.partial(function, *args, **kwargs))
    return await to_thread.run_sync(call, limiter=limiter)
