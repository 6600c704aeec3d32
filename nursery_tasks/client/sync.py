"""The same names for programs without an event loop: Django, Flask, a script, a handler in a thread.

A broker is a state machine of blocking calls, so nothing async is needed here: no loop, no portal. Waiting is pushed by hints,
with polling as the net, like everywhere.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from contextvars import Context
from typing import Any, Final, Generic, TypeVar

import msgspec
from anyio import from_thread, move_on_after

from ..brokers.protocol import Broker, BrokerAdmin
from ..current import check_cancelled, current_job_or_none, distant_slot_given_back, owner_on
from ..errors import (
    BrokerClosed,
    BrokerError,
    BrokerUnavailable,
    JobStillRunning,
    NotSupported,
    NoWorkers,
    UnknownJob,
    WaitTimedOut,
)
from ..events import Events
from ..model.delivery import CancelAnswer, Hint, Receipt, Stored, Submission
from ..model.duration import Duration, to_optional_seconds, to_seconds
from ..model.outcome import Outcome
from ..model.states import JobState
from ..on_loop import call_on_loop, check_may_block
from ..registry import Registry
from .cancelling import CANCEL_WAIT_SECONDS, CLAIMED_WAIT_SECONDS, SWEEP_LIMIT, answer_of
from .connection import ABANDONED, NESTED_PRIORITY, OWNED_GRACE_SECONDS, SUBMIT_CHUNK, Connection, check_served, tell_queued
from .handle import JobHandle
from .ids import new_job_id
from .job import Connected, Job, check_job, check_jobs
from .owner import OWNER_LEASE_SECONDS, OwnerLease
from .results import ended_at_deadline, open_outcome, result_of
from .waiting import POLL_SECONDS

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

CHECK_SECONDS: Final = 0.02  # how late a waiting handler in a process sees its cancel

_log = logging.getLogger("nursery_tasks.client")


class SyncClient:
    """`app.sync`: blocking calls, from any thread.

    Args:
        app: Asked for its open connection by a `def` handler of its own, whose calls go through the worker's loop.
        broker: Called for the broker when it is first needed; the app keeps it open.
        let_go: Called when it is not needed any more.
        require_workers: Let submitting raise `NoWorkers` when no live worker serves the queue.
    """

    def __init__(
        self,
        app: Connected,
        broker: Callable[[], Broker],
        let_go: Callable[[], None],
        registry: Registry,
        events: Events,
        *,
        node: str,
        limit_bytes: int,
        require_workers: bool = False,
        owner_lease_seconds: float = OWNER_LEASE_SECONDS,
    ) -> None:
        self.app = app
        self.broker = broker
        self._let_go = let_go
        self._registry = registry
        self._owner = OwnerLease(broker, owner_lease_seconds)
        self._events = events
        self._node = node
        self._limit_bytes = limit_bytes
        self._require_workers = require_workers

    def enqueue(self, job: Job[R]) -> SyncJobHandle[R]:
        """Submit one job, detached. Raises as `Task.enqueue` does."""
        check_job("app.sync.enqueue()", job)
        return self.enqueue_many([job])[0]

    def enqueue_many(self, jobs: Iterable[Job[Any]]) -> list[SyncJobHandle[Any]]:
        """Submit many jobs in a few calls to the broker."""
        listed = check_jobs("app.sync.enqueue_many()", jobs)
        receipts = self._submit([self._encode(job) for job in listed])
        return [
            SyncJobHandle(self, receipt.id, job.task, job.returns, receipt.created)
            for job, receipt in zip(listed, receipts, strict=True)
        ]

    def run(self, job: Job[R], timeout: Duration | None = None) -> R:
        """Submit one job, owned, and wait for its result.

        When the wait ends early (timeout, Ctrl-C, exit, or in a handler its cancel), the job is cancelled, and waited for until
        it is gone, at most 8 s; a program that is killed loses it one lease later (`App(owner_lease=...)`, 15 s). Raises as
        `Task.run` does, and:

        Raises:
            WouldBlockLoop: An event loop runs in this thread; nothing was sent.
        """
        check_job("app.sync.run()", job)
        check_may_block("app.sync.run()", "await task.run(...)")
        seconds = to_optional_seconds("timeout", timeout)
        connection = connection_of_this_thread(self.app)
        if connection is not None:
            return call_on_loop("app.sync.run()", "await task.run(...)", _run_on_loop, connection, job, seconds)
        stored, handle = self._run(job, seconds)
        if seconds is not None and ended_at_deadline(stored):  # its worker has seen our timeout before us
            raise WaitTimedOut(handle.id, handle.task, seconds, stored.state)
        result: R = result_of(stored, handle.id, job.task, job.returns, self._registry)
        return result

    def _run(self, job: Job[R], seconds: float | None) -> tuple[Stored, SyncJobHandle[R]]:
        with ExitStack() as stack:
            broker = self.broker()
            token = owner_on(broker)
            lease = 0.0 if token else stack.enter_context(self._owner.awaiting())
            submission = self._encode(job, seconds)
            submission = msgspec.structs.replace(
                submission,
                owner=token or self._owner.id,
                owner_seconds=lease,
                priority=submission.priority + (NESTED_PRIORITY if token else 0),
            )
            handle: SyncJobHandle[R] = SyncJobHandle(self, submission.id, job.task, job.returns)
            try:
                [receipt] = self._submit([submission])
                handle = SyncJobHandle(self, receipt.id, job.task, job.returns, receipt.created)
                return handle.wait_stored(seconds), handle
            except (NoWorkers, NotSupported):  # nothing was sent
                raise
            except BrokerUnavailable:
                if not token:
                    self._owner.abandon(submission.id, ABANDONED)  # it may have been stored
                raise
            except BaseException as error:
                if handle.created:  # else an equal one was there already: nobody here owns it
                    # In a context without the job: what made it leave is still so, and would cut these waits short.
                    Context().run(self._disown, handle, submission.owner, error)
                raise

    def _disown(self, handle: SyncJobHandle[Any], owner: bytes | None, error: BaseException) -> None:
        """Cancel a job whose caller is leaving because of *error*, and wait until it is gone; bounded."""
        try:
            answer = handle.cancel_owned(ABANDONED, owner, OWNED_GRACE_SECONDS)
        except BrokerError:
            if owner == self._owner.id:
                self._owner.abandon(handle.id, ABANDONED)
            return
        if answer in (CancelAnswer.REQUESTED, CancelAnswer.UNRESPONSIVE):
            left = JobStillRunning(handle.id, handle.task, OWNED_GRACE_SECONDS, why=f"it is {answer}")
            error.add_note(str(left))
            _log.warning("%s", left)

    def handle(self, job_id: str, task: str = "job") -> SyncJobHandle[Any]:
        """Make a handle from an id."""
        return SyncJobHandle(self, job_id, task)

    def close(self) -> None:
        """Give back files, sockets and threads; a later call opens them again.

        A program that ends need not call this: what was accepted is stored.
        """
        self._owner.close()
        self._let_go()

    def _submit(self, submissions: list[Submission]) -> list[Receipt]:
        if self._require_workers:
            check_served(submissions, self._admin().workers(), self.broker().name)
        receipts: list[Receipt] = []
        for begin in range(0, len(submissions), SUBMIT_CHUNK):
            chunk = submissions[begin : begin + SUBMIT_CHUNK]
            receipts += self.broker().submit(chunk)
            tell_queued(self._events, chunk, receipts[begin:], time.time())
        return receipts

    def _admin(self) -> BrokerAdmin:
        broker = self.broker()
        if not isinstance(broker, BrokerAdmin):
            raise NotSupported(broker.name, "listings")
        return broker

    def _encode(self, job: Job[Any], remaining_seconds: float | None = None) -> Submission:
        submission = job.to_submission(new_job_id(), time.time(), self._limit_bytes, remaining_seconds)
        if job.options.local:
            return msgspec.structs.replace(submission, queue=f"{submission.queue}@{self._node}")
        return submission


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


async def _run_on_loop(connection: Connection, job: Job[R], seconds: float | None) -> R:
    job_id = job.options.job_id or connection.new_id()
    with move_on_after(seconds):
        return await connection.run(job, job_id)
    raise WaitTimedOut(job_id, job.task, seconds or 0.0, JobState.CANCELLED)


def _pause(woken: threading.Event, seconds: float) -> None:
    """Wait, and in a handler look now and then whether its job has been cancelled."""
    if current_job_or_none() is None:
        woken.wait(seconds)
        return
    check_cancelled()
    woken.wait(min(seconds, CHECK_SECONDS))


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
        [stored] = self._client.broker().outcomes([self.id])
        if stored is None:
            raise UnknownJob(self.id)
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
                _pause(woken, left)
        finally:
            listener.close()

    def _timed_out(self, waited_seconds: float | None) -> WaitTimedOut:
        state, workers = self._look().state, self._count_workers()
        return WaitTimedOut(self.id, self.task, waited_seconds or 0.0, state, workers, self._client.broker().name)

    def _count_workers(self) -> int | None:
        broker = self._client.broker()
        return len(broker.workers()) if isinstance(broker, BrokerAdmin) else None
