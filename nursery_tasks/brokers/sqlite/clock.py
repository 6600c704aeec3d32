"""The broker's clock: the system's, except that it never goes back.

When the system's clock is set back, this one goes on at half its speed until the other has caught up. Standing still
instead would stall delays and leases for as long as the step was wide; keeping the difference would start jobs with a fixed
time too early for ever. The latest moment that any process has seen is stored in the file, for the next to open it and for
those that have it open.

When the system's clock leaps forward (it was set, or the machine slept), this one leaps along, because jobs may be due. But
leases then seem to be over that their workers had no chance to renew, so for a while they are not taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

JUMP_SECONDS: Final = 3.0  # a step by more than this is a jump
GRACE_SECONDS: Final = 10.0  # how long leases are left alone after one; workers renew every 5 s


class BrokerClock:
    """Epoch seconds that never decrease.

    Args:
        source: The system's clock, or a test's.
        latest: A moment that has been seen before.
        steady: A clock that nobody sets and that stops while the machine sleeps; jumps are seen by it. None: there are none.
    """

    def __init__(self, source: Callable[[], float], latest: float = 0.0, *, steady: Callable[[], float] | None = None) -> None:
        self._source, self._steady = source, steady or source
        self._lock = Lock()
        self._felt, self._seen = self._steady(), source()
        self._now = max(self._seen, latest)
        self._grace_until = float("-inf")  # on the steady clock

    @classmethod
    def of(cls, source: Callable[[], float], latest: float) -> BrokerClock:
        """Watch for jumps only where *source* is the real clock; a test's moves as it is told to."""
        return cls(source, latest, steady=time.monotonic if source is time.time else None)

    def __call__(self) -> float:
        with self._lock:
            return self._read()

    @property
    def has_jumped(self) -> bool:
        """Whether the clock leapt forward a moment ago."""
        return self._felt < self._grace_until

    def raise_to(self, latest: float) -> None:
        """Take over a later moment that another process has seen.

        What has passed here since the last reading is counted first. It lies before *latest*, so a reading that added it
        afterwards would put the clock ahead of the system's, by half of the time that this process did not run.
        """
        with self._lock:
            self._now = max(self._read(), latest)

    def _read(self) -> float:
        """Go on to the present. With the lock held."""
        felt, seen = self._steady(), self._source()
        elapsed = self._steady() - self._felt  # at most: this process may have been stopped between any two readings
        passed, self._seen = seen - self._seen, seen
        if passed - elapsed > JUMP_SECONDS:
            self._grace_until = felt + GRACE_SECONDS
        self._felt = felt
        self._now = max(seen, self._now + max(passed, 0.0) / 2)
        return self._now
