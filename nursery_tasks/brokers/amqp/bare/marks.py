"""Cancels of jobs that are in a message somewhere: remembered for a while, for when one is delivered here."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Final

MARK_SECONDS: Final = 3600.0
MOST: Final = 10_000
SKEW_SECONDS: Final = 2.0  # how far clocks may be apart

Mark = tuple[str, str | None, float]  # job id, reason, when it was said


class Marks:
    """The cancels that this process has heard of. Any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._marks: OrderedDict[str, tuple[str | None, float, float, bool]] = OrderedDict()

    def add(self, marks: Iterable[Mark], *, ours: bool) -> None:
        """Remember cancels; the first reason stays.

        Args:
            ours: They were asked for here, so workers that begin later are told by this process.
        """
        now = time.monotonic()
        with self._lock:
            for job_id, reason, said_at in marks:
                self._marks.setdefault(job_id, (reason, said_at, now, ours))
            while self._marks and (len(self._marks) > MOST or now - next(iter(self._marks.values()))[2] > MARK_SECONDS):
                self._marks.popitem(last=False)

    def find(self, job_id: str, created_at: float) -> tuple[str | None] | None:
        """Return why a job that was submitted at *created_at* was cancelled; None: it was not, or another of its name was."""
        with self._lock:
            found = self._marks.get(job_id)
        if found is None or found[1] < created_at - SKEW_SECONDS or time.monotonic() - found[2] > MARK_SECONDS:
            return None
        return (found[0],)

    def ours(self) -> list[Mark]:
        """Return the cancels that were asked for here."""
        with self._lock:
            return [(job_id, reason, said_at) for job_id, (reason, said_at, _, ours) in self._marks.items() if ours]
