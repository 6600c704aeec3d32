"""What goes wrong again and again, and is said when it begins, then once in a while."""

from __future__ import annotations

import logging
import time
from threading import Lock
from typing import Final

SAY_AGAIN_SECONDS: Final = 30.0


class LogThrottle:
    """One kind of trouble, whoever has it: a log must not fill because many wait for the same server. Any thread."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = Lock()
        self._said_at = float("-inf")

    def log(self, text: str, *args: object, traceback: bool = False) -> None:
        """Log a warning, unless one was logged a moment ago; with the traceback of a mistake: an error."""
        with self._lock:
            now = time.monotonic()
            is_due = now - self._said_at >= SAY_AGAIN_SECONDS
            if is_due:
                self._said_at = now
        if is_due:
            self._log.log(logging.ERROR if traceback else logging.WARNING, text, *args, exc_info=traceback)
