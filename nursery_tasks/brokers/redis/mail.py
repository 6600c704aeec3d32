"""Messages as other programs send them, and the answers that are kept for those. `brokers/common/foreign.py` has the rules."""

from __future__ import annotations

from ...model.listing import ServerMessage
from ..common.foreign import to_inbox
from .link import Link


class RedisReplies:
    """The calls of `Replies`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        if limit <= 0:
            return []
        found: list[bytes] | None = self._link.call("LPOP", f"{self._link.key}out:{name}", limit)
        return found or []


class RedisPostbox:
    """The calls of `Postbox`: a message is pushed to a list, as other programs do."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def send_message(self, queue: str, message: ServerMessage) -> str:
        name, body, raw = to_inbox(message)
        key = self._link.key
        self._link.call("RPUSH", f"{key}{'raw' if raw else 'in'}:{queue}", body)
        self._link.call("PUBLISH", f"{key}hint:work", queue)
        return name
