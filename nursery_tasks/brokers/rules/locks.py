"""Locks: for each name the line of those who want it, in which the first may have it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from ...model.listing import LockRecord


@dataclass(slots=True)
class _Place:
    until: float  # the end of the lease of whoever stands here
    token: int = 0  # above 0: it was told that it has the lock


class LockTable:
    """All locks. The line of one exists while somebody stands in it."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[bytes, _Place]] = {}  # lock -> holder -> place, in the order in which they came
        self._tokens = count(1)

    def lock(self, name: str, holder: bytes, now: float, lease_seconds: float, wait: bool) -> int:
        self.drop(name, now)
        line = self._lines.get(name, {})
        if holder not in line:
            if line and not wait:
                return 0
            line = self._lines.setdefault(name, {})
            line[holder] = _Place(0.0)
        place = line[holder]
        place.until = now + lease_seconds
        if next(iter(line)) != holder:
            return 0
        place.token = place.token or next(self._tokens)
        return place.token

    def relock(self, name: str, holder: bytes, until: float) -> bool:
        place = self._lines.get(name, {}).get(holder)
        if place is None or not place.token:
            return False
        place.until = until
        return True

    def unlock(self, name: str, holder: bytes) -> bool:
        line = self._lines.get(name, {})
        found = line.pop(holder, None)
        if not line:
            self._lines.pop(name, None)
        return found is not None

    def drop(self, name: str, now: float) -> bool:
        """Forget whoever's lease is over; say whether there was somebody."""
        line = self._lines.get(name, {})
        over = [holder for holder, place in line.items() if place.until <= now]
        for holder in over:
            self.unlock(name, holder)
        return bool(over)

    def drop_all(self, now: float) -> list[str]:
        """Do so for all locks; return those where there was somebody."""
        return [name for name in list(self._lines) if self.drop(name, now)]

    def next_at(self) -> float:
        """Return when the first lease in any line is over; infinite: none ever is."""
        return min((place.until for line in self._lines.values() for place in line.values()), default=math.inf)

    def records(self) -> Iterator[LockRecord]:
        for name, line in sorted(self._lines.items()):
            first = next(iter(line.values()))
            held = first.token > 0
            yield LockRecord(name=name, token=first.token, until=first.until, waiting=len(line) - held)
