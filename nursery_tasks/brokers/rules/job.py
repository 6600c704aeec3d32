"""One job, and the gate at which it may stand: two records that point at each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop

from ...model.delivery import Delivery, Stored, Submission
from ...model.limits import Limit
from ...model.listing import JobRecord
from ...model.states import WAITING, JobState
from ..protocol import CRASH_STEP

Place = tuple[int, int]  # (-priority, place): the order within a queue


@dataclass(slots=True, eq=False)
class Job:
    """One job. All moments are on the broker's clock.

    `due_at` moves on when the job comes back; `expires_at` stays where the submission put it, until a requeue takes it
    away, and so does the owner, unless `detach` is first. `created_at` is when it was submitted or requeued. `token` is empty
    while nobody holds the job. `gate` is where a ready job with limits stands in line; `waits_at` says for which of them, also
    when it comes back, or for none. `turn` is its place among those with its ordering key; `has_turn`: it is the one that may
    start. `parked` is the name under which a worker has parked it, until it is claimed.
    """

    submitted: Submission
    sequence: int  # the order of submission: the place in its queue and in listings
    created_at: float
    due_at: float
    expires_at: float | None
    state: JobState
    owner: bytes | None = None
    rank: int | None = None  # in a fair queue: what stands in place of the sequence
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
    turn: int = 0
    has_turn: bool = False
    parked: str | None = None
    held_elsewhere: bool = False  # by a worker of another process, as it has said: a cancel can only be asked for
    dropped: bool = False  # it is in no table any more; entries of it that are left anywhere count for nothing

    @property
    def can_expire(self) -> bool:
        """Whether it waits for its first attempt and may do so only for a time."""
        return self.expires_at is not None and self.state in WAITING and not self.attempts and not self.crashes

    @property
    def place(self) -> Entry:
        """Where it stands in its queue: the entry that it has there."""
        rank = self.sequence if self.rank is None else self.rank
        return -self.submitted.priority, rank + CRASH_STEP * self.crashes, self.sequence, self

    def place_at(self, limit: Limit) -> Entry:
        """Where it stands in the line for a limit: for its turn in the order of submission, and else as in its queue."""
        return (0, self.turn, self.sequence, self) if limit.ordered else self.place

    @property
    def drop_at(self) -> float:
        """When its outcome has been kept long enough; asked only once it has ended."""
        return max((self.ended_at or 0.0) + self.submitted.keep_seconds_after(self.state), self.spared_until)

    @property
    def unique(self) -> tuple[str, str] | None:
        """What no other job may have as long as this one has not ended."""
        return None if self.submitted.key is None else (self.submitted.task, self.submitted.key)

    def is_late(self, now: float) -> bool:
        """Whether it has waited for its first attempt for too long."""
        return self.can_expire and self.expires_at is not None and now >= self.expires_at

    def to_stored(self) -> Stored:
        return Stored(self.state, self.outcome if self.state.ended else None, self.unresponsive)

    def to_delivery(self, now: float) -> Delivery:
        submitted = self.submitted
        waits_for_first = self.expires_at is not None and not self.attempts and not self.crashes
        return Delivery(
            id=submitted.id,
            queue=submitted.queue,
            task=submitted.task,
            payload=submitted.payload,
            token=self.token,
            attempt=self.attempts + 1,
            crashes=self.crashes,
            lapses=self.lapses,
            expires_in_seconds=(self.expires_at or 0.0) - now if waits_for_first else None,
            age_seconds=max(0.0, now - self.created_at),
            owned=self.owner is not None,
            waited_seconds=max(0.0, now - self.due_at),
            raw=submitted.raw,
            parked=self.parked,
            once=submitted.once,
        )

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
            parked=self.parked if self.state is JobState.SCHEDULED else None,
            raw=submitted.raw,
        )


Entry = tuple[int, int, int, Job]  # (-priority, place among those of this priority, sequence, job)


@dataclass(slots=True, eq=False)
class Gate:
    """Ready jobs of one queue that stand in line for one limit, under one rule. It exists while there are any. See `gates`."""

    id: str
    limit: Limit
    queue: str
    line: list[Entry] = field(default_factory=list[Entry])  # heap, cleaned late
    count: int = 0
    is_open: bool = True
    opens_at: float | None = None  # of a closed one: when its rate has room; None: when a held job gives its place back

    def first(self) -> Place | None:
        """Return the place in the queue of the first who stands here."""
        while self.line and not self._stands(self.line[0]):
            heappop(self.line)
        return self.line[0][3].place[:2] if self.line else None

    def _stands(self, entry: Entry) -> bool:
        """Whether an entry counts: its job has not gone, or come again to stand behind others."""
        job = entry[3]
        return job.gate is self and (not self.limit.ordered or job.turn == entry[1])
