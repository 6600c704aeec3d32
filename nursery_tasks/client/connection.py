"""An app's open connection: what lives as long as it, and the calls that go through it."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, Final, Protocol

from anyio import CancelScope, current_effective_deadline, move_on_after

from ..brokers.gateway import Gateway
from ..brokers.needed import event_log_of
from ..current import slot_released
from ..errors import BrokerClosed, BrokerError, NotSupported
from ..events import Events
from ..loop.unwrapped import open_unwrapped_group
from ..model.delivery import CancelAnswer, Receipt
from .calls import GatewayCalls
from .cancelling import cancel_jobs
from .handle import JobHandle
from .hooks import Hooks
from .job import Job, check_jobs
from .lock_lease import LockKeeper
from .log_writer import LogWriter
from .owned import LEAST_NAP_SECONDS, LISTING_SECONDS, OwnedJobs, wait_cancelled
from .owner_lease import OWNER_LEASE_SECONDS, OwnerLease
from .ports import Connected, Unsent, recorder_on
from .results import ended_at_deadline, result_of
from .submitting import Encoder, Submitter
from .waiting import OutcomeWaiter
from .watching import Watchers

LEAVE_SECONDS: Final = 1.0  # for a call that is under way when the app is left
NAP_SECONDS: Final = 60.0  # of a long sleep; then the clock of the world is looked at again, which may have been set


class Connection:
    """What an open app uses to send jobs and to wait for them; one per event loop and `async with app`."""

    def __init__(
        self,
        app: Connected,
        gateway: Gateway,
        events: Events,
        hooks: Hooks,
        log: LogWriter | None,
        *,
        node: str,
        limit_bytes: int,
        require_workers: bool = False,
        owner_lease_seconds: float = OWNER_LEASE_SECONDS,
    ) -> None:
        self.gateway = gateway
        self.waiter = OutcomeWaiter(gateway)
        self.watchers = Watchers(gateway)
        self.lock_keeper = LockKeeper(lambda: gateway.broker)
        self.owner = OwnerLease(lambda: gateway.broker, owner_lease_seconds)
        self.hooks = hooks
        self.log = log
        self.thread = threading.get_ident()  # where the event loop runs
        self.submitter = Submitter(
            gateway,
            Encoder(events, node=node, limit_bytes=limit_bytes, require_workers=require_workers),
            app.registry.middleware.submission,
        )
        self.owned = OwnedJobs(self.submitter, self.waiter, self.owner)
        self.longest_nap_seconds = NAP_SECONDS
        self.app = app

    @property
    def calls(self) -> GatewayCalls:
        """How `app.jobs` and `app.queues` call the broker."""
        return GatewayCalls(self.gateway)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None, None]:
        """Serve who waits, who watches and who hears of events while the context is open; owns a nursery of four children."""
        # Shielded: callers that are cancelled from outside of the app still wait here until the jobs they own have ended.
        serving, watching, hooking, logging = scopes = [CancelScope(shield=True) for _ in range(4)]
        if self.log is not None:
            event_log_of(self.gateway.broker)
        with closing(self.gateway):
            async with (
                self.gateway.on_loop(),
                open_unwrapped_group() as services,
                self.gateway.listen(["outcome"], self.waiter.on_hint, self.waiter.is_wanted),
            ):
                services.start_soon(_serve, serving, self.waiter.serve, name="outcome waiter")
                services.start_soon(_serve, watching, self.watchers.serve, name="watchers")
                self.hooks.begin()
                services.start_soon(_serve, hooking, self.hooks.serve, name="hooks")
                if self.log is not None and not self.gateway.broker.blocking:
                    services.start_soon(_serve, logging, self.log.serve, name="event log")
                try:
                    yield
                finally:
                    self.gateway.deadline.end_after(LEAVE_SECONDS)
                    for scope in scopes:
                        scope.cancel()
                    await self._let_go()
                    if self.log is not None:
                        await self.log.finish()  # what that has ended
                    self.waiter.close(BrokerClosed(self.gateway.broker.name))
                    self.watchers.close(BrokerClosed(self.gateway.broker.name))

    @property
    def now(self) -> Callable[[], float]:
        """The clock of the world, which says epoch seconds; a worker, which asks it for every job, keeps it."""
        return self.submitter.encoder.now

    def nap_until(self, moment: float) -> float:
        """Return how long to sleep now on the way to a moment of `now`; 0 once it has come."""
        left = moment - self.now()
        return max(LEAST_NAP_SECONDS, min(left, self.longest_nap_seconds)) if left > 0 else 0.0

    async def finish(self) -> None:
        """Wait until the hooks and the log have what has happened; bounded. It comes before the close: they use this."""
        await self.hooks.finish()
        if self.log is not None:
            await self.log.finish()

    async def _let_go(self) -> None:
        """Cancel what is still awaited by coroutines outside of the app's scope: nobody can hear of it any more."""
        self.owner.close()
        if self.owner.awaited:
            with move_on_after(LISTING_SECONDS, shield=True), suppress(BrokerError):
                await self.gateway.call(self.gateway.broker.renew_owners, [self.owner.id], 0.0)

    def enqueue(self, jobs: Sequence[Unsent]) -> Coroutine[Any, Any, list[Receipt]]:
        """Submit jobs, detached, in a few calls to the broker; all are encoded before the first is sent."""
        recorder = recorder_on(self)
        return self.submitter.submit_jobs(jobs) if recorder is None else recorder.enqueue(jobs)

    async def enqueue_nowait(self, job: Unsent) -> Receipt:
        """Submit one job, detached, unless its queue is full.

        Raises:
            QueueFull: It is.
            NotSupported: The function of a durable workflow calls it.
        """
        if recorder_on(self) is not None:
            step = "`await task.enqueue(...)` waits for room there"
            raise NotSupported(self.gateway.broker.name, "enqueue_nowait in the function of a durable workflow", step)
        return await self.submitter.submit_nowait(job)

    async def enqueue_many(self, jobs: Iterable[Job[Any]]) -> list[JobHandle[Any]]:
        """Submit many jobs, and return handles on them."""
        listed = check_jobs("app.enqueue_many()", jobs)
        return [job.handle_on(receipt) for job, receipt in zip(listed, await self.enqueue(listed), strict=True)]

    async def run(self, job: Unsent, job_id: str | None = None, reason: Callable[[], str | None] = lambda: None) -> Any:
        """Submit one job, owned, and wait for its result; in a handler, with its slot given back meanwhile.

        Args:
            job_id: The id it gets, unless its options have one.
            reason: Asked why the job is cancelled, when the caller is.
        """
        recorder = recorder_on(self)
        if recorder is not None:
            return await recorder.run(job, job_id, reason)
        deadline = current_effective_deadline()
        async with slot_released():
            receipt, stored = await self.owned.run(job, job_id, reason)
            if stored is not None and ended_at_deadline(stored):
                await wait_cancelled(deadline)
        if stored is None:  # an equal one was there already: nobody here owns it
            return await JobHandle[Any](self.app, receipt.id, job.task, job.returns)
        return result_of(stored, receipt.id, job.task, job.returns, self.app.registry)

    def child_id(self, job: Unsent) -> str:
        """Return the id of a job that is about to be run."""
        recorder = recorder_on(self)
        if recorder is not None:
            return recorder.name_call(job)
        return job.options.job_id or self.submitter.encoder.new_id()

    async def cancel_jobs(self, ids: Sequence[str], reason: str | None, wait_seconds: float) -> Iterable[CancelAnswer]:
        """Cancel jobs; returns what each came to."""
        return (await cancel_jobs(self.gateway, self.waiter, ids, reason, wait_seconds)).values()


class ConnectedApp(Connected, Protocol):
    """The app, as other threads see it, and what is built on the client."""

    @property
    def connection(self) -> Connection:
        """The open connection, or `AppNotOpen`."""
        ...

    @property
    def open_connection(self) -> Connection | None:
        """The open connection, from any thread; None: there is none."""
        ...


async def _serve(scope: CancelScope, service: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await service()
