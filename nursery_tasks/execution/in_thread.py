"""Call a `def` handler in a thread.

A thread cannot be stopped from outside. A cancelled call is waited for, so that the slot stays taken while the thread runs; the
handler leaves early when it calls `check_cancelled()`.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

from anyio import CapacityLimiter, to_thread

from ..current import CurrentJob, set_current
from ..forks import end_child, generation


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
    # AnyIO gives the thread a copy of this context, cleaned of what says that a loop runs here; one of ours would not be.
    return await to_thread.run_sync(call_plain, function, args, kwargs, job, limiter=limiter)


def call_plain(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], job: CurrentJob) -> Any:
    """Call *function* in the thread that asks, and look there at what it returns.

    Trio would refuse a coroutine in words of its own, and in a process nobody would. In a worker, and in a process for its
    handlers, a child that the handler has forked ends here: nobody waits for it in this thread's copy.
    """
    set_current(job)
    born = generation()
    if job.context is not None:
        job.context.thread_id = threading.get_ident()
    try:
        result: object = function(*args, **kwargs)
    except BaseException as error:
        if born != generation() and job.worker is not None:
            end_child(error)
        if isinstance(error, GeneratorExit):  # on its way to the loop, asyncio would take it for its own
            raise RuntimeError("the handler raised GeneratorExit") from error
        raise
    if born != generation() and job.worker is not None:
        end_child()
    if not isinstance(result, Awaitable):
        return result
    if isinstance(result, Coroutine):
        result.close()  # else Python would warn, far from here, that it was never awaited
    what = type(cast("object", result)).__name__
    raise TypeError(
        f"a def handler returned a {what} that nobody awaits; "
        "make the wrapper async def (or mark it with inspect.markcoroutinefunction)"
    )
