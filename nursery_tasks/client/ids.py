"""Job ids: UUIDs of version 7 (RFC 9562), which sort by the time of their making, so that an index grows at its end."""

from __future__ import annotations

import os
import time


def new_job_id() -> str:
    """Return a new id: 32 hexadecimal digits, 48 bits of milliseconds first and 74 random bits after."""
    # os.urandom and not random: a process that was forked would repeat its parent's numbers.
    digits = os.urandom(10).hex()
    return f"{time.time_ns() // 1_000_000:012x}7{digits[:3]}{'89ab'[int(digits[3], 16) & 3]}{digits[4:19]}"
