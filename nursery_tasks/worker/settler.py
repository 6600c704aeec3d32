"""What the attempts have to say reaches the broker here, in batches.

Attempts never wait for the broker: they put a settlement into the outbox, a plain call that cannot be cancelled half-way. While
one batch is being stored the next one gathers. A broker that is away is tried again, with back-off, until it is back: whether
an outcome is stored is up to its token, however old its lease is. The outbox is bounded, because slots do not start anything
new while it is full.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from anyio import Event, current_time, move_on_after, sleep

from ..brokers.gateway import Gateway
from ..brokers.protocol import is_of_an_item
from ..errors import BrokerClosed, BrokerError
from ..model.delivery import Delivery, Finished, Progressed, Released, Retried, Settlement, Started, Unresponsive
from .aside import Aside, plainer
from .backoff import Outage
from .batch import InFlightBatch
from .in_flight import InFlightJob, InFlightJobs

OUTBOX_LIMIT: Final = 1_000  # settlements; slots wait beyond it
BATCH_LIMIT: Final = 500
START_MARK_SECONDS: Final = 0.02  # attempts that end sooner are never marked as started
PROGRESS_SECONDS: Final = 0.1  # progress is stored at most this often

Entry = tuple[InFlightJob, Settlement]

# Looked up by type, for every settlement: `isinstance` with several classes costs six times as much.
_STAYS_HELD: Final = frozenset({Started, Progressed, Unresponsive})  # what is said of a delivery that stays held
_OVERTAKEN: Final = frozenset({Started, Unresponsive})  # what is not worth saying once the job has ended

_log = logging.getLogger("nursery_tasks.worker")


@dataclass(frozen=True, slots=True)
class Unstored:
    """Jobs of which the broker has not confirmed what became of them: each came to an end here, or was to go back."""

    ended: tuple[Delivery, ...] = ()
    given_back: tuple[Delivery, ...] = ()
    interrupted: int = 0  # how many of those that were to go back had begun

    def __bool__(self) -> bool:
        return bool(self.ended or self.given_back)


class Settler:
    """The outbox of one worker.

    Args:
        beginning: The same, with a call deadline that comes sooner once the worker stops; for storing starts.
        in_flight: Jobs leave this table when their last settlement is stored or refused.
        on_stored: Told of each batch that is stored: deliveries with what became of them.
        on_progress: Told what a handler has said of itself, no more often than that is stored.
        on_stale: Told of each outcome that came too late.
        run_soon: Runs a callable on the loop, from any thread; progress may be reported in a handler's thread.
    """

    def __init__(
        self,
        gateway: Gateway,
        beginning: Gateway,
        in_flight: InFlightJobs,
        on_stored: Callable[[Sequence[Entry]], object],
        on_progress: Callable[[InFlightJob, bytes], object],
        on_stale: Callable[[InFlightJob], None],
        run_soon: Callable[[Callable[[], object]], None],
        *,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        self.broker = gateway.broker
        self._gateway = gateway
        self._beginning = beginning
        self._in_flight = in_flight
        self._on_stored, self._on_progress, self._on_stale = on_stored, on_progress, on_stale
        self._run_soon = run_soon
        self.outage = Outage("store outcomes", fraction)
        self._outbox: list[Entry] = []
        self._aside = Aside()
        self._under_way: list[Entry] = []
        self._wake = Event()
        self._stored = Event()  # set after each batch, and then replaced: everybody who waits is woken
        self._starting: deque[tuple[float, InFlightJob]] = deque()  # (when it began, job), in order of time
        self._progress: dict[str, tuple[InFlightJob, bytes]] = {}  # latest by job; written from any thread
        self._to_mark = Event()

    def settle(self, job: InFlightJob, settlement: Settlement) -> None:
        """Hand over the last word on a delivery. Plain, so that there is no `await` in which it could be lost."""
        if self._progress:
            self._collect_last_progress(job)
        job.ended = True
        self._put(job, settlement)

    def release(self, job: InFlightJob, delay_seconds: float = 0.0, park: str | None = None) -> None:
        """Give a delivery back, not counted as an attempt; of a batch, each job that has not ended."""
        if isinstance(job, InFlightBatch):
            for member in job.members:
                if not member.ended:
                    self.release(member)
            job.ended = True
            return
        self.settle(job, Released(job.delivery, delay_seconds, park))

    def mark_started(self, job: InFlightJob, began: float) -> None:
        """Have the start stored soon, unless the attempt is quicker than that; *began* is on the loop's clock."""
        if not self._starting:  # else it is awake, and asking costs as much as all the rest here
            self._to_mark.set()
        self._starting.append((began, job))

    def mark_unresponsive(self, job: InFlightJob) -> None:
        """Have it stored that a handler does not end. The job stays in flight."""
        self._put(job, Unresponsive(job.delivery))

    def report_progress(self, job: InFlightJob, progress: bytes) -> None:
        """Have progress stored soon, from any thread."""
        self._progress[job.delivery.id] = (job, progress)
        self._run_soon(self._to_mark.set)

    async def store_starts(self, jobs: Sequence[InFlightJob]) -> None:
        """Store starts now and wait for it. Those are lost afterwards that may belong to somebody else by now."""
        while jobs := [job for job in jobs if not job.lost]:
            try:
                answers = await self._beginning.settle([Started(job.delivery, promised=True) for job in jobs])
            except BrokerError as error:
                await self.outage.wait(error)
            else:
                for job, stored in zip(jobs, answers, strict=True):
                    if not stored:
                        job.refuse()
                return

    async def wait_for_room(self) -> None:
        """Wait until the outbox has room for another job's settlement."""
        while self.is_full:
            await self._stored.wait()

    async def wait_stored(self, job: InFlightJob) -> None:
        """Wait until the last word on a job is stored or refused."""
        while self._in_flight.has(job):
            await self._stored.wait()

    def wake(self) -> None:
        """Try again to store what waits: the broker is said to be back."""
        self.outage.wake()

    @property
    def is_full(self) -> bool:
        """Whether `wait_for_room` would wait."""
        return len(self._outbox) + len(self._under_way) + len(self._aside.waiting) >= OUTBOX_LIMIT

    @property
    def unstored(self) -> Unstored:
        """What waits to be stored; once the worker has ended, what never was, as far as is known."""
        known = [*self._under_way, *self._aside.entries, *self._outbox]
        # What was set aside is under way, too, until its batch is: by the job, so each counts once.
        last = {id(job): (job, end) for job, end in known if isinstance(end, Finished | Retried | Released)}
        entries = [(job, settlement) for job, settlement in last.values() if self._in_flight.has(job)]
        back = [job for job, settlement in entries if isinstance(settlement, Released)]
        return Unstored(
            tuple(job.delivery for job, settlement in entries if isinstance(settlement, Finished | Retried)),
            tuple(job.delivery for job in back),
            sum(job.began_at > 0 for job in back),
        )

    async def flush(self) -> None:
        """Wait until everything is stored or refused. A broker that is away is tried again at once: it may just be back."""
        self.outage.hurry()
        while self._outbox or self._under_way or self._aside.waiting:
            await self._stored.wait()

    async def serve(self) -> None:
        """Store what comes, until cancelled."""
        while True:
            with move_on_after(self._aside.pause_seconds):
                await self._wake.wait()
            self._wake = Event()
            self._outbox += self._aside.take()
            while self._outbox:
                taken, self._outbox = self._outbox[:BATCH_LIMIT], self._outbox[BATCH_LIMIT:]
                self._under_way = [entry for entry in taken if not (entry[0].ended and type(entry[1]) in _OVERTAKEN)]
                await self._store(self._under_way)
                self._under_way = []
                self._stored.set()
                self._stored = Event()

    async def serve_marks(self) -> None:
        """Move starts and progress that have become old enough into the outbox, until cancelled."""
        while True:
            await self._to_mark.wait()
            self._to_mark = Event()
            while self._starting or self._progress:
                await sleep(START_MARK_SECONDS if self._starting else PROGRESS_SECONDS)
                self._collect_starts(current_time() - START_MARK_SECONDS)
                self._collect_progress()

    def _collect_starts(self, before: float) -> None:
        starting = self._starting
        while starting and starting[0][0] <= before:
            _, job = starting.popleft()
            if not job.ended:
                self._put(job, Started(job.delivery))

    def _collect_progress(self) -> None:
        for job_id in list(self._progress):
            job, progress = self._progress.pop(job_id)
            if not job.ended:
                self._put_progress(job, progress)

    def _collect_last_progress(self, job: InFlightJob) -> None:
        """Take what a handler said in its last moments, which a person will want to know."""
        found = self._progress.get(job.delivery.id)
        if found is not None and found[0] is job:
            del self._progress[job.delivery.id]
            self._put_progress(job, found[1])

    def _put_progress(self, job: InFlightJob, progress: bytes) -> None:
        self._put(job, Progressed(job.delivery, progress))
        self._on_progress(job, progress)

    def _put(self, job: InFlightJob, settlement: Settlement) -> None:
        if not self._outbox:  # else it was woken for what is there, and goes on until there is nothing
            self._wake.set()
        self._outbox.append((job, settlement))

    async def _store(self, batch: list[Entry]) -> None:
        """Store one batch; gives up on jobs whose token is known not to hold."""
        repeated = False
        while batch:
            answers: Sequence[object]
            try:
                answers = await self._gateway.settle([settlement for _, settlement in batch])
            except BrokerClosed:
                raise
            except Exception as error:
                if is_of_an_item(error):
                    await self._store_alone(batch, error)
                    return
                if not isinstance(error, BrokerError) or error.answers is None:
                    repeated = True
                    await self.outage.wait(error)
                    stale = [entry for entry in batch if entry[0].stale]
                    batch = [entry for entry in batch if not entry[0].stale]
                    await self._refused(stale)
                    continue
                answers = error.answers
            self.outage.over()
            if answers.count(True) == len(batch):  # as nearly always
                self._on_stored(batch)
                for job, settlement in batch:
                    if type(settlement) not in _STAYS_HELD:
                        self._in_flight.remove(job)
                return
            refused: list[Entry] = []
            for (job, settlement), stored in zip(batch, answers, strict=True):
                if isinstance(stored, BrokerError):
                    self._aside.put(job, settlement, stored)
                elif repeated and not stored:
                    refused.append((job, settlement))
                else:
                    self._note(job, settlement, bool(stored))
            await self._refused(refused)
            return

    async def _store_alone(self, batch: list[Entry], error: Exception) -> None:
        """Find the one for which a batch was refused, so that the others are stored."""
        if len(batch) > 1:
            for entry in batch:
                await self._store([entry])
            return
        job, settlement = batch[0]
        if isinstance(error, BrokerError):
            self._aside.put(job, settlement, error)
            return
        _log.error("what became of job %s cannot be stored", job.delivery.id, exc_info=error)
        less = plainer(settlement)
        if less is None:
            self._note(job, settlement, stored=False)
        else:
            await self._store([(job, less)])

    async def _refused(self, entries: list[Entry]) -> None:
        """Note what was refused after a call that failed: where only its answer was lost, everything is in order.

        An outcome is that of one attempt, it names the worker and the moments: the same one is ours. Of a job that was to go
        back nobody can tell by now, and nothing is lost with it.
        """
        ended = [job.delivery.id for job, settlement in entries if isinstance(settlement, Finished)]
        try:
            found = dict(zip(ended, await self._gateway.outcomes(ended) if ended else [], strict=True))
        except BrokerError:  # it is away again
            found = {}
        for job, settlement in entries:
            stored = found.get(job.delivery.id)
            ours = not isinstance(settlement, Finished) or (stored is not None and stored.outcome == settlement.outcome)
            self._note(job, settlement, ours)

    def _note(self, job: InFlightJob, settlement: Settlement, stored: bool) -> None:
        if stored:
            self._on_stored([(job, settlement)])
        if type(settlement) in _STAYS_HELD:
            return  # a refused one means that the lease is lost, which the lease keeper finds, too
        self._in_flight.remove(job)
        if not stored and (job.lost or isinstance(settlement, Finished | Retried)):
            self._on_stale(job)
