"""The clock that leases are counted by, on this side."""

from __future__ import annotations

import time
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS: its monotonic clock goes on by itself


def boot_time() -> float:
    """Return seconds on a clock that goes on while the machine sleeps, as a broker's leases do."""
    return time.clock_gettime(_CLOCK)
