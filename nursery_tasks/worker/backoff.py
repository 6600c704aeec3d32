"""How long to wait for a broker that is away."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 0.1
MOST_SECONDS: Final = 30.0


def next_pause(previous: float, fraction: float) -> float:
    """Return the next pause: decorrelated jitter, between 0.1 s and three times the previous one, at most 30 s.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("decorrelated").
    """
    upper = max(FIRST_SECONDS * 2, previous * 3)
    return min(MOST_SECONDS, FIRST_SECONDS + fraction * (upper - FIRST_SECONDS))
