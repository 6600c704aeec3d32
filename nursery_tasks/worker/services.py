"""The small children of a worker that outlive its attempts: sweeper, cancel watch, presence."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from anyio import Event, move_on_after, sleep

from ..brokers.gateway import Gateway
from ..errors import BrokerError, NotSupported
from ..model.delivery import Topic
from ..model.listing import WorkerRecord
from .backoff import Outage
from .held import Held, HeldJobs
from .leases import LeaseKeeper

SWEEP_SECONDS: Final = 1.0  # at least this often
FIRST_SWEEPS: Final = 20
ROOM_SECONDS: Final = 0.02  # at most this often for rates: what they let start meanwhile goes out together
SWEEP_LIMIT: Final = 500  # jobs of each kind in one call
BEAT_SECONDS: Final = 5.0
BEAT_TTL_SECONDS: Final = 15.0

_log = logging.getLogger("nursery_tasks.worker")


class Sweeper:
    """Makes due jobs ready on time, takes back what dead workers held, drops old outcomes.

    Args:
        before: Called before each sweep.
    """

    def __init__(
        self,
        gateway: Gateway,
        before: Callable[[], None],
        *,
        fraction: Callable[[], float] = random.random,
        pace: float = 1.0,
    ) -> None:
        self._gateway = gateway
        self._before = before
        self._every_seconds = SWEEP_SECONDS * pace
        self.outage = Outage("sweep", fraction)
        self._wake = Event()

    def on_due(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that a job was scheduled, maybe for sooner than the next sweep."""
        self._wake.set()
        if names is None:  # a broker says so when its link is back
            self.outage.wake()

    async def sweep_all(self) -> None:
        """Do what is overdue, in bounded time; a broker that is away is left to `serve`."""
        with suppress(BrokerError):
            for _ in range(FIRST_SWEEPS):
                if not (await self._gateway.sweep(SWEEP_LIMIT)).more:
                    return

    async def serve(self) -> None:
        """Sweep until cancelled."""
        while True:
            self._wake = Event()
            self._before()
            try:
                swept = await self._gateway.sweep(SWEEP_LIMIT)
            except BrokerError as error:
                await self.outage.wait(error)
                continue
            self.outage.over()
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

    A hint may be about a job that a claim under way is just bringing. What comes while `claiming` is true and is not held is
    kept until the claim has ended.
    """

    def __init__(
        self, gateway: Gateway, held: HeldJobs, keeper: LeaseKeeper, lease_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._gateway = gateway
        self._held = held
        self._keeper = keeper
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._look_at: dict[str, Held] = {}
        self._early: set[str] = set()
        self._wake = Event()
        self.claiming = False  # written by the intake

    def on_cancel(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that cancels were asked for."""
        self._look([held for held in self._held.find(names) if not held.ended])
        if self.claiming and names:
            self._early |= names

    def claimed(self, held: list[Held]) -> None:
        """Hear what a claim has brought."""
        self.claiming = False
        if self._early:
            self._look([item for item in held if item.delivery.id in self._early])
            self._early.clear()

    def _look(self, found: list[Held]) -> None:
        if found:
            self._look_at.update((held.delivery.id, held) for held in found)
            self._wake.set()

    async def serve(self) -> None:
        """Look cancels up until cancelled: a renewal says whether there is one, and why."""
        while True:
            await self._wake.wait()
            self._wake = Event()
            held, self._look_at = list(self._look_at.values()), {}
            sent = self._clock()
            try:
                answers = await self._gateway.call(
                    self._gateway.broker.renew, [item.delivery for item in held], self._lease_seconds
                )
            except BrokerError as error:
                _log.warning("cannot look up cancels now: %s", error)
                continue
            for item, answer in zip(held, answers, strict=True):
                if not item.ended:
                    self._keeper.note(item, answer, sent)


class Presence:
    """Tells the broker that this worker lives, for `app.workers()` and `nursery-tasks doctor`.

    Args:
        describe: Makes the record that is stored.
    """

    def __init__(self, gateway: Gateway, describe: Callable[[], WorkerRecord], *, pace: float = 1.0) -> None:
        self._gateway = gateway
        self._pace = pace
        self._describe = describe

    async def serve(self) -> None:
        """Beat until cancelled, then say goodbye."""
        try:
            while await self._beat(BEAT_TTL_SECONDS * self._pace):  # noqa: ASYNC110 - it tells, and asks for nothing
                await sleep(BEAT_SECONDS * self._pace)
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
