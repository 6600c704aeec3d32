"""The same names for programs without an event loop: Django, Flask, a script, a handler in a thread.

A broker is a state machine of blocking calls, so nothing async is needed here: no loop, no portal. Waiting is pushed by hints,
with polling as the net, like everywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec

from ..brokers.protocol import Broker, BrokerAdmin
from ..errors import BrokerClosed, BrokerError, NotSupported, UnknownJob, WaitTimedOut
from ..events import Events
from ..model.delivery import CancelAnswer, Hint, Receipt, Stored, Submission
from ..model.duration import Duration, to_optional_seconds
from ..model.outcome import Outcome
from ..model.states import JobState
from ..on_loop import check_may_block
from ..registry import Registry
from .connection import ABANDONED, SUBMIT_CHUNK, check_served, tell_queued
from .ids import new_job_id
from .job import Job
from .results import open_outcome, result_of
from .waiting import POLL_SECONDS

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class SyncClient:
    """`app.sync`: blocking calls, from any thread.

    Args:
        broker: Called for the broker when it is first needed; the app keeps it open.
        let_go: Called when it is not needed any more.
        require_workers: Let submitting raise `NoWorkers` when no live worker serves the queue.
    """

    def __init__(
        self,
        broker: Callable[[], Broker],
        let_go: Callable[[], None],
        registry: Registry,
        events: Events,
        *,
        node: str,
        limit_bytes: int,
        require_workers: bool = False,
    ) -> None:
        self._broker = broker
        self._let_go = let_go
        self._registry = registry
        self._events = events
        self._node = node
        self._limit_bytes = limit_bytes
        self._require_workers = require_workers

    def enqueue(self, job: Job[R]) -> SyncJobHandle[R]:
        """Submit one job, detached. Raises as `Task.enqueue` does."""
        return self.enqueue_many([job])[0]

    def enqueue_many(self, jobs: Iterable[Job[Any]]) -> list[SyncJobHandle[Any]]:
        """Submit many jobs in a few calls to the broker."""
        listed = list(jobs)
        submissions = [self._encode(job) for job in listed]
        if self._require_workers:
            check_served(submissions, self._admin().workers())
        receipts: list[Receipt] = []
        for begin in range(0, len(submissions), SUBMIT_CHUNK):
            chunk = submissions[begin : begin + SUBMIT_CHUNK]
            receipts += self._broker().submit(chunk)
            tell_queued(self._events, chunk, receipts[begin:], time.time())
        return [
            SyncJobHandle(self._broker, self._registry, receipt.id, job.task, job.returns, receipt.created)
            for job, receipt in zip(listed, receipts, strict=True)
        ]

    def run(self, job: Job[R], timeout: Duration | None = None) -> R:
        """Submit one job and wait for its result; when the wait ends early (timeout, Ctrl-C, exit), the job is cancelled.

        Raises:
            WouldBlockLoop: An event loop runs in this thread; nothing was sent.
        """
        check_may_block("app.sync.run()", "await task.run(...)")
        handle = self.enqueue(job)
        try:
            return handle.result(timeout)
        except (WaitTimedOut, KeyboardInterrupt, SystemExit):
            if handle.created:  # else an equal one was there already: nobody here owns it
                with suppress(BrokerError):
                    handle.cancel(ABANDONED)
            raise

    def handle(self, job_id: str, task: str = "job") -> SyncJobHandle[Any]:
        """Make a handle from an id."""
        return SyncJobHandle(self._broker, self._registry, job_id, task)

    def close(self) -> None:
        """Give back files, sockets and threads; a later call opens them again.

        A program that ends need not call this: what was accepted is stored.
        """
        self._let_go()

    def _admin(self) -> BrokerAdmin:
        broker = self._broker()
        if not isinstance(broker, BrokerAdmin):
            raise NotSupported(broker.name, "listings")
        return broker

    def _encode(self, job: Job[Any]) -> Submission:
        submission = job.to_submission(new_job_id(), time.time(), self._limit_bytes)
        if job.options.local:
            return msgspec.structs.replace(submission, queue=f"{submission.queue}@{self._node}")
        return submission


class SyncJobHandle(Generic[R_co]):
    """One job, by its id; the blocking twin of `JobHandle`."""

    __slots__ = ("_broker", "_registry", "created", "id", "returns", "task")

    def __init__(
        self,
        broker: Callable[[], Broker],
        registry: Registry,
        job_id: str,
        task: str,
        returns: Any = Any,
        created: bool = True,
    ) -> None:
        self._broker = broker
        self._registry = registry
        self.id = job_id
        self.task = task
        self.returns = returns
        self.created = created  # False: an equal job was there already, and this is a handle on that one

    def __repr__(self) -> str:
        return f"<SyncJobHandle {self.task} {self.id}>"

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the job has ended, and return its result. Raises as `JobHandle.result` does.

        Raises:
            WouldBlockLoop: An event loop runs in this thread.
        """
        stored = self._wait(to_optional_seconds("timeout", timeout))
        result: R_co = result_of(stored, self.id, self.task, self.returns, self._registry)
        return result

    def outcome(self, timeout: Duration | None = None) -> Outcome:
        """Wait until the job has ended, and return how."""
        outcome = open_outcome(self._wait(to_optional_seconds("timeout", timeout)))
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

    def cancel(self, reason: str | None = None) -> CancelAnswer:
        """Cancel the job, without waiting for a running one to end. See `JobHandle.cancel`."""
        return self._broker().cancel([self.id], reason)[0]

    def _look(self) -> Stored:
        [stored] = self._broker().outcomes([self.id])
        if stored is None:
            raise UnknownJob(self.id)
        return stored

    def _wait(self, timeout_seconds: float | None) -> Stored:
        check_may_block("waiting for a job of app.sync", "await app.handle(job.id).result()")
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        woken = threading.Event()

        def emit(hint: Hint) -> None:
            if not hint.names or self.id in hint.names:
                woken.set()

        listener = self._broker().listen(["outcome"], emit)
        try:
            while True:
                woken.clear()
                away: BrokerError | None = None
                try:
                    stored = self._look()
                    if stored.state.ended:
                        return stored
                except BrokerClosed:
                    raise
                except BrokerError as error:  # a link that is down: the wait has its own deadline
                    away = error
                left = POLL_SECONDS if deadline is None else min(POLL_SECONDS, deadline - time.monotonic())
                if left <= 0:
                    raise away or self._timed_out(timeout_seconds)
                woken.wait(left)
        finally:
            listener.close()

    def _timed_out(self, waited_seconds: float | None) -> WaitTimedOut:
        return WaitTimedOut(self.id, self.task, waited_seconds or 0.0, self._look().state, self._count_workers())

    def _count_workers(self) -> int | None:
        broker = self._broker()
        return len(broker.workers()) if isinstance(broker, BrokerAdmin) else None
