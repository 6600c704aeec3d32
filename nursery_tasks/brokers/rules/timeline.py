"""Jobs by a moment at which something happens to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from .job import Job


class Timeline:
    """A heap of (moment, sequence, job), cleaned late: an entry whose job has moved on is thrown away when it comes to the top.

    So an entry is only a hint, checked against the job itself, and a job may have several equal ones. For that reason `take` is
    a generator: the caller moves each job before it asks for the next, and the second entry no longer fits.

    Args:
        moment_of: Returns the moment of a job as it is now; None: it has none.
    """

    def __init__(self, moment_of: Callable[[Job], float | None]) -> None:
        self._moment_of = moment_of
        self._heap: list[tuple[float, int, Job]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Job]:
        return (job for *_, job in self._heap)

    def add(self, moment: float, job: Job) -> None:
        heappush(self._heap, (moment, job.sequence, job))

    def take(self, limit: int, now: float) -> Iterator[Job]:
        """Take up to *limit* jobs whose moment has come; the caller moves each one on."""
        while self._heap and limit > 0 and self._heap[0][0] <= now:
            moment, _, job = heappop(self._heap)
            if not job.dropped and self._moment_of(job) == moment:
                limit -= 1
                yield job

    def next_at(self) -> float | None:
        """Return the first moment; None: there is none."""
        while self._heap:
            moment, _, job = self._heap[0]
            if not job.dropped and self._moment_of(job) == moment:
                return moment
            heappop(self._heap)
        return None

    def earliest(self) -> float:
        """Return no later than the first moment, without a look at the job; infinite: never."""
        return self._heap[0][0] if self._heap else math.inf
