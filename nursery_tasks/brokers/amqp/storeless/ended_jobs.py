"""Which jobs have ended here lately: bounded in number and size."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final

from ...rules.job import Job

ENDS_MOST: Final = 10_000  # outcomes that are kept for whoever asks
ENDS_BYTES: Final = 64 * 1024 * 1024  # likewise
GUESTS_MOST: Final = 20_000  # whose second delivery would be recognised


class EndedJobs:
    """The jobs of this process that have ended, with their outcomes; and those of others that have ended here."""

    def __init__(self) -> None:
        self._ours: deque[tuple[Job, int]] = deque()  # oldest first, with the sizes of their outcomes
        self._bytes = 0
        self._guests: OrderedDict[str, float] = OrderedDict()  # job id -> when it was submitted

    def add(self, job: Job) -> None:
        """Keep a job of this process."""
        size = len(job.outcome or b"")
        self._ours.append((job, size))
        self._bytes += size

    def take_excess(self) -> Iterator[Job]:
        """Take the oldest, as far as there are too many."""
        while self._ours and (len(self._ours) > ENDS_MOST or self._bytes > ENDS_BYTES):
            job, size = self._ours.popleft()
            self._bytes -= size
            yield job

    def add_guest(self, job_id: str, created_at: float) -> None:
        """Remember that a job of another process has ended here."""
        self._guests[job_id] = created_at
        self._guests.move_to_end(job_id)
        if len(self._guests) > GUESTS_MOST:
            self._guests.popitem(last=False)

    def is_guest(self, job_id: str, created_at: float) -> bool:
        """Whether it was that job, and not another one of its name."""
        return self._guests.get(job_id) == created_at
