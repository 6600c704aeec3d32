"""A handle on a job for programs without an event loop: the blocking twin of `JobHandle`.

Waiting is pushed by hints, and polled in case that one is lost. In a thread that works for the app's own loop, a `def`
handler's above all, the wait goes through that loop: so it ends with the handler's job, and releases its slot meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from ..brokers.needed import admin_of
from ..current import distant_slot_released
from ..errors import BrokerClosed, BrokerError, BrokerReplaced, UnknownJob, WaitTimedOut
from ..loop.from_thread import call_on_loop, check_may_block
from ..model.delivery import CancelAnswer, Stored
from ..model.duration import Duration, to_optional_seconds, to_seconds
from ..model.outcome import Outcome
from ..model.states import JobState
from .cancelling import CANCEL_WAIT_SECONDS, CLAIMED_WAIT_SECONDS, SWEEP_LIMIT, answer_of
from .handle import JobHandle
from .info import update_of
from .results import open_outcome, result_of
from .sync_connection import SyncConnection, pause, woken_by
from .sync_watching import SyncJobWatch
from .unserved import AGAIN_SECONDS, LOOK_SECONDS
from .waiting import POLL_SECONDS

R_co = TypeVar("R_co", covariant=True)


class SyncJobHandle(Generic[R_co]):
    """One job, by its id; the blocking twin of `JobHandle`."""

    __slots__ = ("_connection", "created", "id", "returns", "task")

    def __init__(self, connection: SyncConnection, job_id: str, task: str, returns: Any = Any, created: bool = True) -> None:
        self._connection = connection
        self.id = job_id
        self.task = task
        self.returns = returns
        self.created = created  # False: an equal job was there already, and this is a handle on that one

    def __repr__(self) -> str:
        return f"<SyncJobHandle {self.task} {self.id}>"

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the job has ended, and return its result. Raises as `JobHandle.result` does, and:

        Raises:
            WouldBlockLoop: An event loop runs in this thread.
        """
        stored = self._wait_anywhere(to_optional_seconds("timeout", timeout))
        result: R_co = result_of(stored, self.id, self.task, self.returns, self._connection.app.registry)
        return result

    def outcome(self, timeout: Duration | None = None) -> Outcome:
        """Wait until the job has ended, and return how."""
        outcome = open_outcome(self._wait_anywhere(to_optional_seconds("timeout", timeout)))
        assert outcome is not None
        return outcome

    def status(self) -> JobState:
        """Return the job's state now. Raises `UnknownJob`."""
        return self._look().state

    def ready(self) -> bool:
        """Say whether the job has ended, in whatever way."""
        return self._look().state.ended

    def succeeded(self) -> bool:
        """Say whether the job has ended well."""
        return self._look().state is JobState.SUCCEEDED

    def failed(self) -> bool:
        """Say whether the job has ended in any other way than well."""
        state = self._look().state
        return state.ended and state is not JobState.SUCCEEDED

    def progress(self) -> Any:
        """Return what the handler last said of its progress; None when it said nothing. Raises `UnknownJob`."""
        record = admin_of(self._connection.broker()).job(self.id)
        if record is None:
            raise UnknownJob(self.id)
        return update_of(record).progress

    def watch(self, timeout: Duration | None = None) -> SyncJobWatch:
        """Follow the job, as `JobHandle.watch` does: `for update in handle.watch()`.

        Args:
            timeout: How long all of it may take, in seconds or as a timedelta; None: for ever.
        """
        return SyncJobWatch(self._connection, self.id, self.task, to_optional_seconds("timeout", timeout))

    def cancel(self, reason: str | None = None, *, wait: Duration = CANCEL_WAIT_SECONDS) -> CancelAnswer:
        """Cancel the job, and wait for a running one to end. See `JobHandle.cancel`."""
        [answer] = self._connection.broker().cancel([self.id], reason)
        if answer is not CancelAnswer.REQUESTED:
            return answer
        wait_seconds = to_seconds("wait", wait)
        while True:
            try:
                return self.wait_answered(wait_seconds)
            except WaitTimedOut as late:
                if late.state is not JobState.CLAIMED:
                    return answer
                wait_seconds = CLAIMED_WAIT_SECONDS  # it must not start after this has returned
                self._connection.broker().sweep(SWEEP_LIMIT)  # its worker may be gone, and no other one there to see it

    def cancel_owned(self, reason: str, owner: bytes | None, wait_seconds: float) -> CancelAnswer:
        """Cancel the job if *owner* has it, and wait for its end, but no longer than that; for who leaves it."""
        [answer] = self._connection.broker().cancel([self.id], reason, owner)
        if answer is not CancelAnswer.REQUESTED:
            return answer
        with suppress(WaitTimedOut):
            return self.wait_answered(wait_seconds)
        return answer

    def wait_answered(self, wait_seconds: float) -> CancelAnswer:
        """Wait until the job, which was told to end, has ended, or is known to be unresponsive; for the sync client.

        Raises:
            WaitTimedOut: It has not in this time.
        """
        try:
            return answer_of(self._wait_until(lambda stored: stored.state.ended or stored.unresponsive, wait_seconds))
        except UnknownJob:
            return CancelAnswer.UNKNOWN

    def _look(self) -> Stored:
        broker = self._connection.broker()
        [stored] = broker.outcomes([self.id])
        if stored is None:
            raise UnknownJob(self.id, broker.step)
        return stored

    def _wait_anywhere(self, timeout_seconds: float | None) -> Stored:
        here = ("waiting for a job of app.sync", "await app.handle(job.id).result()")
        check_may_block(*here)
        connection = self._connection.of_this_thread()
        if connection is None:
            return self.wait_stored(timeout_seconds)
        handle = JobHandle[Any](self._connection.app, self.id, self.task)
        return call_on_loop(*here, handle.wait_stored, timeout_seconds)

    def wait_stored(self, timeout_seconds: float | None) -> Stored:
        """Wait until the job has ended, in this very thread, and return what is stored of it."""
        with distant_slot_released():
            return self._wait_until(lambda stored: stored.state.ended, timeout_seconds)

    def _wait_until(self, is_met: Callable[[Stored], bool], timeout_seconds: float | None) -> Stored:
        began = time.monotonic()
        deadline = None if timeout_seconds is None else began + timeout_seconds
        look_at = began + LOOK_SECONDS
        with woken_by(self._connection.broker(), ["outcome"], self.id) as woken:
            while True:
                woken.clear()
                away: BrokerError | None = None
                try:
                    stored = self._look()
                    if is_met(stored):
                        return stored
                except (BrokerClosed, BrokerReplaced):
                    raise
                except BrokerError as error:  # a link that is down: the wait has its own deadline
                    away = error
                    self._connection.not_looked.log("cannot look up a job that is awaited, trying again: %s", error)
                now = time.monotonic()
                if now >= look_at:
                    look_at = now + AGAIN_SECONDS
                    self._connection.unserved.look(self._connection.broker(), [self.id])
                left = POLL_SECONDS if deadline is None else min(POLL_SECONDS, deadline - now)
                if left <= 0:
                    raise away or self._timed_out(timeout_seconds)
                pause(woken, min(left, max(0.0, look_at - now)))

    def _timed_out(self, waited_seconds: float | None) -> WaitTimedOut:
        state, workers = self._look().state, self._count_workers()
        return WaitTimedOut(self.id, self.task, waited_seconds or 0.0, state, workers, self._connection.broker().name)

    def _count_workers(self) -> int | None:
        admin = self._connection.broker().admin
        return None if admin is None else len(admin.list_workers())
