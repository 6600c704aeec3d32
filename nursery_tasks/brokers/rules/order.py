"""Which job is next: in its queue, and in time.

A broker without a store has no such order: RabbitMQ knows it, and each of its processes knows few of the jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from heapq import heappop, heappush

from ...model.limits import Limit
from ...model.states import ENDED, JobState
from ..protocol import CLAIM_LOOKS
from .gates import Gates
from .job import Entry, Gate, Job
from .parked import Parked
from .shares import Shares
from .timeline import Timeline


class JobOrder:
    """Where each job stands that nobody holds. `enter` and `leave` are the table's to call, around each change of a job.

    Attributes:
        gates: Of ready jobs with limits.
        parked: Scheduled jobs that some workers may have before their time.
        due, expiring, kept: Jobs by when they become ready, expire, and have been kept long enough.
        paused: Queues from which nobody may claim.
        shares: Of jobs in fair queues.
    """

    def __init__(self, gates: Gates, shares: Shares | None = None) -> None:
        self.gates = gates
        self.parked = Parked()
        self.due = Timeline(lambda job: job.due_at if job.state is JobState.SCHEDULED else None)
        self.expiring = Timeline(lambda job: job.expires_at if job.can_expire else None)
        self.kept = Timeline(lambda job: job.drop_at if job.state in ENDED else None)
        self.paused: set[str] = set()
        self.shares = shares or Shares()
        self._ready: dict[str, list[Entry]] = {}  # queue -> heap of those without limits, cleaned late as a timeline is

    def enter(self, job: Job) -> None:
        """Put a job where its state wants it."""
        state = job.state
        if state in ENDED:
            self.kept.add(job.drop_at, job)
        elif state is JobState.READY:
            self.stand(job)
        else:
            self.due.add(job.due_at, job)
            self.parked.add(job)
        if job.can_expire and job.expires_at is not None:
            self.expiring.add(job.expires_at, job)

    def leave(self, job: Job) -> None:
        """Take a job away from where entries are not cleaned late."""
        if job.state is JobState.SCHEDULED and job.parked is not None:
            self.parked.remove(job)
        if job.gate is not None:
            self.gates.leave(job)

    def stand(self, job: Job) -> None:
        """Let a job that is ready stand where claims look."""
        if self.gates.next_of(job) is not None:
            self.gates.enter(job)
        else:
            heappush(self._ready.setdefault(job.submitted.queue, []), job.place)

    def spare(self, job: Job, until: float) -> None:
        """Keep an ended job, which `kept` has given, for some more time."""
        job.spared_until = until
        self.kept.add(job.drop_at, job)

    def next_at(self) -> float:
        """Return no later than when the next job is due, expires or has been kept long enough; infinite: never."""
        return min(self.due.earliest(), self.expiring.earliest(), self.kept.earliest())

    def parked_under(self, queue: str, names: Collection[str]) -> list[Job]:
        return self.parked.find(queue, names)

    def take_ready(self, queue: str, limit: int, now: float, refuse: Callable[[Job, Limit], None]) -> Iterator[Job]:
        """Take the next ready jobs of a queue, in their order; the caller moves each one on.

        Args:
            refuse: Called with jobs that are to end because a limit rejects them, in its turn.
        """
        heap = self._ready.get(queue, [])
        late: list[Entry] = []
        passed: list[tuple[Gate, Entry]] = []
        looks = CLAIM_LOOKS
        while limit > 0:
            while heap and not _stands_here(heap[0][3]):
                heappop(heap)
            found = self.gates.first_open(queue)
            if found is not None and (not heap or found[0] < heap[0][:2]):
                if not looks:
                    self.gates.opened.add(queue)  # another claim goes on
                    break
                job, entry = self._look_at(found[1], now, refuse)
                looks -= job is None
                if entry is not None:
                    passed.append((found[1], entry))
                if job is None:
                    continue
            elif heap:
                job = heap[0][3]
                entry = heappop(heap)
                if job.is_late(now):
                    late.append(entry)  # the sweep ends it; it stays until then, in case that the clock is set back
                    continue
            else:
                break
            limit -= 1
            yield job
        for entry in late:
            heappush(heap, entry)
        for gate, entry in passed:
            self.gates.put_back(gate, [entry])

    def _look_at(self, gate: Gate, now: float, refuse: Callable[[Job, Limit], None]) -> tuple[Job | None, Entry | None]:
        """Look at the first of those who stand at an open gate; return it if it may go, or its entry if it is too late."""
        if not gate.limit.rejects and not self.gates.has_room(gate.limit, now):
            self.gates.close(gate)
            return None, None
        job = gate.line[0][3]
        if job.is_late(now):
            return None, heappop(gate.line)
        blocker = self.gates.blocker(job, now)
        if blocker is None or not blocker.rejects:
            self.gates.take_turn(job)
        if blocker is None:
            self.gates.count_start(job, now)
            return job, None
        if blocker.rejects:
            refuse(job, blocker)
        else:
            self.gates.move(job, blocker)
        return None, None


def _stands_here(job: Job) -> bool:
    """Say whether a job is among those without a limit; the entry may be from before it was run again by hand."""
    return job.state is JobState.READY and job.gate is None and not job.dropped
