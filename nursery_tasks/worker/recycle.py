"""When a worker is to be replaced by a fresh process: after so many attempts, or above so much memory.

Both limits are lowered a little by chance, by up to a tenth, so that workers that began together do not end together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from ..program import resident_bytes

LOOK_SECONDS: Final = 0.05  # between two looks at the memory: one costs as much as a small job
JITTER: Final = 0.1  # of a limit

_MIB: Final = 1024 * 1024


class RecycleLimits:
    """Counts attempts, and looks at the memory after them. The methods return the reason once a limit is reached.

    Args:
        max_jobs: How many attempts may begin; None: any number.
        max_memory_bytes: How much resident memory is too much; None: none is.
        fraction: The source of jitter, a number in [0, 1).
    """

    def __init__(
        self,
        max_jobs: int | None,
        max_memory_bytes: int | None,
        fraction: Callable[[], float],
        *,
        memory: Callable[[], int] = resident_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        jitter = fraction() * JITTER
        self.max_jobs = None if max_jobs is None else max_jobs - int(max_jobs * jitter)
        self.max_memory_bytes = None if max_memory_bytes is None else int(max_memory_bytes * (1 - jitter))
        self._memory = memory
        self._clock = clock
        self._begun = 0
        self._looked_at = -math.inf

    def begun(self, attempts: int = 1) -> str | None:
        """Count attempts that begin."""
        self._begun += attempts
        if self.max_jobs is None or self._begun < self.max_jobs:
            return None
        return f"it has begun {self._begun} of {self.max_jobs} jobs"

    def ended(self) -> str | None:
        """Look at the memory after an attempt."""
        if self.max_memory_bytes is None or (now := self._clock()) - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at = now
        used = self._memory()
        if used <= self.max_memory_bytes:
            return None
        return f"it has {used / _MIB:.0f} MiB of memory, above {self.max_memory_bytes / _MIB:.0f}"
