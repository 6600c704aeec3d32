"""A handle on a job for programs without an event loop: the blocking twin of `JobHandle`.

Waiting is pushed by hints, with polling as the net. In a thread that works for the app's own loop, a `def` handler's above all,
the wait goes through that loop: so it ends with the handler's job, and gives its slot back meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from anyio import from_thread

from ..brokers.protocol import BrokerAdmin, step_of
from ..current import check_cancelled, current_job_or_none, distant_slot_given_back
from ..errors import BrokerClosed, BrokerError, UnknownJob, WaitTimedOut
from ..model.delivery import CancelAnswer, Hint, Stored
from ..model.duration import Duration, to_optional_seconds, to_seconds
from ..model.outcome import Outcome
from ..model.states import JobState
from ..on_loop import call_on_loop, check_may_block
from .cancelling import CANCEL_WAIT_SECONDS, CLAIMED_WAIT_SECONDS, SWEEP_LIMIT, answer_of
from .connection import Connection
from .handle import JobHandle
from .job import Connected
from .results import open_outcome, result_of
from .waiting import POLL_SECONDS

if TYPE_CHECKING:
    from .sync import SyncClient

R_co = TypeVar("R_co", covariant=True)

CHECK_SECONDS: Final = 0.02  # how late a waiting handler in a process sees its cancel


class SyncJobHandle(Generic[R_co]):
    """One job, by its id; the blocking twin of `JobHandle`."""

    __slots__ = ("_client", "created", "id", "returns", "task")

    def __init__(self, client: SyncClient, job_id: str, task: str, returns: Any = Any, created: bool = True) -> None:
        self._client = client
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
        result: R_co = result_of(stored, self.id, self.task, self.returns, self._client.app.registry)
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

    def cancel(self, reason: str | None = None, *, wait: Duration = CANCEL_WAIT_SECONDS) -> CancelAnswer:
        """Cancel the job, and wait for a running one to end. See `JobHandle.cancel`."""
        [answer] = self._client.broker().cancel([self.id], reason)
        if answer is not CancelAnswer.REQUESTED:
            return answer
        wait_seconds = to_seconds("wait", wait)
        while True:
            try:
                return self._wait_answered(wait_seconds)
            except WaitTimedOut as late:
                if late.state is not JobState.CLAIMED:
                    return answer
                wait_seconds = CLAIMED_WAIT_SECONDS  # it must not start after this has returned
                self._client.broker().sweep(SWEEP_LIMIT)  # its worker may be gone, and no other one there to see it

    def cancel_owned(self, reason: str, owner: bytes | None, wait_seconds: float) -> CancelAnswer:
        """Cancel the job if *owner* has it, and wait for its end, but no longer than that; for who leaves it."""
        [answer] = self._client.broker().cancel([self.id], reason, owner)
        if answer is not CancelAnswer.REQUESTED:
            return answer
        with suppress(WaitTimedOut):
            return self._wait_answered(wait_seconds)
        return answer

    def _wait_answered(self, wait_seconds: float) -> CancelAnswer:
        try:
            return answer_of(self._wait_until(lambda stored: stored.state.ended or stored.unresponsive, wait_seconds))
        except UnknownJob:
            return CancelAnswer.UNKNOWN

    def _look(self) -> Stored:
        broker = self._client.broker()
        [stored] = broker.outcomes([self.id])
        if stored is None:
            raise UnknownJob(self.id, step_of(broker))
        return stored

    def _wait_anywhere(self, timeout_seconds: float | None) -> Stored:
        here = ("waiting for a job of app.sync", "await app.handle(job.id).result()")
        check_may_block(*here)
        connection = connection_of_this_thread(self._client.app)
        if connection is None:
            return self.wait_stored(timeout_seconds)
        handle = JobHandle[Any](self._client.app, self.id, self.task)
        return call_on_loop(*here, handle.wait_stored, timeout_seconds)

    def wait_stored(self, timeout_seconds: float | None) -> Stored:
        """Wait until the job has ended, in this very thread, and return what is stored of it."""
        with distant_slot_given_back():
            return self._wait_until(lambda stored: stored.state.ended, timeout_seconds)

    def _wait_until(self, is_met: Callable[[Stored], bool], timeout_seconds: float | None) -> Stored:
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        woken = threading.Event()

        def emit(hint: Hint) -> None:
            if not hint.names or self.id in hint.names:
                woken.set()

        listener = self._client.broker().listen(["outcome"], emit)
        try:
            while True:
                woken.clear()
                away: BrokerError | None = None
                try:
                    stored = self._look()
                    if is_met(stored):
                        return stored
                except BrokerClosed:
                    raise
                except BrokerError as error:  # a link that is down: the wait has its own deadline
                    away = error
                left = POLL_SECONDS if deadline is None else min(POLL_SECONDS, deadline - time.monotonic())
                if left <= 0:
                    raise away or self._timed_out(timeout_seconds)
                pause(woken, left)
        finally:
            listener.close()

    def _timed_out(self, waited_seconds: float | None) -> WaitTimedOut:
        state, workers = self._look().state, self._count_workers()
        return WaitTimedOut(self.id, self.task, waited_seconds or 0.0, state, workers, self._client.broker().name)

    def _count_workers(self) -> int | None:
        broker = self._client.broker()
        return len(broker.workers()) if isinstance(broker, BrokerAdmin) else None


def connection_of_this_thread(app: Connected) -> Connection | None:
    """Return the app's open connection when this thread runs a `def` handler, or other work, for that connection's loop."""
    connection = app.open_connection
    if connection is None:
        return None
    try:
        thread = from_thread.run_sync(threading.get_ident)
    except RuntimeError:  # no loop waits for this thread
        return None
    return connection if thread == connection.thread else None


def pause(woken: threading.Event, seconds: float) -> None:
    """Wait, and in a handler look now and then whether its job has been cancelled."""
    if current_job_or_none() is None:
        woken.wait(seconds)
        return
    check_cancelled()
    woken.wait(min(seconds, CHECK_SECONDS))
