"""Locks in the server."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.listing import LockRecord
from .records import to_locks
from .running import Scripts


class RedisLocks:
    """The calls of `Locks`. Each is one script."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run
        self._link = scripts.link

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        token: int = self._run("lock", name, holder, lease_seconds, int(wait))
        return token

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        self._link.check_usable()
        flat = [part for hold in holds for part in hold]
        return [answer == 1 for answer in self._run("relock", lease_seconds, *flat)] if flat else []

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        self._link.check_usable()
        flat = [part for hold in holds for part in hold]
        return [answer == 1 for answer in self._run("unlock", *flat)] if flat else []

    def list_locks(self, limit: int) -> list[LockRecord]:
        return to_locks(self._run("locks"))[: max(limit, 0)]
