"""The jobs and their indexes. Every change of a state goes through `JobTable.move`, which knows the legal moves.

`owned` is the index of what belongs to somebody: by owner, the jobs that have not ended.

Heaps are cleaned late: an entry whose job has moved on is thrown away when it comes to the top. So an entry is only a
hint, checked against the job itself, and a job may have several equal ones. For that reason the `take_...` methods are
generators: the caller moves each job before it asks for the next, and the second entry no longer fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from ...model.delivery import Delivery, Submission, owning_job
from ...model.limits import Limit
from ...model.listing import JobRecord
from ...model.states import ENDED, HELD, WAITING, JobState, is_legal
from ..protocol import CLAIM_LOOKS
from .gates import Gate, Gates


@dataclass(slots=True, eq=False)
class Job:
    """One job. All moments are on the broker's clock.

    `due_at` moves on when the job comes back; `expires_at` stays where the submission put it, until a requeue takes it
    away, and so does the owner, unless `detach` is first. `created_at` is when it was submitted or requeued. `token` is empty
    while nobody holds the job. `gate` is where a ready job with limits stands in line; `waits_at` says for which of them, also
    when it comes back.
    """

    submitted: Submission
    sequence: int  # the order of submission: the place in its queue and in listings
    created_at: float
    due_at: float
    expires_at: float | None
    state: JobState
    owner: bytes | None = None
    attempts: int = 0
    crashes: int = 0
    lapses: int = 0
    token: bytes = b""
    lease_until: float = 0.0
    worker: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    cancel_asked: bool = False
    cancel_reason: str | None = None
    unresponsive: bool = False  # only while it is held
    progress: bytes | None = None
    spared_until: float = 0.0  # an ended job that another one needs is not dropped before
    outcome: bytes | None = None  # of the job once it has ended; before that, of the last attempt that failed
    gate: Gate | None = None
    waits_at: Limit | None = None

    @property
    def can_expire(self) -> bool:
        """Whether it waits for its first attempt and may do so only for a time."""
        return self.expires_at is not None and self.state in WAITING and not self.attempts and not self.crashes

    @property
    def drop_at(self) -> float:
        """When its outcome has been kept long enough; asked only once it has ended."""
        return max((self.ended_at or 0.0) + self.submitted.keep_seconds_after(self.state), self.spared_until)

    @property
    def unique(self) -> tuple[str, str] | None:
        """What no other job may have as long as this one has not ended."""
        return None if self.submitted.key is None else (self.submitted.task, self.submitted.key)

    def to_record(self) -> JobRecord:
        submitted = self.submitted
        return JobRecord(
            id=submitted.id,
            queue=submitted.queue,
            task=submitted.task,
            state=self.state,
            cursor=self.sequence,
            priority=submitted.priority,
            attempts=self.attempts,
            crashes=self.crashes,
            created_at=self.created_at,
            due_at=self.due_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            worker=self.worker,
            key=submitted.key,
            parent=submitted.parent,
            tags=submitted.tags,
            owned=self.owner is not None,
            unresponsive=self.unresponsive,
            cancel_reason=(self.cancel_reason or "") if self.cancel_asked else None,
            progress=self.progress,
            outcome=self.outcome,
            payload=submitted.payload,
            waits_for=None if self.gate is None or self.gate.is_open else self.gate.limit.name,
            raw=submitted.raw,
        )

    def is_late(self, now: float) -> bool:
        """Whether it has waited for its first attempt for too long."""
        return self.can_expire and self.expires_at is not None and now >= self.expires_at


_Timed = list[tuple[float, int, Job]]  # heap of (moment, sequence, job)


class JobTable:
    """All jobs of one broker."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}  # id -> job, in the order of submission
        self.held: dict[str, Job] = {}  # id -> job that a worker holds; few, so that a sweep may look at each
        self.owned: dict[bytes, dict[str, Job]] = {}  # owner -> id -> job that has not ended
        self.keys: dict[tuple[str, str], str] = {}  # (task, key) -> id of the job that has not ended
        self.counts: dict[str, Counter[JobState]] = {}  # queue -> jobs in each state
        self.gates = Gates()  # of ready jobs with limits
        self._ready: dict[str, list[tuple[int, int, Job]]] = {}  # queue -> heap of (-priority, sequence, job); without limits
        self._due: _Timed = []
        self._expiring: _Timed = []
        self._ended: _Timed = []
        self._sequence = count(1)

    def add(self, submitted: Submission, now: float) -> Job:
        """Store a new job."""
        start_at = now + submitted.delay_seconds if submitted.start_at is None else submitted.start_at
        due_at = max(now, start_at)
        expires_at = None if submitted.expires_seconds is None else due_at + submitted.expires_seconds
        state = JobState.SCHEDULED if due_at > now else JobState.READY
        job = Job(submitted, next(self._sequence), now, due_at, expires_at, state, submitted.owner)
        if submitted.ended is not None:
            job.state, job.ended_at, job.outcome = submitted.ended, now, submitted.outcome
        self.jobs[submitted.id] = job
        self._enter(job)
        return job

    def move(self, job: Job, move: str, after: JobState) -> None:
        """Make one move of the table in `model/states.py`. The only place where a job's state changes."""
        before = job.state
        if not is_legal(move, before, after):
            raise RuntimeError(f"{job.submitted.id}: no move {move!r} leads from {before} to {after}")
        self._leave(job)
        job.state = after
        if job.submitted.limits and (before in HELD) != (after in HELD):
            (self.gates.hold if after in HELD else self.gates.give_back)(job)
        self._enter(job)

    def detach(self, job: Job) -> None:
        """Take a job that has not ended away from its owner."""
        self._disown(job)
        job.owner = None

    def is_needed(self, job: Job) -> bool:
        """Whether an ended job belongs to a job that has not ended, which may ask for its outcome again."""
        job_id = owning_job(job.owner)
        return job_id is not None and self.lives(job_id)

    def lives(self, job_id: str) -> bool:
        """Whether a job is known and has not ended."""
        job = self.jobs.get(job_id)
        return job is not None and job.state not in ENDED

    def spare(self, job: Job, until: float) -> None:
        """Keep an ended job, which `take_kept_enough` has given, for some more time."""
        job.spared_until = until
        heappush(self._ended, (job.drop_at, job.sequence, job))

    def drop(self, job: Job) -> None:
        """Forget a job that nobody holds."""
        self._leave(job)
        del self.jobs[job.submitted.id]

    def find_held(self, delivery: Delivery) -> Job | None:
        """Return the job that *delivery* still holds; None: its token is stale."""
        job = self.held.get(delivery.id)
        return job if job is not None and job.token == delivery.token else None

    def owned_by(self, owner: bytes) -> list[Job]:
        """Return the jobs of an owner that have not ended, in the order of submission."""
        return sorted(self.owned.get(owner, {}).values(), key=lambda job: job.sequence)

    def take_ready(self, queue: str, limit: int, now: float, refuse: Callable[[Job, Limit], None]) -> Iterator[Job]:
        """Take the next ready jobs of a queue, in their order; the caller moves each one on.

        Args:
            refuse: Called with jobs that are to end because a limit rejects them, in its turn.
        """
        heap = self._ready.get(queue, [])
        late: list[tuple[int, int, Job]] = []
        passed: list[tuple[Gate, tuple[int, int, Job]]] = []
        looks = CLAIM_LOOKS
        while limit > 0:
            while heap and not self._is_there(heap[0][2], JobState.READY):
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
                job = heap[0][2]
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

    def _look_at(
        self, gate: Gate, now: float, refuse: Callable[[Job, Limit], None]
    ) -> tuple[Job | None, tuple[int, int, Job] | None]:
        """Look at the first of those who stand at an open gate; return it if it may go, or its entry if it is too late."""
        if not gate.limit.rejects and not self.gates.has_room(gate.limit, now):
            self.gates.close(gate)
            return None, None
        job = gate.line[0][2]
        if job.is_late(now):
            return None, heappop(gate.line)
        blocker = self.gates.blocker(job, now)
        if blocker is None:
            self.gates.count_start(job, now)
            return job, None
        if blocker.rejects:
            refuse(job, blocker)
        else:
            self.gates.move(job, blocker)
        return None, None

    def take_due(self, limit: int, now: float) -> Iterator[Job]:
        return self._take(self._due, limit, now, lambda job: job.due_at if job.state is JobState.SCHEDULED else None)

    def take_expired(self, limit: int, now: float) -> Iterator[Job]:
        return self._take(self._expiring, limit, now, lambda job: job.expires_at if job.can_expire else None)

    def take_kept_enough(self, limit: int, now: float) -> Iterator[Job]:
        return self._take(self._ended, limit, now, lambda job: job.drop_at if job.state in ENDED else None)

    def next_due_at(self) -> float | None:
        """Return when the next scheduled job is due."""
        while self._due:
            due_at, _, job = self._due[0]
            if self._is_there(job, JobState.SCHEDULED) and job.due_at == due_at:
                return due_at
            heappop(self._due)
        return None

    def _take(self, heap: _Timed, limit: int, now: float, moment_of: Callable[[Job], float | None]) -> Iterator[Job]:
        while heap and limit > 0 and heap[0][0] <= now:
            moment, _, job = heappop(heap)
            if self.jobs.get(job.submitted.id) is job and moment_of(job) == moment:
                limit -= 1
                yield job

    def _is_there(self, job: Job, state: JobState) -> bool:
        return job.state is state and self.jobs.get(job.submitted.id) is job

    def _enter(self, job: Job) -> None:
        """Put a job into the indexes of its state."""
        state, sequence, submitted = job.state, job.sequence, job.submitted
        self.counts.setdefault(submitted.queue, Counter())[state] += 1
        if state in HELD:
            self.held[submitted.id] = job
        elif state in ENDED:
            heappush(self._ended, (job.drop_at, sequence, job))
        elif state is JobState.READY and submitted.limits:
            self.gates.enter(job)
        elif state is JobState.READY:
            heappush(self._ready.setdefault(submitted.queue, []), (-submitted.priority, sequence, job))
        else:
            heappush(self._due, (job.due_at, sequence, job))
        if job.can_expire and job.expires_at is not None:
            heappush(self._expiring, (job.expires_at, sequence, job))
        if state not in ENDED and job.unique is not None:
            self.keys[job.unique] = submitted.id
        if state not in ENDED and job.owner is not None:
            self.owned.setdefault(job.owner, {})[submitted.id] = job

    def _leave(self, job: Job) -> None:
        """Take a job out of the indexes that are not cleaned late."""
        counts = self.counts[job.submitted.queue]
        counts[job.state] -= 1
        if not counts[job.state]:
            del counts[job.state]
        if not counts:
            del self.counts[job.submitted.queue]
        self.held.pop(job.submitted.id, None)
        if job.gate is not None:
            self.gates.leave(job)
        if job.state not in ENDED and job.unique is not None:
            del self.keys[job.unique]
        if job.state not in ENDED:
            self._disown(job)

    def _disown(self, job: Job) -> None:
        if job.owner is not None:
            del self.owned[job.owner][job.submitted.id]
            if not self.owned[job.owner]:
                del self.owned[job.owner]
