"""Replies that wait for whoever reads them."""

from __future__ import annotations

from collections import deque

from ...model.delivery import Reply
from ..protocol import REPLIES_KEPT, REPLY_SECONDS


class ReplyLists:
    """Lists by name, each with the moment when it goes."""

    def __init__(self) -> None:
        self._lists: dict[str, tuple[float, deque[bytes]]] = {}

    def add(self, reply: Reply, now: float) -> None:
        _, kept = self._lists.get(reply.to, (0.0, deque[bytes](maxlen=REPLIES_KEPT)))
        kept.append(reply.body)
        self._lists[reply.to] = now + REPLY_SECONDS, kept

    def take(self, name: str, limit: int, now: float) -> list[bytes]:
        self.drop_old(now)
        _, kept = self._lists.get(name, (0.0, deque[bytes]()))
        taken = [kept.popleft() for _ in range(min(max(limit, 0), len(kept)))]
        if not kept:
            self._lists.pop(name, None)
        return taken

    def drop_old(self, now: float) -> None:
        if self._lists:
            self._lists = {name: each for name, each in self._lists.items() if each[0] > now}
