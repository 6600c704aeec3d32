"""A nursery that the code inside of it does not see.

A task group wraps what comes out of its body into an `ExceptionGroup`. That is right where the user opened the group; behind
`async with app:` nobody expects one, so the body's own exception comes out as itself there.

A task group must be left by the task that has entered it. Fixtures of pytest-asyncio, cells of a notebook, and hooks for
start-up and shut-down are tasks of their own each, and on asyncio this group may be left by another one: its children have
ended by then, and what AnyIO refuses is to take its scope from a task that it does not belong to.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import create_task_group
from anyio.abc import TaskGroup


@asynccontextmanager
async def open_unwrapped_group() -> AsyncGenerator[TaskGroup, None]:
    """Open a task group whose body raises its own exception, unless children failed, too.

    Raises:
        BaseExceptionGroup: A child failed; with the body's exception in it, if there was one.
    """
    body_error: BaseException | None = None
    host = _asyncio_task()
    try:
        async with create_task_group() as group:
            try:
                yield group
            except BaseException as error:
                body_error = error
                raise
    except BaseExceptionGroup as errors:
        if body_error is None or errors.split(lambda error: error is body_error)[1] is not None:
            raise
    except RuntimeError:
        if body_error is None and _asyncio_task() is not host:
            return
        raise
    else:
        return
    raise body_error


def _asyncio_task() -> asyncio.Task[object] | None:
    """Return the current task of asyncio; None on Trio."""
    running = "asyncio" in sys.modules and asyncio._get_running_loop() is not None
    return asyncio.current_task() if running else None
