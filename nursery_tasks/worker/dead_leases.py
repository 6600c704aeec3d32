"""Ends the leases of workers that are known to be dead: nobody has to wait until the broker stops to believe them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from anyio import Event

from ..brokers.gateway import Gateway
from ..errors import BrokerError
from ..model.delivery import Delivery, Started
from ..shared_leases import SharedLease

_log = logging.getLogger("nursery_tasks.worker")


class DeadLeases:
    """Ends what dead workers had.

    It does no more than time would: a lease is over now instead of later, and the next sweep does the rest, with the same
    blame. What was running counts as started, although the dead worker had no time to say so. Each step is refused for a
    token that does not hold any more.

    Args:
        sweep: Asks for a sweep, soon.
    """

    def __init__(self, gateway: Gateway, sweep: Callable[[], None]) -> None:
        self._gateway = gateway
        self._sweep = sweep
        self._leases: list[SharedLease] = []
        self._wake = Event()

    def end(self, leases: Sequence[SharedLease]) -> None:
        """Take note of the leases of a process whose end somebody has seen."""
        self._leases += leases
        self._wake.set()

    async def serve(self) -> None:
        """End leases until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = Event()
            leases, self._leases = self._leases, []
            try:
                await self._end(leases)
            except BrokerError as error:
                _log.warning("cannot end the leases of a dead worker, they run out by themselves: %s", error)

    async def _end(self, leases: Sequence[SharedLease]) -> None:
        running = [Started(_delivery(each), promised=True) for each in leases if each.running]
        if running:
            await self._gateway.settle(running)
        await self._gateway.call(self._gateway.broker.renew, [_delivery(each) for each in leases], 0.0)
        self._sweep()


def _delivery(each: SharedLease) -> Delivery:
    """Return as much of a delivery as a broker looks at."""
    return Delivery(each.job_id, "", "", b"", each.token, address=each.address)
