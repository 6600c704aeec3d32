"""The small children of a worker that outlive its attempts: sweeper, cancel watch, presence."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from anyio import Event, move_on_after, sleep

from ..brokers.gateway import Gateway
from ..errors import BrokerError, BrokerReplaced, NotSupported
from ..log_throttle import LogThrottle
from ..model.delivery import Swept, Topic
from ..model.listing import WorkerRecord
from .backoff import Outage
from .in_flight import InFlightJob, InFlightJobs
from .leases import LeaseKeeper

SWEEP_SECONDS: Final = 1.0  # at least this often
FIRST_SWEEPS: Final = 20
ROOM_SECONDS: Final = 0.02  # at most this often for rates: what they let start meanwhile goes out together
SWEEP_LIMIT: Final = 500  # jobs of each kind in one call
BEAT_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 0.5  # between a change and the beat that tells it, and between that and the next change
BEAT_TTL_SECONDS: Final = 15.0

_log = logging.getLogger("nursery_tasks.worker")


class Sweeper:
    """Makes due jobs ready on time, takes back what dead workers had, drops old outcomes.

    Args:
        before: Called before each sweep.
        renew: Called before the first one after some that failed: all leases may be over by then, also this worker's own.
        on_swept: Called after each, with what it has done and what is due next.
    """

    def __init__(
        self,
        gateway: Gateway,
        before: Callable[[], None],
        renew: Callable[[], Awaitable[None]],
        *,
        fraction: Callable[[], float] = random.random,
        pace: float = 1.0,
        on_swept: Callable[[Swept], None] = lambda swept: None,
    ) -> None:
        self._gateway = gateway
        self._on_swept = on_swept
        self._before = before
        self._renew = renew
        self._every_seconds = SWEEP_SECONDS * pace
        self.outage = Outage("sweep", fraction)
        self._wake = Event()

    def on_due(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that a job was scheduled, maybe for sooner than the next sweep."""
        self._wake.set()
        if names is None:  # a broker says so when its link is back
            self.outage.wake()

    async def sweep_all(self) -> Swept:
        """Do what is overdue, in bounded time; a broker that is away is left to `serve`. Returns what was done last."""
        swept = Swept()
        with suppress(BrokerError):
            for _ in range(FIRST_SWEEPS):
                swept = await self._gateway.sweep(SWEEP_LIMIT)
                if not swept.more:
                    break
        return swept

    async def serve(self) -> None:
        """Sweep until cancelled.

        Raises:
            BrokerReplaced: The broker's jobs are gone, or are others; no try will bring them back.
        """
        while True:
            self._wake = Event()
            self._before()
            try:
                if self.outage.failing:
                    await self._renew()
                swept = await self._gateway.sweep(SWEEP_LIMIT)
            except BrokerReplaced:
                raise
            except BrokerError as error:
                await self.outage.wait(error)
                continue
            self.outage.over()
            self._on_swept(swept)
            if swept.more:
                continue
            wait = self._every_seconds if swept.next_due_seconds is None else min(self._every_seconds, swept.next_due_seconds)
            if swept.next_room_seconds is not None:
                wait = min(wait, max(swept.next_room_seconds, ROOM_SECONDS))
            # A timer may fire a little early; a millisecond more is cheaper than a sweep for nothing.
            with move_on_after(max(wait, 0.0) + 0.001):
                await self._wake.wait()


class CancelWatch:
    """Looks up cancels when a hint says so; the lease keeper finds those whose hint was lost.

    A hint may be about a job that a claim under way is just bringing. What comes while `claiming` is true and is not in flight
    is kept until the claim has ended.
    """

    def __init__(
        self, gateway: Gateway, in_flight: InFlightJobs, keeper: LeaseKeeper, lease_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._gateway = gateway
        self._in_flight = in_flight
        self._keeper = keeper
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._look_at: dict[str, InFlightJob] = {}
        self._early: set[str] = set()
        self._wake = Event()
        self._not_looked = LogThrottle(_log)
        self.claiming = False  # written by the intake

    def on_cancel(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that cancels were asked for."""
        self._look([job for job in self._in_flight.find(names) if not job.ended])
        if self.claiming and names:
            self._early |= names

    def claimed(self, jobs: list[InFlightJob]) -> None:
        """Hear what a claim has brought."""
        self.claiming = False
        if self._early:
            self._look([job for job in jobs if job.delivery.id in self._early])
            self._early.clear()

    def _look(self, found: list[InFlightJob]) -> None:
        if found:
            self._look_at.update((job.delivery.id, job) for job in found)
            self._wake.set()

    async def serve(self) -> None:
        """Look cancels up until cancelled: a renewal says whether there is one, and why."""
        while True:
            await self._wake.wait()
            self._wake = Event()
            jobs, self._look_at = list(self._look_at.values()), {}
            try:
                await self._renew([job for job in jobs if not job.ended])
            except BrokerError as error:
                self._not_looked.log("cannot look up cancels, the next renewal of the leases does it: %s", error)

    async def renew_all(self) -> None:
        """Renew the leases of all that is in flight here, now.

        Raises:
            BrokerError: It was not possible.
        """
        await self._renew([job for job in self._in_flight.snapshot() if not job.stale])

    async def _renew(self, jobs: list[InFlightJob]) -> None:
        if not jobs:
            return
        sent = self._clock()
        renew = self._gateway.broker.renew
        answers = await self._gateway.call(renew, [job.delivery for job in jobs], self._lease_seconds)
        for job, answer in zip(jobs, answers, strict=True):
            self._keeper.note(job, answer, sent)


class Presence:
    """Tells the broker that this worker lives, and what runs here, for `app.workers()` and `nursery-tasks doctor`.

    Args:
        describe: Makes the record that is stored.
    """

    def __init__(self, gateway: Gateway, describe: Callable[[], WorkerRecord], *, pace: float = 1.0) -> None:
        self._gateway = gateway
        self._pace = pace
        self._describe = describe
        self._is_told = True  # nothing has changed since the last beat
        self._changed = Event()

    def changed(self) -> None:
        """Hear that an attempt has begun or ended; called for every job, so it is cheap."""
        if self._is_told:
            self._is_told = False
            self._changed.set()

    async def serve(self) -> None:
        """Beat until cancelled, then say goodbye; sooner when something has changed, but not after each of many short jobs."""
        try:
            while True:
                self._is_told, self._changed = True, Event()
                if not await self._beat(BEAT_TTL_SECONDS * self._pace):
                    return
                with move_on_after(BEAT_SECONDS * self._pace):
                    await sleep(CHANGE_SECONDS * self._pace)
                    await self._changed.wait()
                    await sleep(CHANGE_SECONDS * self._pace)
        finally:
            with move_on_after(1.0, shield=True):
                await self._beat(0.0)

    async def _beat(self, ttl_seconds: float) -> bool:
        """Tell the broker; False: it does not want to know."""
        try:
            await self._gateway.call(self._gateway.admin.beat, self._describe(), ttl_seconds)
        except NotSupported:
            return False
        except BrokerError as error:
            _log.debug("cannot tell the broker that this worker lives: %s", error)
        return True
