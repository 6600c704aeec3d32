"""What a worker has done so far, counted from its events: for the summary, the dense lines and the watchdog."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from ..events import EventKind, JobEvent
from ..model.reasons import WORKER_STOPS, once_over

_LOST: Final = once_over(WORKER_STOPS)
_GOES_ON: Final = (EventKind.QUEUED, EventKind.PROGRESS)  # neither begins an attempt nor ends one
ENDS: Final = (EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED, EventKind.EXPIRED, EventKind.DEAD)


@dataclass(slots=True)
class TaskTally:
    """The counts of one task; durations are of attempts that ended here. *lost*: dead, as the worker stopped in the middle."""

    counts: Counter[EventKind] = field(default_factory=Counter[EventKind])
    lost: int = 0
    timed: int = 0
    seconds: float = 0.0
    longest: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean duration of an attempt, in seconds."""
        return self.seconds / self.timed if self.timed else None


class Tally:
    """Counts per task, and which jobs run now."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskTally] = {}
        self.running: dict[str, str] = {}  # job id -> task

    def add(self, event: JobEvent) -> None:
        """Count one event."""
        tally = self.tasks.get(event.task)
        if tally is None:
            tally = self.tasks[event.task] = TaskTally()
        kind, seconds = event.kind, event.seconds
        tally.counts[kind] += 1
        if kind is EventKind.DEAD:
            tally.lost += event.detail == _LOST
        if kind is EventKind.STARTED:
            self.running[event.job_id] = event.task
        elif kind not in _GOES_ON:
            self.running.pop(event.job_id, None)
        if seconds is not None:
            tally.timed += 1
            tally.seconds += seconds
            if seconds > tally.longest:
                tally.longest = seconds

    def total(self) -> Counter[EventKind]:
        """Add the counts of all tasks."""
        return sum((tally.counts for tally in self.tasks.values()), Counter[EventKind]())

    @property
    def lost(self) -> int:
        """How many jobs are dead because they are delivered at most once, and the worker has stopped in the middle of them."""
        return sum(task.lost for task in self.tasks.values())

    def parts(self) -> dict[str, Any]:
        """Return the counts for another tally."""
        return {
            name: [{str(kind): count for kind, count in task.counts.items()}, task.timed, task.seconds, task.longest, task.lost]
            for name, task in self.tasks.items()
        }

    def add_parts(self, parts: dict[str, Any]) -> None:
        """Add what `parts()` of another tally gave."""
        for name, (counts, timed, seconds, longest, lost) in parts.items():
            task = self.tasks.setdefault(name, TaskTally())
            task.counts.update({EventKind(kind): count for kind, count in counts.items()})
            task.lost += lost
            task.timed += timed
            task.seconds += seconds
            task.longest = max(task.longest, longest)

    def to_data(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        return {
            name: {
                **{str(kind): count for kind, count in tally.counts.items()},
                "mean_seconds": tally.mean,
                "max_seconds": tally.longest if tally.timed else None,
            }
            for name, tally in sorted(self.tasks.items())
        }
