"""Watching a job: its state and progress, pushed by hints, and polled in case that one is lost.

A watch is a plain object with `__anext__`, and no async generator: a generator would hold a scope of ours across its `yield`,
in the middle of the user's code (PEP 789). It holds nothing open either. What listens is one child of the app's nursery, for
all watches together, from the first one on; it knows them by weak references, so one that was left by `break` is forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final
from weakref import WeakSet

from anyio import Event, move_on_after, sleep, sleep_forever

from ..brokers.gateway import Gateway
from ..current import slot_released
from ..errors import BrokerClosed, BrokerError, BrokerReplaced, UnknownJob
from ..log_throttle import LogThrottle
from ..model.delivery import Topic
from .info import JobUpdate, update_of
from .waiting import PAUSE_SECONDS, POLL_SECONDS

_log = logging.getLogger("nursery_tasks.client")

TOPICS: Final[tuple[Topic, ...]] = ("change", "outcome")


class JobWatch:
    """What `handle.watch()` gives: `async for update in handle.watch()`, until the job has ended.

    Leaving the loop early leaves nothing behind.

    Args:
        watchers: Called at each step for who wakes it; raises where nobody does.
    """

    def __init__(self, watchers: Callable[[], Watchers], job_id: str) -> None:
        self._watchers = watchers
        self._job_id = job_id
        self._last: JobUpdate | None = None
        self._is_over = False
        self.changed = Event()
        self.error: Exception | None = None  # set, and then `changed`, when nobody will look any more

    @property
    def job_id(self) -> str:
        """Whose job it is about."""
        return self._job_id

    def __aiter__(self) -> JobWatch:
        return self

    async def __anext__(self) -> JobUpdate:
        """Wait until the job is not as it was at the last step, and return how it is.

        Raises:
            UnknownJob: The broker does not know it (any more).
            StopAsyncIteration: The step before has shown its end.
        """
        if self._is_over:
            raise StopAsyncIteration
        update = await self._next()
        self._last, self._is_over = update, update.state.ended
        return update

    async def aclose(self) -> None:
        """End it; needed by nobody, and there for `contextlib.aclosing`."""
        self._is_over = True

    async def __aenter__(self) -> JobWatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _next(self) -> JobUpdate:
        watchers = self._watchers()
        watchers.add(self)
        async with slot_released():
            while True:
                if self.error is not None:
                    raise self.error
                self.changed = Event()  # first this, and then the look: what happens in between sets it
                update = await self._look(watchers)
                if update is not None and update != self._last:
                    return update
                with move_on_after(watchers.poll_seconds):
                    await self.changed.wait()

    async def _look(self, watchers: Watchers) -> JobUpdate | None:
        """Return how the job is; None: the broker cannot be asked at the moment."""
        try:
            return await self._ask(watchers.gateway)
        except (BrokerClosed, BrokerReplaced):
            raise
        except BrokerError as error:  # a link that is down
            if self._last is None:
                raise
            watchers.not_looked.log("cannot look up a job that is watched, trying again: %s", error)
            await sleep(PAUSE_SECONDS)
            return None

    async def _ask(self, gateway: Gateway) -> JobUpdate:
        if gateway.broker.admin is not None:
            record = await gateway.call(gateway.broker.admin.job, self._job_id)
            if record is not None:
                return update_of(record)
        else:
            [stored] = await gateway.outcomes([self._job_id])
            if stored is not None:
                return JobUpdate(state=stored.state, unresponsive=stored.unresponsive)
        raise UnknownJob(self._job_id, gateway.broker.step)


class Watchers:
    """All watches of one connection."""

    def __init__(self, gateway: Gateway) -> None:
        self.poll_seconds = POLL_SECONDS
        self.not_looked = LogThrottle(_log)
        self.gateway = gateway
        self._watches: WeakSet[JobWatch] = WeakSet()
        self._wanted = Event()

    def add(self, watch: JobWatch) -> None:
        """Wake *watch* from now on, whenever there may be news of its job."""
        self._watches.add(watch)
        self._wanted.set()

    def __len__(self) -> int:
        return len(self._watches)

    async def serve(self) -> None:
        """Listen from the first watch on, until cancelled."""
        await self._wanted.wait()
        while True:
            try:
                async with self.gateway.listen(TOPICS, self._on_hint):
                    self._on_hint("change", None)  # what was said before this is known only by looking
                    await sleep_forever()
            except BrokerError:  # the watches poll meanwhile, and say what the matter is
                await sleep(PAUSE_SECONDS)

    def close(self, error: Exception) -> None:
        """Fail everybody who still watches."""
        for watch in tuple(self._watches):
            watch.error = error
            watch.changed.set()

    def _on_hint(self, topic: Topic, names: set[str] | None) -> None:
        for watch in tuple(self._watches):
            if names is None or watch.job_id in names:
                watch.changed.set()
