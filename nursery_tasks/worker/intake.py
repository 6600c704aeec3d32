"""Claims what the slots can run, and a bounded prefetch when jobs are short."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Final

from anyio import Event, current_time, move_on_after

from ..brokers.gateway import Gateway
from ..errors import BrokerError
from ..model.delivery import Delivery, Topic
from ..model.options import is_inbox
from ..registry import Registry
from .backoff import Outage
from .collecting import Collecting
from .hand_over import HandOver
from .in_flight import InFlightJob, InFlightJobs
from .options import PREFETCH_MOST, PREFETCH_SHORT, WorkerSettings
from .services import CancelWatch

POLL_SECONDS: Final = 1.0  # how late new work is seen when its hint was lost; a broker may want it sooner
UNUSED_SECONDS: Final = 1.0  # what waited longer behind a busy slot is given back for others
SHORT_SECONDS: Final = 0.05  # jobs up to this length are worth a prefetch: the claim would cost more than the wait
PREFETCH_SECONDS: Final = 0.02  # so much work, counted one job after the other, is fetched ahead of jobs that are very short
PREFETCH_BYTES: Final = 16 * 1024 * 1024  # of messages, at most; also when they are of the largest size


class Intake:
    """Feeds the slots of one worker.

    Args:
        registry: Knows the tasks that claims may name.
        seconds_per_job: The recent average, or None before the first job.
        release: Gives a delivery back.
        cancels: Told when a claim begins, and what it has brought.
        clock: What leases are counted by.
        closed: Returns the queues of which no job is to begin now.
    """

    def __init__(
        self,
        gateway: Gateway,
        registry: Registry,
        in_flight: InFlightJobs,
        hand_over: HandOver,
        collecting: Collecting,
        settings: WorkerSettings,
        seconds_per_job: Callable[[], float | None],
        release: Callable[[InFlightJob], None],
        cancels: CancelWatch,
        clock: Callable[[], float],
        *,
        closed: Callable[[], Collection[str]] = tuple,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        self._gateway = gateway
        self._closed = closed
        self._registry = registry
        self._in_flight = in_flight
        self._hand_over = hand_over
        self._collecting = collecting
        self._settings = settings
        self._seconds_per_job = seconds_per_job
        self._release = release
        self._cancels = cancels
        self._clock = clock
        broker = gateway.broker
        self._poll_seconds = settings.pace * (POLL_SECONDS if broker.look_seconds is None else broker.look_seconds)
        self.outage = Outage("claim", fraction)
        self._turn = 0
        self._dry = False  # the last claim got less than it asked for
        self._hinted = False  # a hint came while a claim was under way, which may have missed what it is about
        self._wake = Event()
        self._wanted = 0  # wake up once this much is free; 0: on a hint only
        self._prefetch = 0  # how many deliveries may wait for a slot; set with each claim

    def on_work(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that there is work."""
        if names is None or not names.isdisjoint(self._settings.queues):
            self._dry = False
            self._hinted = True
            self._wake.set()
        if names is None:  # a broker says so when its link is back
            self.outage.wake()

    def capacity_freed(self) -> None:
        """Hear from a slot that it has finished a delivery; called for every job, so it is cheap."""
        if self._wanted and self._room() >= self._wanted:
            self._wake.set()

    async def serve(self) -> None:
        """Claim until cancelled.

        Cancellation:
            A claim under way is finished, and what it brought lies in the hand-over, where the worker takes it back.
        """
        batches = sum(spec.batch.size for spec in self._registry.tasks.values() if spec.batch is not None)
        async with self._gateway.feeding(self._settings.queues, self._settings.slots + batches):
            while True:
                room = self._room()
                if room >= self._least() and not self._dry:
                    await self._claim(room)
                else:
                    await self._wait()

    def _room(self) -> int:
        """How many deliveries may be added: free slots plus the prefetch, minus what waits for a slot.

        While a slot is free, as many more as the open batches have places: collecting takes no slot.

        Nothing is fetched ahead while handlers wait for other jobs: those come first, and have a place then.
        """
        if self._hand_over.released_slots:
            self._prefetch = 0
        room = self._settings.slots + self._prefetch - self._hand_over.busy - len(self._hand_over)
        if self._collecting.open and self._hand_over.busy < self._settings.slots:
            return room + min(self._collecting.places, PREFETCH_MOST)
        return room

    def _least(self) -> int:
        """How much room makes a claim worth it: any while a slot is idle, else half of the prefetch."""
        idle = self._settings.slots - self._hand_over.busy
        return 1 if idle > len(self._hand_over) else max(1, self._prefetch // 2)

    async def _claim(self, room: int) -> None:
        queues = self._queues()
        if not queues:
            self._dry = True
            return
        sent = self._clock()
        while True:
            self._hinted = False
            self._cancels.claiming = True
            try:
                deliveries = await self._gateway.claim(
                    queues, room, self._settings.name, self._settings.lease_seconds, self._registry.known
                )
                break
            except BrokerError as error:
                await self.outage.wait(error)
                sent = self._clock()
        self.outage.over()
        self._dry = len(deliveries) < room and not self._hinted
        if self._collecting.open:
            self._collecting.claimed(deliveries)
        jobs = self._in_flight.add(deliveries, sent, current_time())
        self._cancels.claimed(jobs)
        self._hand_over.put(jobs)
        self._prefetch = next_prefetch(self._settings.slots, self._seconds_per_job(), deliveries)

    async def _wait(self) -> None:
        self._wanted = self._least() if not self._dry else 0
        # What waits behind a busy slot is looked at in time, also where no poll is needed.
        wait_seconds = min(self._poll_seconds, UNUSED_SECONDS) if len(self._hand_over) else self._poll_seconds
        with move_on_after(wait_seconds) as scope:
            await self._wake.wait()
        self._wanted = 0
        self._wake = Event()
        if scope.cancelled_caught:
            self._dry = False
        self._return_unused()  # also after a hint: where jobs come in all the time, no wait ever lasts to its end

    def _return_unused(self) -> None:
        unused = self._hand_over.take_back(before=current_time() - UNUSED_SECONDS)
        for job in unused:
            self._release(job)
        if unused:
            self._collecting.unused()
            self._prefetch = 0  # or the same jobs would be claimed again, and others hardly get a chance

    def _queues(self) -> tuple[str, ...]:
        """The queues to ask, without those that are closed."""
        queues, closed = self._in_turn(), self._closed()
        return tuple(queue for queue in queues if queue.partition("@")[0] not in closed) if closed else queues

    def _in_turn(self) -> tuple[str, ...]:
        """All queues, in this turn's order: each comes first in its turn, so none can starve another."""
        if self._settings.strict or len(self._settings.turns) == 1:
            return self._settings.queues
        first = self._settings.turns[self._turn % len(self._settings.turns)]
        self._turn += 1
        return tuple(sorted(self._settings.queues, key=lambda queue: _is_later(queue, first)))


def _is_later(queue: str, first: str) -> bool:
    return queue.partition("@")[0] != first and not is_inbox(queue)


def next_prefetch(slots: int, seconds_per_job: float | None, claimed: Sequence[Delivery]) -> int:
    """Say how many deliveries may wait for a slot, after a claim.

    Nothing for long jobs: another worker may have a free slot. As many again as there are slots for short ones. More for those
    that are over at once, because a claim and the sync of its outcomes cost as much as fifty of them: with 500 at a time a
    worker on SQLite runs three times as many as with 64.
    """
    if seconds_per_job is None or seconds_per_job >= SHORT_SECONDS:
        return 0
    wanted = max(min(slots, PREFETCH_SHORT), min(PREFETCH_MOST, int(PREFETCH_SECONDS / max(seconds_per_job, 1e-6))))
    size = sum(len(delivery.payload) for delivery in claimed)
    return min(wanted, PREFETCH_BYTES * len(claimed) // size) if size else wanted
