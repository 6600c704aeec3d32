"""The nurseries of a worker, from the outside in.

    services                outlive the attempts: settler, forwarder, lease keeper, sweeper, cancel watch, presence
    └─ resources            the app's lifespans
       └─ slots 1..n        long-lived children; each runs one attempt at a time
          └─ intake         claims; cancelled first. Beside it stands who hands over the batches whose time has come

Stopping is leaving the inner levels one after the other: no more claims; what has not started is given back; attempts run on
until the drain is over, then they are cancelled and given back; the outbox is stored; the services end. The two inner levels
stand in `slots.py`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from anyio import CancelScope, move_on_after
from anyio.abc import TaskStatus

from ..brokers.gateway import Gateway
from ..loop.deadline import CallDeadline
from ..loop.unwrapped import open_unwrapped_group
from ..model.delivery import Topic
from .app_port import WorkerApp
from .drain import Drain
from .exits import exits_contained
from .forwarder import Forwarder
from .options import WorkerSettings
from .pauses import PauseWatch
from .services import Sweeper
from .settler import Settler
from .slots import Slots
from .strays import strays_ended

FLUSH_SECONDS: Final = 2.0  # for storing the last outcomes
GOODBYE_SECONDS: Final = 1.0  # and then for all other calls
SHOWN: Final = 5  # jobs that are named in one line of the log

Serve = Callable[[], Awaitable[None]]
OnHint = Callable[[Topic, set[str] | None], None]

_log = logging.getLogger("nursery_tasks.worker")


class Levels:
    """One worker's tree.

    Args:
        deadline: Of all calls through *gateway*.
        state: The resources by name, for handlers; filled here.
        services: What outlives the attempts; each runs until cancelled.
        topics: Who takes which hints of the broker.

    Attributes:
        doing: What would be the matter if the worker did not end, once its last attempt has.
    """

    def __init__(
        self,
        app: WorkerApp,
        settings: WorkerSettings,
        gateway: Gateway,
        deadline: CallDeadline,
        drain: Drain,
        settler: Settler,
        forwarder: Forwarder,
        sweeper: Sweeper,
        pauses: PauseWatch,
        slots: Slots,
        state: dict[str, Any],
        services: Sequence[Serve],
        topics: Mapping[Topic, OnHint],
    ) -> None:
        self.doing = ""
        self._lifespans = app.lifespans
        self._settings = settings
        self._gateway = gateway
        self._deadline = deadline
        self._drain = drain
        self._settler = settler
        self._forwarder = forwarder
        self._sweeper = sweeper
        self._pauses = pauses
        self._slots = slots
        self._state = state
        self._serves = services
        self._topics = topics

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Work until the drain is over, and store what has ended; see `Worker.run`."""
        with exits_contained(owns_signals=self._settings.owns_signals), strays_ended():
            try:
                await self._run(task_status)
            finally:
                self._tell_unstored()

    async def _run(self, task_status: TaskStatus[None]) -> None:
        async with (
            self._services() as start,
            self._gateway.listen(list(self._topics), lambda topic, names: self._topics[topic](topic, names)),
        ):
            for serve in self._serves:
                start(serve)
            swept = await self._sweeper.sweep_all()  # before the first claim: what has lost its owner must not be started
            await self._pauses.catch_up(swept)
            async with self._resources():
                await self._slots.serve(task_status=task_status)

    @asynccontextmanager
    async def _services(self) -> AsyncGenerator[Callable[[Serve], None], None]:
        """Owns a nursery of children that a cancel from above does not reach; they end after the outbox is stored.

        They are not started by `services.start()`: a cancel that comes while it waits makes Trio ignore `started()`, and a
        child that is shielded by then would never be told to end.
        """
        scopes: list[CancelScope] = []

        async def shielded(serve: Serve, scope: CancelScope) -> None:
            with scope:
                await serve()

        async with open_unwrapped_group() as services:

            def start(serve: Serve) -> None:
                scopes.append(CancelScope(shield=True))  # bounded by the finally below
                services.start_soon(shielded, serve, scopes[-1], name=getattr(serve, "__qualname__", "service"))

            try:
                yield start
            finally:
                self.doing = "what its jobs came to cannot be stored"
                try:
                    with self._drain.storing():
                        await self._settler.flush()
                        await self._forwarder.finish()
                finally:
                    with move_on_after(FLUSH_SECONDS, shield=True):
                        await self._settler.flush()
                        await self._forwarder.finish()
                    self._deadline.end_after(GOODBYE_SECONDS)
                    for scope in scopes:
                        scope.cancel()

    @asynccontextmanager
    async def _resources(self) -> AsyncGenerator[None, None]:
        """Open the app's lifespans in order, and close them in reverse, after the last attempt."""
        async with AsyncExitStack() as stack:
            for name, lifespan in self._lifespans.items() if self._settings.jobs else ():
                self._state[name] = await stack.enter_async_context(lifespan(self._state))
                stack.callback(setattr, self, "doing", f"the app's lifespan {name!r} does not end")
            yield

    def _tell_unstored(self) -> None:
        left, lease = self._settler.unstored, f"{self._settings.lease_seconds:g} s after its last renewal"
        for deliveries, what in (
            (left.ended, f"what these jobs came to is not stored, as far as is known, so they may run again, {lease}"),
            (left.given_back, f"these jobs were not given back, as far as is known, and come back with their leases, {lease}"),
        ):
            if deliveries:
                names = ", ".join(f"{each.task} {each.id}" for each in deliveries[:SHOWN])
                more = f" and {len(deliveries) - SHOWN} more" if len(deliveries) > SHOWN else ""
                _log.warning("the broker was away when worker %s ended: %s: %s%s", self._settings.name, what, names, more)
