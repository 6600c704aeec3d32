"""An app's open connection: one gateway, one waiter, and the calls that submit."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from typing import Any, Final, TypeVar

import msgspec
from anyio import CancelScope, current_effective_deadline, current_time, move_on_after, sleep
from anyio.lowlevel import checkpoint_if_cancelled

from ..brokers.gateway import Gateway
from ..brokers.protocol import Broker, Feature, step_of
from ..current import owner_on, slot_given_back
from ..errors import (
    BrokerClosed,
    BrokerError,
    BrokerUnavailable,
    JobStillRunning,
    NotSupported,
    NoWorkers,
    UnknownJob,
)
from ..events import EventKind, Events, JobEvent
from ..hidden import open_hidden_group
from ..model.delivery import CancelAnswer, Receipt, Stored, Submission
from ..model.listing import JobFilter, JobRecord, WorkerRecord
from .cancelling import CANCEL_PAGE, cancel_jobs, unfinished_below
from .detached import enqueue_recorded
from .handle import JobHandle
from .ids import new_job_id
from .job import Connected, Job, check_jobs
from .keeping import LockKeeper
from .owner import ABANDONED, NESTED_PRIORITY, OWNER_LEASE_SECONDS, OwnerLease
from .recorded import recorder_on, run_recorded
from .results import ended_at_deadline, result_of
from .waiting import OutcomeWaiter, Ticket

R = TypeVar("R")

OWNED_GRACE_SECONDS: Final = 8.0  # how long a cancelled `run` waits for its job to be gone: its clean-up and the way there
LISTING_SECONDS: Final = 1.0  # for finding out what is still running after that
LEAVE_SECONDS: Final = 1.0  # for a call that is under way when the app is left
DEADLINE_GAP_SECONDS: Final = 1.0  # how much sooner than its caller a worker may see that the deadline is over, at most
SUBMIT_CHUNK: Final = 2_000  # jobs in one call of enqueue_many: a transaction that others can get in between


class Connection:
    """What an open app uses to send jobs and to wait for them; one per event loop and `async with app`."""

    def __init__(
        self,
        app: Connected,
        gateway: Gateway,
        events: Events,
        *,
        node: str,
        limit_bytes: int,
        require_workers: bool = False,
        owner_lease_seconds: float = OWNER_LEASE_SECONDS,
    ) -> None:
        self.gateway = gateway
        self.waiter = OutcomeWaiter(gateway)
        self.lock_keeper = LockKeeper(lambda: gateway.broker)
        self.owner = OwnerLease(lambda: gateway.broker, owner_lease_seconds)
        self.thread = threading.get_ident()  # where the event loop runs
        self.grace_seconds = OWNED_GRACE_SECONDS
        self.new_id: Callable[[], str] = new_job_id
        self.now: Callable[[], float] = time.time
        self.app = app
        self._events = events
        self._node = node
        self._limit_bytes = limit_bytes
        self._require_workers = require_workers

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None, None]:
        """Keep the waiter's service running while the context is open; owns a nursery of one child."""
        # Shielded: callers that are cancelled from outside of the app still wait here until the jobs they own have ended.
        serving = CancelScope(shield=True)
        with closing(self.gateway):
            async with (
                open_hidden_group() as services,
                self.gateway.listen(["outcome"], self.waiter.on_hint, self.waiter.is_wanted),
            ):
                services.start_soon(self._serve_waiter, serving, name="outcome waiter")
                try:
                    yield
                finally:
                    self.gateway.patience.end_after(LEAVE_SECONDS)
                    serving.cancel()
                    await self._let_go()
                    self.waiter.close(BrokerClosed(self.gateway.broker.name))

    async def _let_go(self) -> None:
        """Cancel what is still awaited by coroutines outside of the app's scope: nobody can hear of it any more."""
        self.owner.close()
        if self.owner.awaited:
            with move_on_after(LISTING_SECONDS, shield=True), suppress(BrokerError):
                await self.gateway.call(self.gateway.broker.hold, [self.owner.id], 0.0)

    async def _serve_waiter(self, serving: CancelScope) -> None:
        with serving:
            await self.waiter.serve()

    async def enqueue(self, job: Job[R]) -> JobHandle[R]:
        """Submit one job."""
        recorder = recorder_on(self)
        if recorder is not None:
            [handle] = await enqueue_recorded(self, recorder, [job])
            return handle
        submission = self.encode(job)
        [receipt] = await self.submit([submission])
        return JobHandle(self.app, receipt.id, job.task, job.returns, receipt.created)

    async def enqueue_many(self, jobs: Iterable[Job[Any]]) -> list[JobHandle[Any]]:
        """Submit many jobs in a few calls to the broker; all are encoded before the first is sent."""
        listed = check_jobs("app.enqueue_many()", jobs)
        recorder = recorder_on(self)
        if recorder is not None:
            return await enqueue_recorded(self, recorder, listed)
        submissions = [self.encode(job) for job in listed]
        receipts: list[Receipt] = []
        for begin in range(0, len(submissions), SUBMIT_CHUNK):
            receipts += await self.submit(submissions[begin : begin + SUBMIT_CHUNK])
        return [
            JobHandle(self.app, receipt.id, job.task, job.returns, receipt.created)
            for job, receipt in zip(listed, receipts, strict=True)
        ]

    async def run(self, job: Job[R], job_id: str | None = None, reason: Callable[[], str | None] = lambda: None) -> R:
        """Submit one job, owned, and wait for its result; in a handler, with its slot given back meanwhile.

        Args:
            job_id: The id it gets, unless its options have one.
            reason: Asked why the job is cancelled, when the caller is.
        """
        recorder = recorder_on(self)
        if recorder is not None:
            recorded: R = await run_recorded(self, recorder, job, job_id, reason)
            return recorded
        deadline = current_effective_deadline()
        async with slot_given_back():
            receipt, stored = await self._run(job, job_id, reason)
            if stored is not None and ended_at_deadline(stored):
                await wait_cancelled(deadline)
        if stored is None:  # an equal one was there already: nobody here owns it
            return await JobHandle[R](self.app, receipt.id, job.task, job.returns)
        result: R = result_of(stored, receipt.id, job.task, job.returns, self.app.registry)
        return result

    async def _run(self, job: Job[Any], job_id: str | None, reason: Callable[[], str | None]) -> tuple[Receipt, Stored | None]:
        await checkpoint_if_cancelled()  # else there would be nothing of ours to cancel, and maybe another's job of that id
        token = owner_on(self.gateway.broker)
        with ExitStack() as stack:
            seconds = 0.0 if token else stack.enter_context(self.owner.awaiting())
            submission = self.encode(job, job_id, remaining_seconds())
            submission = msgspec.structs.replace(
                submission,
                owner=token or self.owner.id,
                owner_seconds=seconds,
                # What a handler waits for goes before what has not begun: a handler that waits holds memory, or a thread.
                priority=submission.priority + (NESTED_PRIORITY if token else 0),
            )
            ticket = stack.enter_context(self.waiter.expecting(submission.id, look=False))
            receipt: Receipt | None = None
            try:
                [receipt] = await self.submit([submission])
                ticket.sent = True
                return receipt, await ticket.wait() if receipt.created else None
            except BrokerUnavailable:
                if not token:  # else it ends with the attempt
                    self.owner.abandon(submission.id, ABANDONED)  # it may have been stored
                raise
            except (GeneratorExit, BrokerError, UnknownJob, NoWorkers, NotSupported):
                raise
            except BaseException:  # cancelled; on Trio Ctrl-C comes out of the main task's `await` as it is
                if receipt is None or receipt.created:
                    await self.disown(submission, ticket, reason() or ABANDONED)
                raise

    def child_id(self, job: Job[Any]) -> str:
        """Return the id of a job that is about to be run."""
        recorder = recorder_on(self)
        if recorder is not None:
            return recorder.name_call(job)
        return job.options.job_id or self.new_id()

    async def cancel_jobs(
        self, wanted: Sequence[str] | JobFilter, reason: str | None, wait_seconds: float
    ) -> dict[CancelAnswer, int]:
        """Cancel many jobs, in pages; returns how many came to what."""
        answers: Counter[CancelAnswer] = Counter()
        after = 0
        while True:
            page, after = await self._page(wanted, after)
            if not page:
                return dict(answers)
            answers.update((await cancel_jobs(self.gateway, self.waiter, page, reason, wait_seconds)).values())

    async def _page(self, wanted: Sequence[str] | JobFilter, after: int) -> tuple[Sequence[str], int]:
        if not isinstance(wanted, JobFilter):
            return wanted[after : after + CANCEL_PAGE], after + CANCEL_PAGE
        records = await self.gateway.call(self.gateway.admin.jobs, wanted, CANCEL_PAGE, after)
        return [record.id for record in records], records[-1].cursor if records else after

    async def count_workers(self) -> int | None:
        """Count the live workers; None where the broker cannot tell."""
        try:
            return len(await self.gateway.call(self.gateway.admin.workers))
        except NotSupported:
            return None

    async def disown(self, submission: Submission, ticket: Ticket, reason: str) -> CancelAnswer:
        """Cancel an owned job whose caller is leaving, and wait until it is gone; bounded.

        Returns:
            What the cancel came to. `UNKNOWN`: it was not stored, or is gone for good.

        Raises:
            JobStillRunning: It is not gone.
        """
        why, is_sent = "", False
        with move_on_after(self.grace_seconds, shield=True):
            try:
                # asyncio's own cancel does not wait for a submission under way, which must not arrive after our cancel.
                await self.gateway.wait_submitted()
                [answer] = await self.gateway.cancel([submission.id], reason, submission.owner)
                is_sent = True
                if answer is CancelAnswer.REQUESTED:
                    ticket.sent = True
                    await ticket.wait()
                return answer
            except UnknownJob:  # it is gone for good
                return CancelAnswer.UNKNOWN
            except BrokerError as error:  # the cancelled caller must not wait for a broker that is away
                why = f"it will be cancelled when the broker is back, or when its owner's lease is over ({error})"
            finally:  # also when asyncio's own cancel has cut this short
                if not is_sent and submission.owner == self.owner.id:
                    self.owner.abandon(submission.id, reason)
        await self._raise_still_running(submission, why)
        return CancelAnswer.FINISHED

    async def _raise_still_running(self, submission: Submission, why: str) -> None:
        jobs: list[JobRecord] = []
        grace_seconds = None if why else self.grace_seconds
        if not why:
            why = "what still runs cannot be listed"
            with move_on_after(LISTING_SECONDS, shield=True), suppress(BrokerError, NotSupported):
                jobs = await unfinished_below(self.gateway, submission.id)
                if not jobs:  # it has ended in the last moment
                    return
        listed = [(job.id, job.task, "unresponsive" if job.unresponsive else str(job.state), job.worker or "") for job in jobs]
        raise JobStillRunning(submission.id, submission.task, grace_seconds, listed, why)

    def encode(self, job: Job[Any], job_id: str | None = None, remaining: float | None = None) -> Submission:
        """Make a submission of a job; raises as `Job.to_submission` does."""
        submission = job.to_submission(job_id or self.new_id(), self.now(), self._limit_bytes, remaining)
        if submission.limits:
            check_limits_are_held(self.gateway.broker)
        if job.options.local:
            return msgspec.structs.replace(submission, queue=f"{submission.queue}@{self._node}")
        return submission

    async def submit(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Submit jobs, and tell the listeners of this program."""
        if self._require_workers:
            await self._check_workers(submissions)
        receipts = await self.gateway.submit(submissions)
        tell_queued(self._events, submissions, receipts, self.now())
        return receipts

    async def _check_workers(self, submissions: Sequence[Submission]) -> None:
        check_served(submissions, await self.gateway.call(self.gateway.admin.workers), self.gateway.broker.name)


def remaining_seconds() -> float | None:
    """Return how much longer the caller can wait: until the nearest deadline of the scopes around it; None: for ever."""
    left = current_effective_deadline() - current_time()
    return None if left == math.inf else max(0.0, left)


async def wait_cancelled(deadline: float) -> None:
    """Wait until the caller's own deadline cancels it: a job that ended because of it may be known to have ended a bit sooner.

    Returns when that is not to come: the deadline is far away, or was put off. Then only the job's error says what happened.
    """
    while current_effective_deadline() <= deadline <= current_time() + DEADLINE_GAP_SECONDS:  # noqa: ASYNC110 - for a cancel
        await sleep(max(0.001, deadline - current_time()))


def check_served(submissions: Iterable[Submission], workers: Iterable[WorkerRecord], broker: str) -> None:
    """Check that somebody listens to each queue.

    Raises:
        NoWorkers: Nobody does.
    """
    served = {queue for worker in workers for queue in worker.queues}
    for queue in sorted({submission.queue for submission in submissions} - served):
        raise NoWorkers(queue, broker)


def check_limits_are_held(broker: Broker) -> None:
    """Check that a broker holds limits: one that does not would run the jobs as if they had none.

    Raises:
        NotSupported: It does not.
    """
    if Feature.LIMITS not in broker.features:
        raise NotSupported(broker.name, Feature.LIMITS, step_of(broker))


def tell_queued(events: Events, submissions: Sequence[Submission], receipts: Iterable[Receipt], now: float) -> None:
    """Tell the listeners of the jobs that were stored."""
    if not events.listeners:
        return
    for submission, receipt in zip(submissions, receipts, strict=True):
        if receipt.created:
            events.emit(
                JobEvent(
                    kind=EventKind.QUEUED,
                    job_id=submission.id,
                    task=submission.task,
                    queue=submission.queue,
                    at=now,
                    wait_seconds=submission.delay_seconds or None,
                )
            )
