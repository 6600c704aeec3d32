"""What one process knows of jobs: those that it has submitted, and those that it holds.

Ids, owners, tokens, cancels and hints go by the rules of every broker, in `brokers/rules`. What is different: which job is
next is RabbitMQ's to say, jobs of other processes are in it only while they are held here (*guests*), and of its own jobs that
are in a message somewhere it knows no more than what it was told.

It is bounded: of its own jobs that have ended it keeps the newest, and of those that wait and that nobody awaits, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from secrets import token_bytes
from typing import Final

import msgspec

from ....model.delivery import CancelAnswer, Delivery, Hint, Receipt, Renewal, Settlement, Stored, Submission, Topic
from ....model.reasons import OWNER_ENDED
from ....model.states import JobState
from ...common.atomic_calls import AtomicCall, AtomicCalls
from ...common.hints import Hints
from ...protocol import Emit, Listener, receipts_of
from ...rules.gates import Gates
from ...rules.job import Job
from ...rules.leases import OwnerLeases
from ...rules.machine import StateMachine
from ...rules.moves import Moves
from ...rules.owners import Owners
from ...rules.table import JobTable
from .ended_jobs import EndedJobs
from .envelopes import Envelope

JOBS_MOST: Final = 100_000  # in all


class KnownJobs:
    """The jobs that one process knows. Any thread.

    Args:
        clock: Tells the time in epoch seconds; it goes with the jobs to other machines.
        name: How the broker is called in errors.
    """

    def __init__(self, *, clock: Callable[[], float], name: str) -> None:
        self._clock, self._name = clock, name
        self._calls = AtomicCalls(clock, name)
        self._table = JobTable(Gates(), None)
        self._moves = Moves(self._table, self._on_let_go)
        self._owners = Owners(self._moves, OwnerLeases())
        self._machine = StateMachine(self._owners)
        self._guests: set[str] = set()
        self._watched: set[str] = set()  # jobs of others, elsewhere, of whose ends this process wants to hear
        self._ended = EndedJobs()
        self._most = JOBS_MOST  # how many jobs there may be before some are forgotten
        self._orphaned: list[bytes] = []  # tokens of deliveries that were lost, whose jobs are to be cancelled

    # --- from one broker of this process to the next ------------------------------------------------

    def close(self) -> None:
        self._calls.close()

    def leave(self) -> bool:
        """Let go of all that is held, and of other processes' jobs; say whether anything is left."""
        self.lose([job.token for job in self._table.held.values()])
        return bool(self._table.jobs)

    def reopen(self) -> None:
        """Go on, for the next broker of this process, after `close`."""
        self._calls = AtomicCalls(self._clock, self._name)

    @property
    def waits(self) -> bool:
        """Whether the outcome of a job of ours may still come that does not end with whoever awaits it."""
        with self._calls.lock:
            jobs = self._table.jobs.items()
            return any(job.owner is None and not job.state.ended and job_id not in self._watched for job_id, job in jobs)

    def forget_unended(self) -> None:
        """Forget the jobs whose outcomes cannot come any more."""
        with self._calls.lock:
            for job in [job for job in self._table.jobs.values() if not job.state.ended]:
                self._drop(job)

    # --- calls of the broker ----------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        with AtomicCall(self._calls) as call:
            return self._machine.settle(settlements, call.now, call.hints)

    def renew(self, deliveries: Sequence[Delivery]) -> list[Renewal]:
        """Say which deliveries are held; they are for as long as the link on which they came is up."""
        with AtomicCall(self._calls):
            return self._machine.renew(deliveries, math.inf)

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        with AtomicCall(self._calls) as call:
            return self._machine.cancel(ids, reason, owner, call.now, call.hints)

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        with AtomicCall(self._calls) as call:
            return self._machine.renew_owners(owners, lease_seconds, call.now, call.hints)

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        with AtomicCall(self._calls):
            return self._machine.outcomes(ids)

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        with AtomicCall(self._calls):
            return self._calls.audience.join(topics, emit)

    def tell(self, hint: Hint) -> None:
        """Tell those who listen."""
        self._calls.audience.tell([hint])

    # --- jobs of this process ---------------------------------------------------------------------

    def enter(self, jobs: Sequence[Submission]) -> tuple[list[Receipt], list[tuple[Submission, float]]]:
        """Take submissions in; return the receipts, and what is to be published, with the moment of its submission."""
        plain = [msgspec.structs.replace(job, payload=b"", expires_seconds=None) for job in jobs]
        mail: list[tuple[Submission, float]] = []
        with AtomicCall(self._calls) as call:
            receipts = receipts_of(self._machine.submit(plain, call.now, call.hints))
            for job, receipt in zip(jobs, receipts, strict=True):
                known = self._table.jobs.get(job.id)
                if receipt.created and known is not None and not known.state.ended:
                    mail.append((job, known.created_at))
            self._bound()
        return receipts, mail

    def forget(self, ids: Iterable[str]) -> None:
        """Forget jobs that could not be published, so that they may be submitted again."""
        with self._calls.lock:
            for job_id in ids:
                job = self._table.jobs.get(job_id)
                if job is not None and not job.token:
                    self._table.drop(job)

    def end_away(self, job_id: str, state: JobState, outcome: bytes) -> None:
        """Take the outcome of a job of ours that came to its end elsewhere."""
        hints = Hints()
        with self._calls.lock:
            job = self._table.jobs.get(job_id)
            if job is None or job.state.ended or job.token or job_id in self._guests:
                return
            self._lease(job)
            self._moves.end(job, "finish", state, outcome, self._clock(), hints)
        self._calls.audience.tell(hints)

    def watch(self, ids: Iterable[str]) -> None:
        """Take in other processes' jobs that were found elsewhere: how they end will be told here, because we have asked."""
        with self._calls.lock:
            for job_id in ids:
                if job_id not in self._table.jobs:
                    self._table.add(Submission(job_id, "", "", b""), self._clock()).held_elsewhere = True
                    self._watched.add(job_id)
            self._bound()

    def note_elsewhere(self, ids: Iterable[str]) -> None:
        """Note that other processes hold these jobs, as they have said."""
        with self._calls.lock:
            for job_id in ids:
                job = self._table.jobs.get(job_id)
                if job is not None and not job.state.ended:
                    job.held_elsewhere = True

    def away(self, ids: Iterable[str], owner: bytes | None = None) -> list[str]:
        """Return which of these jobs are ours, have not ended, and are not held here; with *owner* only its jobs."""
        with self._calls.lock:
            known = [self._table.jobs.get(job_id) for job_id in ids]
            return [
                job.submitted.id
                for job in known
                if job is not None and not job.state.ended and not job.token and (owner is None or job.owner == owner)
            ]

    def away_of(self, owners: Iterable[bytes]) -> list[str]:
        """Return the jobs of owners that are not held here, and that nobody has cancelled."""
        with self._calls.lock:
            jobs = [job for owner in owners for job in self._table.owned_by(owner)]
            return [job.submitted.id for job in jobs if not job.token and not job.cancel_asked]

    def knows(self, job_id: str) -> bool:
        """Whether a job is ours, or held here."""
        return job_id in self._table.jobs

    # --- what was delivered here ------------------------------------------------------------------

    def is_done(self, envelope: Envelope) -> bool:
        """Whether a message is the second one of a job that has ended here."""
        with self._calls.lock:
            if self._ended.is_guest(envelope.id, envelope.created_at):
                return True
            job = self._table.jobs.get(envelope.id)
            if job is None:
                return False
            if job.state.ended and job.created_at != envelope.created_at:  # another job of that name
                self._table.drop(job)
                return False
            return job.state.ended

    def is_held(self, job_id: str) -> bool:
        """Whether a job of this id is held here."""
        with self._calls.lock:
            job = self._table.jobs.get(job_id)
            return job is not None and bool(job.token)

    def take(self, envelope: Envelope, crashes: int, lapses: int, worker: str, *, ours: bool) -> Delivery:
        """Hold a job whose message was delivered here.

        Args:
            crashes, lapses: As the delivery will have them.
            ours: Its outcome goes to this process's reply queue.
        """
        with self._calls.lock:
            now = self._clock()
            job = self._table.jobs.get(envelope.id)
            if job is None:
                job = self._table.add(Submission(envelope.id, envelope.queue, envelope.task, b""), now)
                job.created_at = envelope.created_at
                if not ours:
                    self._guests.add(envelope.id)
            job.attempts = envelope.attempts + crashes - envelope.crashes
            job.crashes, job.lapses, job.worker = crashes, lapses, worker
            self._lease(job)
            first = envelope.expires_at is not None and not job.attempts and not job.crashes
            return Delivery(
                id=envelope.id,
                queue=envelope.queue,
                task=envelope.task,
                payload=envelope.payload,
                token=job.token,
                attempt=job.attempts + 1,
                crashes=crashes,
                lapses=lapses,
                expires_in_seconds=(envelope.expires_at or 0.0) - now if first else None,
                age_seconds=max(0.0, now - envelope.created_at),
                owned=envelope.owned if envelope.id in self._guests else job.owner is not None,
                waited_seconds=max(0.0, now - envelope.due_at),
                raw=envelope.raw,
            )

    def find(self, delivery: Delivery) -> Job | None:
        """Return the job that a delivery holds; None: its token is stale."""
        with self._calls.lock:
            return self._table.find_held(delivery)

    def end_dropped(self, envelope: Envelope, state: JobState, outcome: bytes, *, ours: bool) -> None:
        """Note that a job was ended before it could start."""
        if ours:
            self.end_away(envelope.id, state, outcome)
        else:
            with self._calls.lock:
                self._ended.add_guest(envelope.id, envelope.created_at)

    def lose(self, tokens: Iterable[bytes]) -> list[str]:
        """Let go of deliveries that the server has taken back; return the ids of their jobs."""
        with self._calls.lock:
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
        with self._calls.lock:
            return list(self._orphaned)

    def cancel_orphans(self, tokens: Sequence[bytes]) -> int:
        """Cancel what belongs to lost deliveries."""
        with AtomicCall(self._calls) as call:
            count = sum(self._owners.cancel_owned(token, OWNER_ENDED, call.now, call.hints) for token in tokens)
            self._orphaned = [token for token in self._orphaned if token not in tokens]
        return count

    # --- with the lock held -----------------------------------------------------------------------

    def _lease(self, job: Job) -> None:
        if job.state is JobState.SCHEDULED:
            self._table.move(job, "due", JobState.READY)
        self._moves.lease(job, token_bytes(16), job.worker or "", math.inf)

    def _on_let_go(self, job: Job) -> None:
        """Hear that a job has ended or was given back."""
        if job.submitted.id in self._guests:
            if job.state.ended:
                self._ended.add_guest(job.submitted.id, job.created_at)
            self._leave_guest(job)
        elif job.state.ended:
            job.held_elsewhere = False
            self._ended.add(job)
            self._bound()

    def _leave_guest(self, job: Job) -> None:
        """Forget a job of another process that is not held any more."""
        if job.submitted.id in self._guests:
            self._guests.discard(job.submitted.id)
            self._table.drop(job)

    def _bound(self) -> None:
        for job in self._ended.take_excess():
            self._drop(job)
        if len(self._table.jobs) > self._most:
            waiting = [job for job in self._table.jobs.values() if job.owner is None and not job.token and not job.state.ended]
            for job in waiting[: self._most // 10]:
                self._drop(job)
            self._most = max(JOBS_MOST, len(self._table.jobs) + JOBS_MOST // 10)  # those that are left are needed

    def _drop(self, job: Job) -> None:
        if self._table.jobs.get(job.submitted.id) is job:
            self._watched.discard(job.submitted.id)
            self._table.drop(job)
