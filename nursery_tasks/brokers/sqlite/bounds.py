"""How many jobs wait in a queue, for those that may be refused.

Nobody keeps a number: it is counted in indexes, and no further than to the length that matters. So a queue without a length
pays nothing for those that have one, and nothing can drift.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import apsw

from ...model.delivery import Submission
from .schema import ASIDE, PLAIN
from .statements import fetch_value

_COUNT: Final = f"""
    SELECT count(*) FROM (
        SELECT 1 FROM (SELECT 1 FROM job WHERE queue = ?1 AND {PLAIN} LIMIT ?2)
        UNION ALL SELECT 1 FROM (SELECT 1 FROM job WHERE queue = ?1 AND {ASIDE} LIMIT ?2)
    )
"""


class Waiting:
    """What waits in the queues of a batch that has jobs with a `max_length`, in one transaction.

    Args:
        gone: Owners that are no more: what belongs to them is stored as cancelled, and waits nowhere.
    """

    def __init__(self, cursor: apsw.Cursor, jobs: Sequence[Submission], gone: Collection[bytes | None]) -> None:
        self._cursor, self._gone = cursor, gone
        self._longest: dict[str, int] = {}
        for job in jobs:
            if job.max_length:
                self._longest[job.queue] = max(job.max_length, self._longest.get(job.queue, 0))
        self.count()

    def count(self) -> None:
        """Look what waits there now."""
        self._counts = {queue: self._count(queue, most) for queue, most in self._longest.items()}

    def _count(self, queue: str, most: int) -> int:
        number: int = fetch_value(self._cursor, _COUNT, queue, most)
        return number

    def is_full(self, job: Submission) -> bool:
        """Say whether a job finds no room."""
        return 0 < job.max_length <= self._counts.get(job.queue, 0) and self._waits(job)

    def add(self, job: Submission) -> None:
        """Count a job that was stored."""
        if job.queue in self._counts and self._waits(job):
            self._counts[job.queue] += 1

    def all_fit(self, jobs: Sequence[Submission]) -> bool:
        """Count all of *jobs*; say whether each found room."""
        for job in jobs:
            if self.is_full(job):
                return False
            self.add(job)
        return True

    def _waits(self, job: Submission) -> bool:
        return job.ended is None and job.owner not in self._gone
