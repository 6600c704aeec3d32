"""Work that ends with the client who waits for it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from anyio import create_task_group
from starlette.requests import Request

from ..errors import JobStillRunning
from .bodies import HungUp

T = TypeVar("T")

_log = logging.getLogger("nursery_tasks.http")


async def while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """Do *work*, and cancel it when the client goes away. The body must have been read. Owns a nursery of one child.

    Raises:
        HungUp: The client went away.
        Exception: What *work* raises.
    """
    done, failed = list[T](), list[Exception]()
    async with create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel("the client went away")

        group.start_soon(watch, name="watch the client")
        try:
            done.append(await work())
        except Exception as error:  # out of the group it would come in an ExceptionGroup, if something is cancelled meanwhile
            failed.append(error)
            if isinstance(error, JobStillRunning):  # mostly the client is gone
                _log.warning("%s", error)
        group.cancel_scope.cancel()
    if failed:
        raise failed[0]
    if not done:
        raise HungUp
    return done[0]
