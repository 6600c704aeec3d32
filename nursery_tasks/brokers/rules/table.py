"""All jobs of a broker, by id, owner and key. Every change of a state goes through `JobTable.move`, which knows the moves."""

from __future__ import annotations

from collections import Counter
from itertools import count

import msgspec

from ...model.delivery import Delivery, Submission, owning_job
from ...model.states import ENDED, HELD, WAITING, JobState, is_legal
from .gates import Gates
from .job import Job
from .order import JobOrder


class JobTable:
    """The jobs and their indexes.

    Args:
        gates: Of jobs with limits; they count what is held.
        order: Is told of each job that comes, changes and goes; None: which job is next is not known here.
    """

    def __init__(self, gates: Gates, order: JobOrder | None) -> None:
        self.jobs: dict[str, Job] = {}  # id -> job, in the order of submission
        self.held: dict[str, Job] = {}  # id -> job that a worker holds; few, so that a sweep may look at each
        self.owned: dict[bytes, dict[str, Job]] = {}  # owner -> id -> job that has not ended
        self.keys: dict[tuple[str, str], str] = {}  # (task, key) -> id of the job that has not ended
        self.counts: dict[str, Counter[JobState]] = {}  # queue -> jobs in each state
        self.gates = gates
        self._order = order
        self._sequence = count(1)

    def add(self, submitted: Submission, now: float) -> Job:
        """Store a new job."""
        due_at = submitted.due_at(now)
        expires_at = submitted.expires_at(due_at)
        state = JobState.SCHEDULED if due_at > now else JobState.READY
        job = Job(submitted, next(self._sequence), now, due_at, expires_at, state, submitted.owner)
        job.turn = job.sequence
        if self._order is not None:
            job.rank = self._order.shares.take(submitted)
        if submitted.ended is not None:
            job.state, job.ended_at, job.outcome = submitted.ended, now, submitted.outcome
        self.jobs[submitted.id] = job
        self._enter(job)
        return job

    def replace(self, job: Job, submitted: Submission, due_at: float) -> None:
        """Let a scheduled job be another submission from now on, with its own id, owner and place."""
        self._leave(job)
        self.gates.give_turn_back(job)
        job.turn, job.waits_at = job.sequence, None
        job.submitted = msgspec.structs.replace(submitted, id=job.submitted.id)
        job.due_at, job.expires_at = due_at, submitted.expires_at(due_at)
        self._enter(job)

    def move(self, job: Job, move: str, after: JobState) -> None:
        """Make one move of the table in `model/states.py`. The only place where a job's state changes."""
        before = job.state
        if not is_legal(move, before, after):
            raise RuntimeError(f"{job.submitted.id}: no move {move!r} leads from {before} to {after}")
        self._leave(job)
        job.state = after
        if job.submitted.limits:
            self.gates.follow(job, before, after)
        self._enter(job)

    # For the length of a claim these two move a job and leave its entries by time alone, or each claim would add some.

    def lift(self, job: Job) -> None:
        """Let a parked job stand among the ready ones."""
        assert self._order is not None
        self._uncount(job)
        self._order.leave(job)
        job.state = JobState.READY
        self._count(job)
        self._order.stand(job)

    def put_back(self, job: Job) -> None:
        """Park it again."""
        assert self._order is not None
        self._uncount(job)
        if job.gate is not None:
            self.gates.leave(job)
        job.state = JobState.SCHEDULED
        self._count(job)
        self._order.parked.add(job)

    def line_up_last(self, job: Job) -> None:
        """Let a job stand behind all who have its ordering key, from now on."""
        job.turn = next(self._sequence)

    def detach(self, job: Job) -> None:
        """Take a job that has not ended away from its owner."""
        self._disown(job)
        job.owner = None

    def drop(self, job: Job) -> None:
        """Forget a job that nobody holds."""
        self._leave(job)
        self.gates.give_turn_back(job)
        job.dropped = True
        del self.jobs[job.submitted.id]

    def is_needed(self, job: Job) -> bool:
        """Whether an ended job belongs to a job that has not ended, which may ask for its outcome again."""
        job_id = owning_job(job.owner)
        return job_id is not None and self.lives(job_id)

    def lives(self, job_id: str) -> bool:
        """Whether a job is known and has not ended."""
        job = self.jobs.get(job_id)
        return job is not None and job.state not in ENDED

    def find_held(self, delivery: Delivery) -> Job | None:
        """Return the job that *delivery* still holds; None: its token is stale."""
        job = self.held.get(delivery.id)
        return job if job is not None and job.token == delivery.token else None

    def find_known(self, submission: Submission) -> Job | None:
        """Return the job that stands for a submission, if there is one."""
        known = self.jobs.get(submission.id)
        if known is None and submission.key is not None:
            holder = self.keys.get((submission.task, submission.key))
            return None if holder is None else self.jobs[holder]
        return known

    def count_waiting(self, queue: str) -> int:
        """Return how many jobs wait in a queue, scheduled or ready."""
        counts = self.counts.get(queue)
        return 0 if counts is None else sum(counts[state] for state in WAITING)

    def owned_by(self, owner: bytes) -> list[Job]:
        """Return the jobs of an owner that have not ended, in the order of submission."""
        return sorted(self.owned.get(owner, {}).values(), key=lambda job: job.sequence)

    def _enter(self, job: Job) -> None:
        """Put a job into the indexes of its state."""
        state, submitted = job.state, job.submitted
        self._count(job)
        if state in HELD:
            self.held[submitted.id] = job
        elif self._order is not None:
            self._order.enter(job)
        if state not in ENDED and job.unique is not None:
            self.keys[job.unique] = submitted.id
        if state not in ENDED and job.owner is not None:
            self.owned.setdefault(job.owner, {})[submitted.id] = job

    def _leave(self, job: Job) -> None:
        """Take a job out of the indexes of its state."""
        self._uncount(job)
        self.held.pop(job.submitted.id, None)
        if self._order is not None and (job.gate is not None or job.parked is not None):
            self._order.leave(job)
        if job.state not in ENDED and job.unique is not None:
            del self.keys[job.unique]
        if job.state not in ENDED:
            self._disown(job)

    def _disown(self, job: Job) -> None:
        if job.owner is not None:
            del self.owned[job.owner][job.submitted.id]
            if not self.owned[job.owner]:
                del self.owned[job.owner]

    def _count(self, job: Job) -> None:
        self.counts.setdefault(job.submitted.queue, Counter())[job.state] += 1

    def _uncount(self, job: Job) -> None:
        counts = self.counts[job.submitted.queue]
        counts[job.state] -= 1
        if not counts[job.state]:
            del counts[job.state]
        if not counts:
            del self.counts[job.submitted.queue]
