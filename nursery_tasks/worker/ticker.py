"""Runs schedules on time: each worker does, nobody is elected.

    look      which schedules are due, by the broker's clock
    decide    which of their slots get a run: a pure function, `scheduling/deciding.py`
    fire      the change of the schedule and the jobs of its runs, in one step of the broker's

Who is slower finds the schedule changed, and has done nothing. A worker that dies anywhere here has either fired or not.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Final

from anyio import CapacityLimiter, Event, create_task_group, current_time, move_on_after

from ..brokers.gateway import Gateway
from ..brokers.needed import schedules_of
from ..errors import BrokerError
from ..model.delivery import Topic
from ..model.schedule import ScheduleRow
from ..registry import Registry
from ..scheduling.moments import of_epoch
from ..scheduling.schedule import Definition
from .backoff import Outage
from .firing import Firing
from .services import BEAT_SECONDS

PUT_AT_ONCE: Final = 200  # declared schedules in one call, before the next look at what is due
LOOKS: Final = 200  # schedules in one look, beside those that were left to others: they stay the most overdue of all
AT_ONCE: Final = 6  # calls to the broker for different schedules, side by side; a file syncs once for all of them
LEFT_SECONDS: Final = 0.5  # before another look at what is left to others
ALIVE_SECONDS: Final = BEAT_SECONDS + 1.0  # a worker that was not heard of for longer is not there, or too late
_LONG_AGO: Final = of_epoch(0.0)


class Ticker:
    """Puts the schedules that the app declares, and runs what is due, its own and all others of the broker.

    Args:
        name: The worker's.
        declared: Makes the schedules that stand in the app's code, by name.
        now: The moment in the world, in epoch seconds, for display.
    """

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        registry: Registry,
        declared: Callable[[], Mapping[str, Definition]],
        now: Callable[[], float],
        *,
        fraction: Callable[[], float],
    ) -> None:
        self._name = name
        self._gateway = gateway
        self._declared = declared
        self._firing = Firing(gateway, registry, now)
        self.outage = Outage("run schedules", fraction)
        self._here_since: datetime | None = None
        self._to_put: dict[str, Definition] = {}
        self._next_at = math.inf
        self._left = 0  # schedules of the last look that were left to others
        self._wake = Event()

    def on_schedule(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that a schedule was changed."""
        self._wake.set()
        if names is None:  # a broker says so when its link is back
            self.outage.wake()

    def on_swept(self, next_seconds: float | None) -> None:
        """Hear from the sweeper when the next look is due: hints may get lost, and clocks may be set."""
        if next_seconds is not None and current_time() + next_seconds < self._next_at:
            self._wake.set()

    async def serve(self) -> None:
        """Run what is due until cancelled. Nothing is done where the broker has no schedules."""
        if self._gateway.broker.schedules is None:
            return
        await self._insist(self._begin)
        while True:
            self._wake = Event()
            await self._insist(self._put_declared)
            await self._insist(self._tick)
            if self._to_put:
                continue
            with move_on_after(max(0.0, self._next_at - current_time())):
                await self._wake.wait()

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except BrokerError as error:
                await self.outage.wait(error)
            else:
                self.outage.over()
                return

    async def _begin(self) -> None:
        look = await self._gateway.call(schedules_of(self._gateway.broker).look_at_schedules, 0)
        self._here_since = _LONG_AGO if await self._is_anybody_there(look.now) else of_epoch(look.now)
        self._to_put = dict(self._declared())

    async def _put_declared(self) -> None:
        """Put some of the schedules that the app declares; however many these are, what is due does not wait for all."""
        some = dict(islice(self._to_put.items(), PUT_AT_ONCE))
        if some:
            look = await self._gateway.call(schedules_of(self._gateway.broker).look_at_schedules, 0)
            await self._firing.put(some, of_epoch(look.now))
            self._to_put = {name: each for name, each in self._to_put.items() if name not in some}

    async def _is_anybody_there(self, now: float) -> bool:
        """Look for others that run schedules: what is due is not missed while one of them may be about to run it."""
        admin = self._gateway.broker.admin
        if admin is None:
            return False
        workers = await self._gateway.call(admin.list_workers)
        tickers = (worker for worker in workers if worker.schedules and worker.name != self._name)
        return any(now - worker.seen_at < ALIVE_SECONDS for worker in tickers)

    async def _tick(self) -> None:
        look = await self._gateway.call(schedules_of(self._gateway.broker).look_at_schedules, LOOKS + self._left)
        looked_at = current_time()
        self._left = await self._handle(look.rows, of_epoch(look.now)) if look.rows else 0
        wait = math.inf if look.next_seconds is None else look.next_seconds
        if self._left:
            wait = min(wait, LEFT_SECONDS)
        self._next_at = looked_at + wait

    async def _handle(self, rows: Iterable[ScheduleRow], now: datetime) -> int:
        """Handle schedules side by side; one that fails holds up no other. Returns how many were left to others."""
        limiter, left, failed = CapacityLimiter(AT_ONCE), list[str](), list[BrokerError]()
        assert self._here_since is not None

        async def handle(row: ScheduleRow, here_since: datetime) -> None:
            async with limiter:
                try:
                    if not await self._firing.handle(row, now, here_since):
                        left.append(row.name)
                except BrokerError as error:
                    failed.append(error)

        async with create_task_group() as group:
            for row in rows:
                group.start_soon(handle, row, self._here_since, name=f"schedule {row.name}")
        if failed:
            raise failed[0]
        return len(left)
