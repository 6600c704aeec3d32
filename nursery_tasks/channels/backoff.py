"""How long to wait before a channel that is away is asked again."""

from __future__ import annotations

import random
from typing import Final

FIRST_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 2.0


class Backoff:
    """Longer and longer pauses, none twice the same, until something has worked."""

    def __init__(self) -> None:
        self._next = FIRST_SECONDS

    def next_seconds(self) -> float:
        """Return how long to wait now."""
        pause, self._next = self._next, min(2 * self._next, LONGEST_SECONDS)
        return pause * random.uniform(0.5, 1.0)

    def worked(self) -> None:
        """Begin with a short one the next time."""
        self._next = FIRST_SECONDS
