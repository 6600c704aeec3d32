"""Owners' leases: who owns jobs without being a delivery, and for how long it is believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from ...model.delivery import JOB_OWNER_SECONDS


class OwnerLeases:
    """The leases of owners.

    A lease that a sweep found over is *gone*: nobody can prolong it. It stays until the last of its jobs was cancelled, so that
    several short sweeps can do that.
    """

    def __init__(self) -> None:
        self._until: dict[bytes, float | None] = {}  # owner -> when it is over; None: it is gone

    def is_gone(self, owner: bytes) -> bool:
        return owner in self._until and self._until[owner] is None

    def make(self, owner: bytes, until: float) -> None:
        """Make a lease, or prolong it; it is never cut short."""
        self._until[owner] = max(self._until.get(owner) or until, until)

    def renew(self, owner: bytes, until: float) -> bool:
        """Set the end of a lease that there is."""
        if self._until.get(owner) is None:
            return False
        self._until[owner] = until
        return True

    def let_go(self, owner: bytes) -> None:
        self._until.pop(owner, None)

    def next_at(self, lives: Callable[[bytes], bool]) -> float:
        """Return when the first lease is over, of an owner that is not known to live; infinite: none ever is."""
        return min((until or 0.0 for owner, until in self._until.items() if not lives(owner)), default=math.inf)

    def take_ended(self, now: float, lives: Callable[[bytes], bool]) -> Iterator[bytes]:
        """Take the leases that are over, those that are gone first; whoever has cancelled all its jobs lets it go.

        Args:
            lives: Says of an owner whether it is a job that has not ended, whose lease goes on.
        """
        over: list[tuple[float, bytes]] = []
        for owner, until in self._until.items():
            if until is not None and until <= now and lives(owner):
                self._until[owner] = now + JOB_OWNER_SECONDS
            elif until is None or until <= now:
                over.append((until or 0.0, owner))
        for _, owner in over:
            self._until[owner] = None
        return (owner for _, owner in sorted(over))
