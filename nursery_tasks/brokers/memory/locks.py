"""The calls of `BrokerLocks`, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.listing import LockRecord
from .admin import MemoryAdmin
from .hints import Hints


class MemoryLocks(MemoryAdmin):
    """The calls of `BrokerLocks`."""

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        with self._lock:
            self._check_open()
            return self._lines.lock(name, holder, self._clock(), lease_seconds, wait)

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        with self._lock:
            self._check_open()
            until = self._clock() + lease_seconds
            return [self._lines.relock(name, holder, until) for name, holder in holds]

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        hints = Hints()
        with self._lock:
            self._check_open()
            answers = [self._lines.unlock(name, holder) for name, holder in holds]
            for (name, _), done in zip(holds, answers, strict=True):
                if done:
                    hints.add("lock", name)
        self._audience.tell(hints)
        return answers

    def locks(self, limit: int) -> list[LockRecord]:
        with self._lock:
            self._check_open()
            return list(self._lines.records())[: max(limit, 0)]
