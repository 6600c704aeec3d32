"""The same names for programs without an event loop: Django, Flask, a script, a handler in a thread.

A broker is a state machine of blocking calls, so nothing async is needed here: no loop, no portal.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import Context
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import move_on_after

from ..brokers.needed import admin_of
from ..brokers.protocol import Broker
from ..current import owner_on
from ..errors import (
    BrokerError,
    BrokerUnavailable,
    JobStillRunning,
    NotSupported,
    NoWorkers,
    QueueFull,
    WaitTimedOut,
)
from ..events import Events, to_event_filter
from ..loop.from_thread import call_on_loop, check_may_block
from ..model.delivery import CancelAnswer, Receipt, Stored, Submission
from ..model.duration import Duration, to_optional_seconds, to_seconds
from ..model.options import check_name
from ..model.states import JobState
from ..registry import Registry
from .around import around_here
from .broadcast import Per, broadcast_queues, copies_for
from .calls import DirectCalls
from .choosing import check_task
from .connection import ConnectedApp, Connection
from .job import Job, check_job, check_jobs
from .lock_lease import Lock, LockKeeper
from .lock_request import LOCK_LEASE_SECONDS, MIN_LOCK_LEASE_SECONDS
from .log_reader import Since
from .owned import DISOWN_SECONDS
from .owner_lease import ABANDONED, OWNER_LEASE_SECONDS, OwnerLease, own
from .results import ended_at_deadline, result_of
from .room import Answer, answers_of
from .submitting import Encoder, check_served, chunks
from .sync_admin import SyncJobs, SyncPauses, SyncQueues
from .sync_connection import SyncConnection
from .sync_following import SyncEventStream
from .sync_handle import SyncJobHandle
from .sync_locks import hold_lock_here
from .sync_room import push

if TYPE_CHECKING:
    from .sync_schedules import SyncSchedules

R = TypeVar("R")
_log = logging.getLogger("nursery_tasks.client")


class SyncClient:
    """`app.sync`: blocking calls, from any thread.

    Args:
        app: Asked for its open connection by a `def` handler of its own, whose calls go through the worker's loop.
        broker: Called for the broker when it is first needed; the app keeps it open.
        let_go: Called when it is not needed any more.
        require_workers: Let submitting raise `NoWorkers` when no live worker serves the queue.
        undo_id_of: Names the job that takes back what a durable workflow has done.

    Attributes:
        jobs: What has been submitted, by whomever: listed, cancelled, run again, deleted.
        queues: The queues: listed, paused, purged, made and deleted.
        pauses: Tasks, and values of their arguments, whose jobs wait.
    """

    def __init__(
        self,
        app: ConnectedApp,
        broker: Callable[[], Broker],
        let_go: Callable[[], None],
        registry: Registry,
        events: Events,
        *,
        node: str,
        limit_bytes: int,
        require_workers: bool = False,
        owner_lease_seconds: float = OWNER_LEASE_SECONDS,
        undo_id_of: Callable[[str], str],
    ) -> None:
        self.broker = broker
        self._connection = SyncConnection(app, broker)
        self.jobs = SyncJobs(broker, lambda job_id, seconds: self.handle(job_id).wait_answered(seconds), undo_id_of)
        self.queues = SyncQueues(broker, registry.queues)
        self.pauses = SyncPauses(broker, registry, node)
        self._let_go = let_go
        self._registry = registry
        self._owner = OwnerLease(broker, owner_lease_seconds)
        self._lock_keeper = LockKeeper(broker)
        self._encoder = Encoder(events, node=node, limit_bytes=limit_bytes, require_workers=require_workers)

    @cached_property
    def schedules(self) -> SyncSchedules:
        """What is run again and again: put, listed, paused, removed, run by hand."""
        from .schedules import Schedules  # late: most programs have none
        from .sync_schedules import SyncSchedules

        return SyncSchedules(
            Schedules(
                lambda: DirectCalls(self.broker()),
                lambda job: self._encoder.encode_template(self.broker(), job),
                lambda: self._encoder.new_id(),
                lambda: self._encoder.now(),
                lambda: self._registry.codec,
                self.handle,
            )
        )

    def enqueue(self, job: Job[R], *, timeout: Duration | None = None) -> SyncJobHandle[R]:
        """Submit one job, detached; while its queue is full, wait for room. Raises as `Task.enqueue` does, and:

        Args:
            timeout: How long to wait for room; None: for ever.

        Raises:
            QueueFull: There was none in that time.
            WouldBlockLoop: The queue is full, and an event loop runs in this thread.
        """
        check_job("app.sync.enqueue()", job)
        return self.enqueue_many([job], timeout=timeout)[0]

    def enqueue_nowait(self, job: Job[R]) -> SyncJobHandle[R]:
        """Submit one job, detached, unless its queue is full (`QueueFull`). Raises as `Task.enqueue` does."""
        check_job("app.sync.enqueue_nowait()", job)
        return self.enqueue_many([job], timeout=0)[0]

    def enqueue_many(self, jobs: Iterable[Job[Any]], *, timeout: Duration | None = None) -> list[SyncJobHandle[Any]]:
        """Submit many jobs in a few calls to the broker; while queues are full, wait for room. See `enqueue`.

        With `QueueFull` some of them may be in, the first ones of each queue.
        """
        listed = check_jobs("app.sync.enqueue_many()", jobs)
        seconds = to_optional_seconds("timeout", timeout)
        broker = self.broker()
        with around_here(self._registry.middleware.submission, listed) as headers:
            jobs_and_headers = zip(listed, headers, strict=True)
            submissions = [self._encoder.encode(broker, job, headers=own) for job, own in jobs_and_headers]
            receipts = self._submit(broker, submissions, seconds)
        return [
            SyncJobHandle(self._connection, receipt.id, job.task, job.returns, receipt.created)
            for job, receipt in zip(listed, receipts, strict=True)
        ]

    def broadcast(self, job: Job[R], *, per: Per = "worker") -> dict[str, SyncJobHandle[R]]:
        """Submit a job once for each live worker, or node; returns a handle on each, by its name. See `App.broadcast`."""
        check_job("app.sync.broadcast()", job)
        broker = self.broker()
        queues = broadcast_queues(job, admin_of(broker).list_workers(), per, broker.name)
        return dict(zip(queues, self.enqueue_many(copies_for(job, queues.values())), strict=True))

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
        connection = self._connection.of_this_thread()
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
            around = stack.enter_context(ExitStack())
            [headers] = around.enter_context(around_here(self._registry.middleware.submission, [job]))
            submission = self._encoder.encode(broker, job, None, seconds, headers)
            submission = own(submission, token or self._owner.id, lease, nested=bool(token))
            handle: SyncJobHandle[R] = SyncJobHandle(self._connection, submission.id, job.task, job.returns)
            began = time.monotonic()
            try:
                [receipt] = self._submit(broker, [submission], seconds)
                around.close()
                if seconds is not None:
                    seconds = max(0.0, seconds - (time.monotonic() - began))
                handle = SyncJobHandle(self._connection, receipt.id, job.task, job.returns, receipt.created)
                return handle.wait_stored(seconds), handle
            except (NoWorkers, NotSupported, QueueFull):  # nothing was stored
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
            answer = handle.cancel_owned(ABANDONED, owner, DISOWN_SECONDS)
        except BrokerError:
            if owner == self._owner.id:
                self._owner.abandon(handle.id, ABANDONED)
            return
        if answer in (CancelAnswer.REQUESTED, CancelAnswer.UNRESPONSIVE):
            left = JobStillRunning(handle.id, handle.task, DISOWN_SECONDS, why=f"it is {answer}")
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

    def follow(
        self,
        *,
        job: str | None = None,
        task: str | None = None,
        kinds: Iterable[str] = (),
        since: Since = "now",
        timeout: Duration | None = None,
    ) -> SyncEventStream:
        """Read the log of events: `with app.sync.follow() as events: for event in events: ...`. See `App.follow`.

        Args:
            timeout: After how long without an event the iteration ends; None: never.

        Raises:
            WouldBlockLoop: An event loop runs in this thread.
        """
        check_may_block("app.sync.follow()", "async with app.follow(...)")
        seconds = to_optional_seconds("timeout", timeout)
        return SyncEventStream(self.broker(), to_event_filter(kinds, task, job), since, seconds)

    def handle(self, job_id: str, task: str | None = None) -> SyncJobHandle[Any]:
        """Make a handle from an id. See `App.handle`."""
        if task is not None:
            check_task("task", task, "handle(job_id)")
        return SyncJobHandle(self._connection, check_name("job_id", job_id), task or "job", self._registry.returns_of(task))

    def close(self) -> None:
        """Give back files, sockets and threads; a later call opens them again.

        A program that ends need not call this: what was accepted is stored.
        """
        self._owner.close()
        self._let_go()

    def _submit(self, broker: Broker, submissions: list[Submission], seconds: float | None) -> list[Receipt]:
        if self._encoder.require_workers:
            check_served(submissions, admin_of(broker).list_workers(), broker.name)
        receipts: list[Receipt] = []
        deadline, submit = math.inf if seconds is None else time.monotonic() + seconds, partial(self._submit_once, broker)
        for chunk in chunks(submissions):
            receipts += push(submit, chunk, deadline, self._connection.of_this_thread)
        return receipts

    def _submit_once(self, broker: Broker, submissions: Sequence[Submission]) -> Sequence[Answer]:
        answers: Sequence[Answer]
        try:
            answers = broker.submit(submissions)
        except QueueFull as full:
            answers = answers_of(full)
        self._encoder.tell_queued(submissions, answers)
        return answers


async def _run_on_loop(connection: Connection, job: Job[R], seconds: float | None) -> R:
    job_id = job.options.job_id or connection.submitter.encoder.new_id()
    with move_on_after(seconds):
        result: R = await connection.run(job, job_id)
        return result
    raise WaitTimedOut(job_id, job.task, seconds or 0.0, JobState.CANCELLED)
