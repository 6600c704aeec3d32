"""Work that ends with the client who waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request

from ..loop.unwrapped import open_unwrapped_group
from .bodies import HungUp

T = TypeVar("T")


async def while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """Do *work*, and cancel it when the client goes away. The body must have been read. Owns a nursery of one child.

    Raises:
        HungUp: The client went away.
        Exception: What *work* raises.
    """
    done: list[T] = []
    async with open_unwrapped_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel("the client went away")

        group.start_soon(watch, name="watch the client")
        done.append(await work())
        group.cancel_scope.cancel()
    if not done:
        raise HungUp
    return done[0]
