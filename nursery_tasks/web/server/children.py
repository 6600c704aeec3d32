"""The children of a connection: one for each request that is answered, as hypercorn asks for them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from anyio import BrokenResourceError, ClosedResourceError, create_memory_object_stream
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskGroup

from ...shown import visible

Message = MutableMapping[str, Any]
App = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

MESSAGES: Final = 10  # pieces of a body that wait to be read; then the client has to wait

_log = logging.getLogger("nursery_tasks.http")


class Children:
    """Hypercorn's task group, on one of AnyIO's.

    Args:
        group: Whose children answer.
        app: What answers.
    """

    def __init__(self, group: TaskGroup, app: App) -> None:
        self._group = group
        self._app = app

    async def spawn_app(
        self, app: object, config: object, scope: Message, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Answer one request; returns where its body goes."""
        pieces, received = create_memory_object_stream[Message](MESSAGES)
        self._group.start_soon(self._answer, scope, pieces, received, send, name=f"{scope['method']} {scope['path']}")

        async def put(message: Message) -> None:
            with suppress(BrokenResourceError, ClosedResourceError):  # it is answered: the rest is not read
                await pieces.send(message)

        return put

    async def _answer(
        self,
        scope: Message,
        pieces: ObjectSendStream[Message],
        received: ObjectReceiveStream[Message],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        async with pieces, received:
            try:
                await self._app(scope, received.receive, send)
            except Exception:
                _log.exception("%s %s was not answered", scope["method"], visible(scope["path"]))
        await send(None)
