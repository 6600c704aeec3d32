"""The broker's clock: the system's, except that it never goes back.

When the system's clock is set back, this one goes on at half its speed until the other has caught up. Standing still
instead would stall delays and leases for as long as the step was wide; keeping the difference would start jobs with a fixed
time too early for ever. The latest moment that any process has seen is stored in the file and given to the next to open it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class BrokerClock:
    """Epoch seconds that never decrease.

    Args:
        source: The system's clock, or a test's.
        latest: A moment that has been seen before.
    """

    def __init__(self, source: Callable[[], float], latest: float = 0.0) -> None:
        self._source = source
        self._lock = Lock()
        self._seen = source()
        self._now = max(self._seen, latest)

    def __call__(self) -> float:
        with self._lock:
            seen = self._source()
            passed, self._seen = seen - self._seen, seen
            self._now = max(seen, self._now + max(passed, 0.0) / 2)
            return self._now

    def raise_to(self, latest: float) -> None:
        """Take over a later moment that another process has seen."""
        with self._lock:
            self._now = max(self._now, latest)
