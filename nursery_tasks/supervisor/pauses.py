"""How long a place waits before it starts a worker process again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

FIRST_SECONDS: Final = 1.0  # the longest pause after the second death in a row; there is none after the first
MOST_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 10.0  # who has worked for so long is no failure when it dies


class Pauses:
    """Back-off with full jitter.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("full jitter").

    Args:
        fraction: The source of jitter, a number in [0, 1).
    """

    def __init__(self, fraction: Callable[[], float] = random.random) -> None:
        self._fraction = fraction
        self._deaths = 0

    def next(self, worked_seconds: float) -> float:
        """Return the pause after a death."""
        self._deaths = 1 if worked_seconds >= STEADY_SECONDS else self._deaths + 1
        if self._deaths == 1:
            return 0.0
        return self._fraction() * min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._deaths - 2, 10))
