"""Times in which nobody could write: somebody kept the file locked, or the disk did not take anything.

When such a time ends, leases are over whose workers live and had no way to renew them; and the first to get the lock may be one
who wants to take their jobs back. So leases are believed to be over only by a process that has been able to write for a moment
already, during which the others would have renewed them: some seconds after a failure or a long wait, and otherwise for one. A
process that had nothing to write for a while cannot know, so its first sweep takes nothing back; the one after it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

WAIT_SECONDS: Final = 2.0  # for the file's lock; other writers keep it for milliseconds
RENEW_SECONDS: Final = 5.0  # after a wait or a failure, for the others to renew; they try all the time
MOMENT_SECONDS: Final = 0.9  # where there was none: SQLite looks every 0.1 s for the lock, and sweeps are 1 s apart
QUIET_SECONDS: Final = 3.0  # without a write


class Lockout:
    """What this process knows of such times. Used by whoever has the right to write, one at a time.

    Args:
        clock: Seconds on a clock that nobody sets.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrote_at = self._from = float("-inf")  # the last write; since when there was one each few seconds
        self._ended_at = float("-inf")  # the end of the last wait or failure

    @contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Note a wait for the file's lock, if it was long."""
        began = self._clock()
        yield
        if self._clock() - began >= WAIT_SECONDS:
            self.failed()

    def wrote(self) -> None:
        """Note that it was possible to write."""
        now = self._clock()
        if now - self._wrote_at > QUIET_SECONDS:
            self._from = now
        self._wrote_at = now

    def failed(self) -> None:
        """Note that it was not possible to write just now."""
        self._ended_at = self._clock()

    @property
    def is_past(self) -> bool:
        """Whether the others have had the time to renew their leases, if there was such a time."""
        now = self._clock()
        is_known = now - self._wrote_at <= QUIET_SECONDS and now - self._from >= MOMENT_SECONDS
        return is_known and now - self._ended_at >= RENEW_SECONDS
