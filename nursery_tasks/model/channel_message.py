"""One message of a channel, and what a publisher may say beside one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class ChannelMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message, on its way in or out.

    A channel that has no place for one of these (a Redis list has only bodies) leaves it out on the way in, and says in its own
    docstring what becomes of it on the way out.

    Attributes:
        body: The bytes as they came, or are to go.
        content_type: What they are, such as `application/json`; None: not said.
        id: What two copies of one message have in common; who receives it may drop the second.
        reply_to: Where an answer is awaited, in the words of the channel.
        correlation_id: What an answer repeats.
        headers: Names in lower case, and texts.
    """

    body: bytes
    content_type: str | None = None
    id: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """What a publisher's generator yields when it says itself where to go on after a crash.

        @app.publisher("rabbit:rows")
        async def rows(cursor: int | None = None) -> AsyncIterator[Item[Row]]:
            async for row in table.rows(after=cursor):
                yield Item(row, cursor=row.id)

    Attributes:
        value: What goes out.
        cursor: What the function gets as `cursor` when it is started again after this item; plain data.
    """

    value: T
    cursor: Any
