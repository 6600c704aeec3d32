"""When whoever has a lease must act as if it were over: sooner than the broker, whose clock and whose answers come late."""

from __future__ import annotations

from typing import Final

FENCE_SECONDS: Final = 3.0  # before the end of a lease, at most; a fifth of a short one


def fence_seconds(lease_seconds: float) -> float:
    """Return after how long without a renewal a lease of *lease_seconds* must be given up."""
    return lease_seconds - min(FENCE_SECONDS, lease_seconds / 5)
