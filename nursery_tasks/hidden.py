"""A nursery that the code inside of it does not see.

A task group wraps what comes out of its body into an `ExceptionGroup`. That is right where the user opened the group; behind
`async with app:` nobody expects one, so the body's own exception comes out as itself there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import create_task_group
from anyio.abc import TaskGroup


@asynccontextmanager
async def open_hidden_group() -> AsyncGenerator[TaskGroup, None]:
    """Open a task group whose body raises its own exception, unless children failed, too.

    Raises:
        BaseExceptionGroup: A child failed; with the body's exception in it, if there was one.
    """
    body_error: BaseException | None = None
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
    else:
        return
    raise body_error
