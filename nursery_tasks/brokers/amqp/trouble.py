"""A queue from which no messages can be had: it is tried again, less and less often, and nobody else pays for it.

Some of these queues only keep the server waiting, and some are refused, which ends a channel. But what a server says of a
quorum queue whose process is gone (`noproc`, seen with 3.10 after a `kill -9`) is an internal error, and ends the whole
connection. It does not say for which queue. So each queue whose consumer was about to start at that moment is suspect, and is
tried on a connection of its own first.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Final

from ...log_throttle import LogThrottle
from .errors import to_broker_error

FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 15.0

_log = logging.getLogger("nursery_tasks.worker")


class Trouble:
    """What is wrong with one queue.

    Attributes:
        is_suspect: Whether a connection may have been closed because of it.
    """

    def __init__(self, broker: str, queue: str) -> None:
        self._broker, self._queue = broker, queue
        self.is_suspect = False
        self._pause = 0.0  # seconds; 0: there is none
        self._until = 0.0  # on the clock of `time.monotonic`
        self._throttle = LogThrottle(_log)

    @property
    def is_there(self) -> bool:
        """Whether the last try has failed."""
        return self._pause > 0

    @property
    def may_try(self) -> bool:
        """Whether it is time to try."""
        return time.monotonic() >= self._until

    def wait(self) -> None:
        """Let some time pass before the next try."""
        self._pause = min(2 * self._pause or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._until = time.monotonic() + self._pause * random.uniform(0.5, 1.0)

    def failed(self, error: BaseException) -> None:
        """Hear that a try has failed."""
        self.wait()
        problem = to_broker_error(self._broker, error)
        self._throttle.log("no messages come from the queue %r for now, it is tried again: %s", self._queue, problem)

    def over(self) -> None:
        """Hear that messages come."""
        self.is_suspect, self._pause, self._until = False, 0.0, 0.0
