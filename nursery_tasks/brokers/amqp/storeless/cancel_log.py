"""Cancels of jobs that are in a message somewhere: remembered for a while, for when one is delivered here."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Final

from .control_messages import Cancel

KEPT_SECONDS: Final = 3600.0
MOST: Final = 10_000
SKEW_SECONDS: Final = 2.0  # how far clocks may be apart


class CancelLog:
    """The cancels that this process has heard of. Any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        # job id -> (reason, when it was said, when it was heard on the clock of `time.monotonic`, whether it is ours)
        self._cancels: OrderedDict[str, tuple[str | None, float, float, bool]] = OrderedDict()

    def add(self, cancels: Iterable[Cancel], *, ours: bool) -> None:
        """Remember cancels; the first reason stays.

        Args:
            ours: They were asked for here, so workers that begin later are told by this process.
        """
        now = time.monotonic()
        with self._lock:
            for job_id, reason, said_at in cancels:
                self._cancels.setdefault(job_id, (reason, said_at, now, ours))
            while self._cancels and (len(self._cancels) > MOST or now - next(iter(self._cancels.values()))[2] > KEPT_SECONDS):
                self._cancels.popitem(last=False)

    def find(self, job_id: str, created_at: float) -> tuple[str | None] | None:
        """Return why a job that was submitted at *created_at* was cancelled; None: it was not, or another of its name was."""
        with self._lock:
            cancel = self._cancels.get(job_id)
        if cancel is None or cancel[1] < created_at - SKEW_SECONDS or time.monotonic() - cancel[2] > KEPT_SECONDS:
            return None
        return (cancel[0],)

    def ours(self) -> list[Cancel]:
        """Return the cancels that were asked for here."""
        with self._lock:
            return [(job_id, reason, said_at) for job_id, (reason, said_at, _, ours) in self._cancels.items() if ours]
