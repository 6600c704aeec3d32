"""Watching a job from a program without an event loop: the blocking twin of `JobWatch`."""

from __future__ import annotations

import time

from anyio import move_on_after

from ..brokers.protocol import Broker
from ..current import distant_slot_released
from ..errors import BrokerClosed, BrokerError, BrokerReplaced, UnknownJob, WaitTimedOut
from ..loop.from_thread import call_on_loop, check_may_block
from .info import JobUpdate, update_of
from .sync_connection import SyncConnection, pause, woken_by
from .waiting import POLL_SECONDS
from .watching import TOPICS, JobWatch


class SyncJobWatch:
    """What `handle.watch()` of a `SyncJobHandle` gives: `for update in handle.watch()`, until the job has ended.

    It holds nothing between two steps, so leaving the loop early leaves nothing behind.

    Args:
        timeout_seconds: How long all of it may take; None: for ever.
    """

    def __init__(self, connection: SyncConnection, job_id: str, task: str, timeout_seconds: float | None) -> None:
        self._connection = connection
        self._job_id, self._task = job_id, task
        self._timeout_seconds = timeout_seconds
        self._ends_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._last: JobUpdate | None = None
        self._is_over = False
        self._on_loop: JobWatch | None = None

    def __iter__(self) -> SyncJobWatch:
        return self

    def __next__(self) -> JobUpdate:
        """Wait until the job is not as it was at the last step, and return how it is.

        Raises:
            WaitTimedOut: The time is over; the job goes on.
            UnknownJob: The broker does not know it (any more).
            WouldBlockLoop: An event loop runs in this thread.
            StopIteration: The step before has shown its end.
        """
        if self._is_over:
            raise StopIteration
        here = ("watching a job of app.sync", "async for update in app.handle(job.id).watch()")
        check_may_block(*here)
        if self._connection.of_this_thread() is not None:
            update = call_on_loop(*here, self._next_on_loop)
        else:
            with distant_slot_released():
                update = self._next_here()
        self._last, self._is_over = update, update.state.ended
        return update

    def close(self) -> None:
        """End it; needed by nobody, and there for `contextlib.closing`."""
        self._is_over = True

    async def _next_on_loop(self) -> JobUpdate:
        if self._on_loop is None:
            app = self._connection.app
            self._on_loop = JobWatch(lambda: app.connection.watchers, self._job_id)
        with move_on_after(self._left()):
            return await self._on_loop.__anext__()
        raise self._timed_out()

    def _next_here(self) -> JobUpdate:
        broker = self._connection.broker()
        with woken_by(broker, TOPICS, self._job_id) as woken:
            while True:
                woken.clear()
                update = self._look(broker)
                if update is not None and update != self._last:
                    return update
                left = self._left()
                if left is not None and left <= 0:
                    raise self._timed_out()
                pause(woken, POLL_SECONDS if left is None else min(POLL_SECONDS, left))

    def _look(self, broker: Broker) -> JobUpdate | None:
        try:
            return self._ask(broker)
        except (BrokerClosed, BrokerReplaced):
            raise
        except BrokerError as error:  # a link that is down
            if self._last is None:
                raise
            self._connection.not_looked.log("cannot look up a job that is watched, trying again: %s", error)
            return None

    def _ask(self, broker: Broker) -> JobUpdate:
        if broker.admin is not None:
            record = broker.admin.job(self._job_id)
            if record is not None:
                return update_of(record)
        else:
            [stored] = broker.outcomes([self._job_id])
            if stored is not None:
                return JobUpdate(state=stored.state, unresponsive=stored.unresponsive)
        raise UnknownJob(self._job_id, broker.step)

    def _left(self) -> float | None:
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def _timed_out(self) -> WaitTimedOut:
        state = "unknown" if self._last is None else str(self._last.state)
        return WaitTimedOut(self._job_id, self._task, self._timeout_seconds or 0.0, state)
