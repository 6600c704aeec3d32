"""How much is on its way out, and who has to wait for that: what makes the slowest stage hold up the first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from anyio import Event, sleep

from ..brokers.gateway import Gateway
from ..brokers.needed import outbox_of
from ..brokers.outbox import count_outgoing
from ..errors import BrokerError
from ..log_throttle import LogThrottle
from ..registry import TaskSpec

LOOK_SECONDS: Final = 0.2

_log = logging.getLogger("nursery_tasks.stages")


class Backlog:
    """Looks at the outbox, and closes the stages whose destinations have too much before them.

    It looks while jobs end here, because they are what it can hold up, and while something is closed; a worker that has nothing
    to do asks nothing.

    Args:
        specs: The tasks with a stage.
        processed: Says how many attempts have ended here.
        on_opened: Called when queues are open again.

    Attributes:
        closed: The queues of which no job is to begin; the worker's intake reads it.
    """

    def __init__(
        self, gateway: Gateway, specs: Sequence[TaskSpec], processed: Callable[[], int], on_opened: Callable[[], None]
    ) -> None:
        self.closed: frozenset[str] = frozenset()
        self._gateway = gateway
        self._stages = [(spec.options.queue, spec.stage) for spec in specs if spec.stage is not None and spec.stage.reply]
        self._processed = processed
        self._on_opened = on_opened
        self._changed = Event()
        self._not_seen = LogThrottle(_log)

    async def counts(self, destinations: Iterable[str]) -> Mapping[str, int]:
        """Return how many messages wait for each of these destinations.

        Raises:
            BrokerError: The broker did not say.
        """
        return await self._gateway.call(count_outgoing, outbox_of(self._gateway.broker), tuple(destinations))

    async def wait_open(self, queue: str) -> None:
        """Wait while a queue is closed."""
        while queue in self.closed:
            await self._changed.wait()

    async def serve(self) -> None:
        """Look until cancelled; where no stage sends anything there is nothing to look at."""
        seen = -1
        while self._stages:
            processed = self._processed()
            if self.closed or processed != seen:
                seen = processed if await self._look() else -1
            await sleep(LOOK_SECONDS)

    async def _look(self) -> bool:
        """Look, and close what has too much before it; False: the broker did not say."""
        try:
            counts = await self.counts({str(place) for _, stage in self._stages for place in stage.reply})
        except BrokerError as error:
            self._not_seen.log("cannot see how much is on its way out: %s", error)
            return False
        self._set(
            {queue for queue, stage in self._stages if any(counts.get(str(place), 0) >= stage.buffer for place in stage.reply)}
        )
        return True

    def _set(self, closed: set[str]) -> None:
        opened = self.closed - closed
        self.closed = frozenset(closed)
        if opened:
            self._changed.set()
            self._changed = Event()
            self._on_opened()
