"""What one process knows of jobs: those that it has submitted, and those that it holds.

It is the memory broker, whose rules for ids, owners, tokens, cancels and hints are those of every broker. What is different:
which job is next is RabbitMQ's to say, jobs of other processes are in it only while they are held here (*guests*), and of its
own jobs that are in a message somewhere it knows no more than what it was told.

It is bounded: of its own jobs that have ended it keeps the newest, and of those that wait and that nobody awaits, too.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from ....model.delivery import CancelAnswer, Delivery, Hint, Receipt, Submission
from ....model.reasons import OWNER_ENDED
from ....model.states import JobState
from ...memory.broker import MemoryBroker
from ...memory.hints import Hints
from ...memory.table import Job, JobTable
from .parcels import Parcel

ENDS_MOST: Final = 10_000  # outcomes that are kept for whoever asks
ENDS_BYTES: Final = 64 * 1024 * 1024  # likewise
JOBS_MOST: Final = 100_000  # in all
DONE_MOST: Final = 20_000  # guests whose second delivery would be recognised


class _Table(JobTable):
    """A table without the indexes by time and place: RabbitMQ has those."""

    def _enter(self, job: Job) -> None:
        super()._enter(job)
        for heap in (self._ready, self._due, self._expiring, self._ended):
            heap.clear()


class Ledger(MemoryBroker):
    """The jobs of one process.

    Args:
        clock: Tells the time in epoch seconds; it goes with the jobs to other machines.
        name: How the broker is called in errors.
    """

    def __init__(self, *, clock: Callable[[], float], name: str) -> None:
        super().__init__(clock=clock, name=name)
        self._table = _Table()
        self.elsewhere: set[str] = set()  # jobs of ours that other workers are known to hold
        self._guests: set[str] = set()
        self._done: OrderedDict[str, float] = OrderedDict()  # guest that has ended -> when it was submitted
        self._ends: deque[tuple[Job, int]] = deque()  # ours, oldest first, with their sizes
        self._ends_bytes = 0
        self._most = JOBS_MOST  # how many jobs there may be before some are forgotten
        self._orphaned: list[bytes] = []  # tokens of deliveries that were lost, whose jobs are to be cancelled

    # --- jobs of this process ---------------------------------------------------------------------

    def enter(self, jobs: Sequence[Submission]) -> tuple[list[Receipt], list[tuple[Submission, float]]]:
        """Take submissions in; return the receipts, and what is to be published, with the moment of its submission."""
        plain = [msgspec.structs.replace(job, payload=b"", expires_seconds=None) for job in jobs]
        receipts = self.submit(plain)
        mail: list[tuple[Submission, float]] = []
        with self._lock:
            for job, receipt in zip(jobs, receipts, strict=True):
                known = self._table.jobs.get(job.id)
                if receipt.created and known is not None and not known.state.ended:
                    mail.append((job, known.created_at))
            self._bound()
        return receipts, mail

    def forget(self, ids: Iterable[str]) -> None:
        """Forget jobs that could not be published, so that they may be submitted again."""
        with self._lock:
            for job_id in ids:
                job = self._table.jobs.get(job_id)
                if job is not None and not job.token:
                    self._table.drop(job)

    def end_away(self, job_id: str, state: JobState, outcome: bytes) -> None:
        """Take the outcome of a job of ours that came to its end elsewhere."""
        hints = Hints()
        with self._lock:
            job = self._table.jobs.get(job_id)
            if job is None or job.state.ended or job.token or job_id in self._guests:
                return
            self._claim(job)
            self._end(job, "finish", state, outcome, self._clock(), hints)
        self._audience.tell(hints)

    def away(self, ids: Iterable[str], owner: bytes | None = None) -> list[str]:
        """Return which of these jobs are ours, have not ended, and are not held here; with *owner* only its jobs."""
        with self._lock:
            found = [self._table.jobs.get(job_id) for job_id in ids]
            return [
                job.submitted.id
                for job in found
                if job is not None and not job.state.ended and not job.token and (owner is None or job.owner == owner)
            ]

    def away_of(self, owners: Iterable[bytes]) -> list[str]:
        """Return the jobs of owners that are not held here, and that nobody has cancelled."""
        with self._lock:
            jobs = [job for owner in owners for job in self._table.owned_by(owner)]
            return [job.submitted.id for job in jobs if not job.token and not job.cancel_asked]

    def knows(self, job_id: str) -> bool:
        """Whether a job is ours, or held here."""
        return job_id in self._table.jobs

    # --- what was delivered here ------------------------------------------------------------------

    def is_done(self, parcel: Parcel) -> bool:
        """Whether a message is the second one of a job that has ended here, or that is held here."""
        with self._lock:
            if self._done.get(parcel.id) == parcel.created_at:
                return True
            job = self._table.jobs.get(parcel.id)
            if job is None:
                return False
            if job.state.ended and job.created_at != parcel.created_at:  # another job of that name
                self._table.drop(job)
                return False
            return job.state.ended or bool(job.token)

    def take(self, parcel: Parcel, crashes: int, lapses: int, worker: str, *, ours: bool) -> Delivery:
        """Hold a job whose message was delivered here.

        Args:
            crashes, lapses: As the delivery will have them.
            ours: Its outcome goes to this process's box.
        """
        with self._lock:
            now = self._clock()
            job = self._table.jobs.get(parcel.id)
            if job is None:
                job = self._table.add(Submission(parcel.id, parcel.queue, parcel.task, b""), now)
                job.created_at = parcel.created_at
                if not ours:
                    self._guests.add(parcel.id)
            job.attempts = parcel.attempts + crashes - parcel.crashes
            job.crashes, job.lapses, job.worker = crashes, lapses, worker
            self._claim(job)
            first = parcel.expires_at is not None and not job.attempts and not job.crashes
            return Delivery(
                id=parcel.id,
                queue=parcel.queue,
                task=parcel.task,
                payload=parcel.payload,
                token=job.token,
                attempt=job.attempts + 1,
                crashes=crashes,
                lapses=lapses,
                expires_in_seconds=(parcel.expires_at or 0.0) - now if first else None,
                age_seconds=max(0.0, now - parcel.created_at),
                owned=parcel.owned if parcel.id in self._guests else job.owner is not None,
                waited_seconds=max(0.0, now - parcel.due_at),
                raw=parcel.raw,
            )

    def find(self, delivery: Delivery) -> Job | None:
        """Return the job that a delivery holds; None: its token is stale."""
        with self._lock:
            return self._table.find_held(delivery)

    def end_dropped(self, parcel: Parcel, state: JobState, outcome: bytes, *, ours: bool) -> None:
        """Note that a job was ended before it could start."""
        if ours:
            self.end_away(parcel.id, state, outcome)
        else:
            with self._lock:
                self._note_done(parcel.id, parcel.created_at)

    def lose(self, tokens: Iterable[bytes]) -> list[str]:
        """Let go of deliveries that the server has taken back; return the ids of their jobs."""
        with self._lock:
            lost = set(tokens)
            jobs = [job for job in self._table.held.values() if job.token in lost]
            for job in jobs:
                if self._table.owned_by(job.token):
                    self._orphaned.append(job.token)
                job.token, job.unresponsive = b"", False
                self._table.move(job, "lease over", JobState.READY)
                self._leave_guest(job)
        return [job.submitted.id for job in jobs]

    def orphans(self) -> list[bytes]:
        """Return the tokens that were lost and that own jobs."""
        with self._lock:
            return list(self._orphaned)

    def cancel_orphans(self, tokens: Sequence[bytes]) -> int:
        """Cancel what belongs to lost deliveries."""
        hints = Hints()
        with self._lock:
            now = self._clock()
            count = sum(self._cancel_owned(token, OWNER_ENDED, now, hints) for token in tokens)
            self._orphaned = [token for token in self._orphaned if token not in tokens]
        self._audience.tell(hints)
        return count

    def tell(self, hint: Hint) -> None:
        """Tell those who listen."""
        self._audience.tell([hint])

    # --- with the lock held -----------------------------------------------------------------------

    def _claim(self, job: Job) -> None:
        if job.state is JobState.SCHEDULED:
            self._table.move(job, "due", JobState.READY)
        self._lease(job, job.worker or "", math.inf)

    def _cancel_one(self, job_id: str, reason: str | None, now: float, hints: Hints) -> CancelAnswer:
        job = self._table.jobs.get(job_id)
        if job is None or job.state.ended or job.token or job_id not in self.elsewhere:
            return super()._cancel_one(job_id, reason, now, hints)
        if not job.cancel_asked:
            job.cancel_asked, job.cancel_reason = True, reason or None
        return CancelAnswer.REQUESTED

    def _end(self, job: Job, move: str, state: JobState, outcome: bytes, now: float, hints: Hints) -> None:
        super()._end(job, move, state, outcome, now, hints)
        self.elsewhere.discard(job.submitted.id)
        if job.submitted.id in self._guests:
            self._note_done(job.submitted.id, job.created_at)
            self._leave_guest(job)
        else:
            self._ends.append((job, len(outcome)))
            self._ends_bytes += len(outcome)
            self._bound()

    def _give_back(self, job: Job, move: str, delay_seconds: float, now: float, hints: Hints) -> None:
        super()._give_back(job, move, delay_seconds, now, hints)
        if not job.state.ended:
            self._leave_guest(job)

    def _leave_guest(self, job: Job) -> None:
        """Forget a job of another process that is not held any more."""
        if job.submitted.id in self._guests:
            self._guests.discard(job.submitted.id)
            self._table.drop(job)

    def _note_done(self, job_id: str, created_at: float) -> None:
        self._done[job_id] = created_at
        self._done.move_to_end(job_id)
        if len(self._done) > DONE_MOST:
            self._done.popitem(last=False)

    def _bound(self) -> None:
        while self._ends and (len(self._ends) > ENDS_MOST or self._ends_bytes > ENDS_BYTES):
            job, size = self._ends.popleft()
            self._ends_bytes -= size
            self._drop(job)
        if len(self._table.jobs) > self._most:
            waiting = [job for job in self._table.jobs.values() if job.owner is None and not job.token and not job.state.ended]
            for job in waiting[: self._most // 10]:
                self._drop(job)
            self._most = max(JOBS_MOST, len(self._table.jobs) + JOBS_MOST // 10)  # those that are left are needed

    def _drop(self, job: Job) -> None:
        if self._table.jobs.get(job.submitted.id) is job:
            self.elsewhere.discard(job.submitted.id)
            self._table.drop(job)
