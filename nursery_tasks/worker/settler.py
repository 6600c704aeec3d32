"""What the attempts have to say reaches the broker here, in batches.

Attempts never wait for the broker: they put a settlement into the outbox, a plain call that cannot be cancelled half-way. While
one batch is being stored the next one gathers. A broker that is away is tried again, with back-off, until it is back or the
lease is over; the outbox is bounded, because slots do not start anything new while it is full.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final

from anyio import Event, current_time, sleep

from ..brokers.gateway import Gateway
from ..errors import BrokerClosed, BrokerError
from ..model.delivery import Finished, Progressed, Released, Retried, Settlement, Started, Unresponsive
from .backoff import Outage
from .held import Held, HeldJobs

OUTBOX_LIMIT: Final = 1_000  # settlements; slots wait beyond it
BATCH_LIMIT: Final = 500
START_MARK_SECONDS: Final = 0.02  # attempts that end sooner are never marked as started
PROGRESS_SECONDS: Final = 0.1  # progress is stored at most this often

Entry = tuple[Held, Settlement]


class Settler:
    """The outbox of one worker.

    Args:
        beginning: The same, for what a stopping worker has less patience for: storing starts.
        held: Jobs leave this table when their last settlement is stored or refused.
        on_stale: Told of each outcome that came too late.
        post: Runs a callable on the loop, from any thread; progress may be reported in a handler's thread.
    """

    def __init__(
        self,
        gateway: Gateway,
        beginning: Gateway,
        held: HeldJobs,
        on_stale: Callable[[Held], None],
        post: Callable[[Callable[[], object]], None],
        *,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        self.broker = gateway.broker
        self._gateway = gateway
        self._beginning = beginning
        self._held = held
        self._on_stale = on_stale
        self._post = post
        self.outage = Outage("store outcomes", fraction)
        self._outbox: list[Entry] = []
        self._sending = 0
        self._wake = Event()
        self._stored = Event()  # set after each batch, and then replaced: everybody who waits is woken
        self._starting: deque[tuple[float, Held]] = deque()  # (when it began, job), in order of time
        self._progress: dict[str, tuple[Held, bytes]] = {}  # latest by job; written from any thread
        self._to_mark = Event()

    def settle(self, held: Held, settlement: Settlement) -> None:
        """Hand over the last word on a delivery. Plain, so that there is no `await` in which it could be lost."""
        if self._progress:
            self._collect_last_progress(held)
        held.ended = True
        self._outbox.append((held, settlement))
        self._wake.set()

    def release(self, held: Held, delay_seconds: float = 0.0) -> None:
        """Give a delivery back, not counted as an attempt."""
        self.settle(held, Released(held.delivery, delay_seconds))

    def mark_started(self, held: Held, began: float) -> None:
        """Have the start stored soon, unless the attempt is quicker than that; *began* is on the loop's clock."""
        self._starting.append((began, held))
        self._to_mark.set()

    def mark_unresponsive(self, held: Held) -> None:
        """Have it stored that a handler does not end. The job stays held."""
        self._add(held, Unresponsive(held.delivery))

    def report_progress(self, held: Held, progress: bytes) -> None:
        """Have progress stored soon, from any thread."""
        self._progress[held.delivery.id] = (held, progress)
        self._post(self._to_mark.set)

    async def store_start(self, held: Held) -> bool:
        """Store the start now and wait for it; False: the job belongs to somebody else by now."""
        while True:
            try:
                return all(await self._beginning.settle([Started(held.delivery)]))
            except BrokerError as error:
                await self.outage.wait(error)
                if held.lost:
                    return False

    async def wait_for_room(self) -> None:
        """Wait until the outbox has room for another job's settlement."""
        while self.is_full:
            await self._stored.wait()

    def wake(self) -> None:
        """Try again to store what waits: the broker is said to be back."""
        self.outage.wake()

    @property
    def is_full(self) -> bool:
        """Whether `wait_for_room` would wait."""
        return len(self._outbox) + self._sending >= OUTBOX_LIMIT

    async def flush(self) -> None:
        """Wait until everything is stored or refused. A broker that is away is tried again at once: it may just be back."""
        self.outage.hurry()
        while self._outbox or self._sending:
            await self._stored.wait()

    async def serve(self) -> None:
        """Store what comes, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = Event()
            while self._outbox:
                taken, self._outbox = self._outbox[:BATCH_LIMIT], self._outbox[BATCH_LIMIT:]
                batch = [entry for entry in taken if not _is_outdated(*entry)]
                self._sending = len(batch)
                try:
                    await self._store(batch)
                finally:
                    self._sending = 0
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
        while self._starting and self._starting[0][0] <= before:
            _, held = self._starting.popleft()
            if not held.ended:
                self._add(held, Started(held.delivery))

    def _collect_progress(self) -> None:
        for job_id in list(self._progress):
            held, progress = self._progress.pop(job_id)
            if not held.ended:
                self._add(held, Progressed(held.delivery, progress))

    def _collect_last_progress(self, held: Held) -> None:
        """Take what a handler said in its last moments, which a person will want to know."""
        found = self._progress.get(held.delivery.id)
        if found is not None and found[0] is held:
            del self._progress[held.delivery.id]
            self._add(held, Progressed(held.delivery, found[1]))

    def _add(self, held: Held, settlement: Settlement) -> None:
        self._outbox.append((held, settlement))
        self._wake.set()

    async def _store(self, batch: list[Entry]) -> None:
        """Store one batch; gives up on jobs whose lease is lost."""
        repeated = False
        while batch:
            try:
                answers = await self._gateway.settle([settlement for _, settlement in batch])
            except BrokerClosed:
                raise
            except BrokerError as error:
                repeated = True
                await self.outage.wait(error)
                lost = [entry for entry in batch if entry[0].lost]
                batch = [entry for entry in batch if not entry[0].lost]
                await self._refused(lost)
                continue
            self.outage.over()
            refused: list[Entry] = []
            for (held, settlement), stored in zip(batch, answers, strict=True):
                if repeated and not stored:
                    refused.append((held, settlement))
                else:
                    self._note(held, settlement, stored)
            await self._refused(refused)
            return

    async def _refused(self, entries: list[Entry]) -> None:
        """Note what was refused after a call that failed: where only its answer was lost, everything is in order.

        An outcome is that of one attempt, it names the worker and the moments: the same one is ours. Of a job that was to go
        back nobody can tell by now, and nothing is lost with it.
        """
        ended = [held.delivery.id for held, settlement in entries if isinstance(settlement, Finished)]
        try:
            found = dict(zip(ended, await self._gateway.outcomes(ended) if ended else [], strict=True))
        except BrokerError:  # it is away again
            found = {}
        for held, settlement in entries:
            stored = found.get(held.delivery.id)
            ours = not isinstance(settlement, Finished) or (stored is not None and stored.outcome == settlement.outcome)
            self._note(held, settlement, ours)

    def _note(self, held: Held, settlement: Settlement, stored: bool) -> None:
        if isinstance(settlement, Started | Progressed | Unresponsive):
            return  # a refused one means that the lease is lost, which the lease keeper finds, too
        self._held.remove(held)
        if not stored and (held.lost or isinstance(settlement, Finished | Retried)):
            self._on_stale(held)


def _is_outdated(held: Held, settlement: Settlement) -> bool:
    """Say whether a start or a mark was overtaken by the job's end."""
    return held.ended and isinstance(settlement, Started | Unresponsive)
