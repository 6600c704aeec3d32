"""Owned jobs: each ends with the caller who awaits it, however that one ends."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import Final

from anyio import current_effective_deadline, current_time, move_on_after, sleep
from anyio.lowlevel import checkpoint_if_cancelled

from ..current import owner_on
from ..errors import BrokerError, BrokerUnavailable, JobStillRunning, NotSupported, NoWorkers, UnknownJob
from ..model.delivery import CancelAnswer, Receipt, Stored, Submission
from ..model.listing import JobRecord
from .cancelling import unfinished_below
from .owner_lease import ABANDONED, OwnerLease, own
from .ports import Unsent
from .submitting import Submitter
from .waiting import OutcomeWaiter, Ticket

DISOWN_SECONDS: Final = 8.0  # how long a cancelled `run` waits for its job to be gone: its clean-up and the way there
LISTING_SECONDS: Final = 1.0  # for finding out what is still running after that
DEADLINE_GAP_SECONDS: Final = 1.0  # how much sooner than its caller a worker may see that the deadline is over, at most
LEAST_NAP_SECONDS: Final = 0.001  # the shortest: less may be too little to move a clock


class OwnedJobs:
    """The jobs that are awaited through one connection."""

    def __init__(self, submitter: Submitter, waiter: OutcomeWaiter, lease: OwnerLease) -> None:
        self.grace_seconds = DISOWN_SECONDS
        self._submitter = submitter
        self._gateway = submitter.gateway
        self._waiter = waiter
        self._lease = lease

    async def run(self, job: Unsent, job_id: str | None, reason: Callable[[], str | None]) -> tuple[Receipt, Stored | None]:
        """Submit one job, and wait for its end; None: an equal one was there already, and nobody here owns it.

        Raises:
            JobStillRunning: The caller is cancelled, and the job is not gone.

        Cancellation:
            Cancels the job, and waits until it is gone; bounded.
        """
        await checkpoint_if_cancelled()  # else there would be nothing of ours to cancel, and maybe another's job of that id
        if not self._submitter.middleware:
            return await self._run(job, job_id, reason)
        async with AsyncExitStack() as around:
            [headers] = await around.enter_async_context(self._submitter.around([job]))
            return await self._run(job, job_id, reason, headers, around.aclose)
        raise AssertionError("what is around a submission lets errors through")

    async def _run(
        self,
        job: Unsent,
        job_id: str | None,
        reason: Callable[[], str | None],
        headers: Mapping[str, str] | None = None,
        on_submitted: Callable[[], Awaitable[None]] | None = None,
    ) -> tuple[Receipt, Stored | None]:
        token = owner_on(self._gateway.broker)
        with ExitStack() as stack:
            seconds = 0.0 if token else stack.enter_context(self._lease.awaiting())
            submission = self._submitter.encode(job, job_id, remaining_seconds(), headers)
            submission = own(submission, token or self._lease.id, seconds, nested=bool(token))
            ticket = stack.enter_context(self._waiter.expecting(submission.id, look=False))
            receipt: Receipt | None = None
            try:
                [receipt] = await self._submitter.submit([submission])
                ticket.sent = True
                if on_submitted is not None:
                    await on_submitted()
                return receipt, await ticket.wait() if receipt.created else None
            except BrokerUnavailable:
                if not token:  # else it ends with the attempt
                    self._lease.abandon(submission.id, ABANDONED)  # it may have been stored
                raise
            except (GeneratorExit, BrokerError, UnknownJob, NoWorkers, NotSupported):
                raise
            except BaseException:  # cancelled; on Trio Ctrl-C comes out of the main task's `await` as it is
                if receipt is None or receipt.created:
                    await self.disown(submission, ticket, reason() or ABANDONED)
                raise

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
                await self._gateway.wait_submitted()
                [answer] = await self._gateway.cancel([submission.id], reason, submission.owner)
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
                if not is_sent and submission.owner == self._lease.id:
                    self._lease.abandon(submission.id, reason)
        await self._raise_still_running(submission, why)
        return CancelAnswer.FINISHED

    async def _raise_still_running(self, submission: Submission, why: str) -> None:
        jobs: list[JobRecord] = []
        grace_seconds = None if why else self.grace_seconds
        if not why:
            why = "what still runs cannot be listed"
            with move_on_after(LISTING_SECONDS, shield=True), suppress(BrokerError, NotSupported):
                jobs = await unfinished_below(self._gateway, submission.id)
                if not jobs:  # it has ended in the last moment
                    return
        listed = [(job.id, job.task, "unresponsive" if job.unresponsive else str(job.state), job.worker or "") for job in jobs]
        raise JobStillRunning(submission.id, submission.task, grace_seconds, listed, why)


def remaining_seconds() -> float | None:
    """Return how much longer the caller can wait: until the nearest deadline of the scopes around it; None: for ever."""
    left = current_effective_deadline() - current_time()
    return None if left == math.inf else max(0.0, left)


async def wait_cancelled(deadline: float) -> None:
    """Wait until the caller's own deadline cancels it: a job that ended because of it may be known to have ended a bit sooner.

    Returns when that is not to come: the deadline is far away, or was put off. Then only the job's error says what happened.
    """
    while current_effective_deadline() <= deadline <= current_time() + DEADLINE_GAP_SECONDS:  # noqa: ASYNC110 - for a cancel
        await sleep(max(LEAST_NAP_SECONDS, deadline - current_time()))
