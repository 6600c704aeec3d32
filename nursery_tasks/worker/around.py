"""The user's middleware around an attempt: inside of its time limit, around the call of the handler, wherever that runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from anyio.lowlevel import checkpoint

from ..current import CurrentJob, job_is_current
from ..middleware import Make, made
from .executors import Execute
from .prepare import Call


def with_middleware(middleware: Sequence[Make], execute: Execute) -> Execute:
    """Return what calls a handler inside of all of *middleware*, the first one outermost; without any, *execute* itself.

    What they raise is raised by the attempt, and a cancellation goes through them. One that keeps an error of the handler to
    itself makes a success of it, with None as the result; a cancellation cannot be kept.
    """
    if not middleware:
        return execute

    async def executed(call: Call, current: CurrentJob) -> Any:
        with job_is_current(current):
            async with AsyncExitStack() as stack:
                for make in middleware:
                    manager = made(make, current)
                    if isinstance(manager, AbstractAsyncContextManager):
                        await stack.enter_async_context(manager)
                    else:
                        stack.enter_context(manager)
                return await execute(call, current)
        await checkpoint()  # a cancel that was kept is not over: a job that the worker was about to give back would be lost
        return None

    return executed
