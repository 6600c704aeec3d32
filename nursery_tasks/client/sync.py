"""The same names for programs without an event loop: Django, Flask, a script, a handler in a thread.

A broker is a state machine of blocking calls, so nothing async is needed here: no loop, no portal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from contextvars import Context
from typing import Any, TypeVar

import msgspec
from anyio import move_on_after

from ..brokers.protocol import Broker, BrokerAdmin, step_of
from ..current import owner_on
from ..errors import (
    BrokerError,
    BrokerUnavailable,
    JobStillRunning,
    NotSupported,
    NoWorkers,
    WaitTimedOut,
)
from ..events import Events
from ..model.delivery import CancelAnswer, Receipt, Stored, Submission
from ..model.duration import Duration, to_optional_seconds, to_seconds
from ..model.options import check_name
from ..model.states import JobState
from ..on_loop import call_on_loop, check_may_block
from ..registry import Registry
from .connection import (
    OWNED_GRACE_SECONDS,
    SUBMIT_CHUNK,
    Connection,
    check_limits_are_held,
    check_served,
    tell_queued,
)
from .ids import new_job_id
from .job import Connected, Job, check_job, check_jobs
from .keeping import Lock, LockKeeper
from .locks import LOCK_LEASE_SECONDS, MIN_LOCK_LEASE_SECONDS
from .owner import ABANDONED, NESTED_PRIORITY, OWNER_LEASE_SECONDS, OwnerLease
from .results import ended_at_deadline, result_of
from .sync_handle import SyncJobHandle, connection_of_this_thread
from .sync_locks import hold_lock_here

R = TypeVar("R")
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
        self._lock_keeper = LockKeeper(broker)
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

    @contextmanager
    def lock(
        self, name: str, *, lease: Duration = LOCK_LEASE_SECONDS, wait: Duration | None = None
    ) -> Generator[Lock, None, None]:
        """Hold a lock in a block of blocking code, also in a `def` handler. See `App.lock`; what differs:

        Nothing can stop a thread, so a lock that was lost is told by `lock.check()`, and at the end of the block. In a handler
        whose job is cancelled the wait ends as `check_cancelled()` does.

        Raises:
            WouldBlockLoop: An event loop runs in this thread.
        """
        check_name("name", name)
        check_may_block("app.sync.lock()", "async with app.lock(...)")
        seconds = to_seconds("lease", lease, at_least=MIN_LOCK_LEASE_SECONDS)
        with hold_lock_here(self.broker(), self._lock_keeper, name, seconds, to_optional_seconds("wait", wait)) as lock:
            yield lock

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
            raise NotSupported(broker.name, "listings", step_of(broker))
        return broker

    def _encode(self, job: Job[Any], remaining_seconds: float | None = None) -> Submission:
        submission = job.to_submission(new_job_id(), time.time(), self._limit_bytes, remaining_seconds)
        if submission.limits:
            check_limits_are_held(self.broker())
        if job.options.local:
            return msgspec.structs.replace(submission, queue=f"{submission.queue}@{self._node}")
        return submission


async def _run_on_loop(connection: Connection, job: Job[R], seconds: float | None) -> R:
    job_id = job.options.job_id or connection.new_id()
    with move_on_after(seconds):
        return await connection.run(job, job_id)
    raise WaitTimedOut(job_id, job.task, seconds or 0.0, JobState.CANCELLED)
