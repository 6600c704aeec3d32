"""One message of a channel: a body, and what was said beside it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


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
