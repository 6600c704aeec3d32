"""Jobs that workers have parked until somebody comes who knows what to do with them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator

from ..protocol import PARKED_LOOKS
from .job import Entry, Job


class Parked:
    """The parked jobs of all queues."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, list[Entry]]] = {}  # queue -> name -> those who are parked there, in order

    def find(self, queue: str, names: Collection[str]) -> list[Job]:
        """Return the first of the jobs of a queue that are parked under one of *names*, of each name."""
        of_queue = self._lines.get(queue)
        if not of_queue:
            return []
        return [job for name in of_queue.keys() & set(names) for *_, job in of_queue[name][:PARKED_LOOKS]]

    def lines(self, prefix: str) -> Iterator[tuple[str, str, list[Entry]]]:
        """Return the lines whose names begin with *prefix*, by queue and name, with those who stand there."""
        for queue, lines in sorted(self._lines.items()):
            for name in sorted(name for name in lines if name.startswith(prefix)):
                yield queue, name, lines[name]

    def add(self, job: Job) -> None:
        if job.parked is not None:
            insort(self._lines.setdefault(job.submitted.queue, {}).setdefault(job.parked, []), job.place)

    def remove(self, job: Job) -> None:
        of_queue = self._lines[job.submitted.queue]
        line = of_queue[job.parked or ""]
        del line[bisect_left(line, job.place)]
        if not line:
            del of_queue[job.parked or ""]
