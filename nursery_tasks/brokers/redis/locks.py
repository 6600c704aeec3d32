"""Locks in the server."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.listing import LockRecord
from .records import to_locks
from .running import Makers, Scripts, Step, some
from .steps import to_flags


class RedisLocks:
    """The calls of `Locks`, and their steps. Each is one script."""

    def __init__(self, scripts: Scripts) -> None:
        self._run, self._step, self._take = scripts.run, scripts.step, scripts.take
        self._link = scripts.link

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        return self._take(self.lock_step(name, holder, lease_seconds, wait))

    def lock_step(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> Step[int]:
        return self._step("lock", int, name, holder, lease_seconds, int(wait))

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        self._link.check_usable()
        return self._take(self.relock_step(holds, lease_seconds)) if holds else []

    def relock_step(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> Step[list[bool]]:
        return self._step("relock", to_flags, lease_seconds, *(part for hold in holds for part in hold))

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        self._link.check_usable()
        return self._take(self.unlock_step(holds)) if holds else []

    def unlock_step(self, holds: Sequence[tuple[str, bytes]]) -> Step[list[bool]]:
        return self._step("unlock", to_flags, *(part for hold in holds for part in hold))

    def makers(self) -> Makers:
        return {self.lock: self.lock_step, self.relock: some(self.relock_step), self.unlock: some(self.unlock_step)}

    def list_locks(self, limit: int) -> list[LockRecord]:
        return to_locks(self._run("locks"))[: max(limit, 0)]
