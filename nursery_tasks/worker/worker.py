"""The worker: a tree of nurseries around one broker connection.

    services                outlive the attempts: settler, lease keeper, sweeper, cancel watch, presence
    └─ resources            the app's lifespans
       └─ slots 1..n        long-lived children; each runs one attempt at a time
          └─ intake         claims; cancelled first

Stopping is leaving the inner levels one after the other: no more claims; what has not started is given back; attempts run on
until the drain is over, then they are cancelled and given back; the outbox is stored; the services end.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Unpack

from anyio import (
    TASK_STATUS_IGNORED,
    CancelScope,
    Event,
    create_task_group,
    current_time,
    move_on_after,
)
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from ..brokers.patience import Patience
from ..brokers.posting import loop_name, loop_poster
from ..events import EventKind, JobEvent
from ..hidden import open_hidden_group
from ..model.delivery import Topic
from ..model.listing import WorkerRecord
from .backoff import introduce
from .hand_over import HandOver
from .held import Held, HeldJobs, boot_time
from .hold import AttemptHold
from .host import Host
from .intake import Intake
from .leases import LeaseKeeper
from .options import WorkerOptions, WorkerSettings, check_worker_options
from .recycle import Limits
from .runner import Runner
from .services import CancelWatch, Presence, Sweeper
from .settler import Settler
from .watchdog import Watchdog

CLAIM_SECONDS: Final = 1.0  # for a claim that is under way when the worker stops; what it brings later waits for its lease
FLUSH_SECONDS: Final = 2.0  # for storing the last outcomes
GOODBYE_SECONDS: Final = 1.0  # and then for all other calls
YIELD_SECONDS: Final = 0.002  # a slot whose handlers never wait lets the others run after this long

_log = logging.getLogger("nursery_tasks.worker")


class Worker:
    """One running worker; `app.open_worker()` gives it.

    Attributes:
        name: How it calls itself to the broker.
        recycling: Why it wants to be replaced, once it does.
    """

    def __init__(self, app: Host, settings: WorkerSettings) -> None:
        self.name = settings.name
        self.settings = settings
        self._app = app
        self._patience, self._beginning = Patience(), Patience()  # of all calls, and of those that begin jobs
        self._gateway = app.connection.gateway.with_patience(self._patience)
        beginning = self._gateway.with_patience(self._beginning)
        fraction = settings.fraction
        self._now = app.connection.now
        self._stop = Event()
        self._drained = Event()
        self._drain_seconds = settings.drain_seconds
        self._running: TaskGroup | None = None
        self.recycling: str | None = None
        limited = settings.max_jobs is not None or settings.max_memory_bytes is not None
        self._limits = Limits(settings.max_jobs, settings.max_memory_bytes, settings.fraction) if limited else None
        self._started_at = self._now()
        self._state: dict[str, Any] = {}
        self._held = HeldJobs()
        self._hand_over = HandOver(settings.slots, self._start_slot, self._on_lent)
        self._loop = loop_name()
        post = loop_poster()
        # A broker on the loop may live in virtual time, and its leases with it.
        clock = boot_time if self._gateway.broker.blocking else current_time
        self._settler = Settler(self._gateway, beginning, self._held, self._on_stale, post, fraction=fraction)
        self._keeper = LeaseKeeper(self._gateway.broker, self._held, settings.lease_seconds, clock, post, settings.on_wedged)
        self._runner = Runner(
            app.registry,
            self._settler,
            app.events,
            settings,
            self._state,
            app.max_payload_bytes,
            self._hand_over,
            self._keeper.is_late if self._gateway.broker.blocking else None,
            now=self._now,
        )
        self._cancels = CancelWatch(self._gateway, self._held, self._keeper, settings.lease_seconds, clock)
        self._intake = Intake(
            beginning,
            self._held,
            self._hand_over,
            settings,
            lambda: self._runner.seconds_per_job,
            self._settler.release,
            self._cancels,
            clock,
            fraction=fraction,
        )
        self._sweeper = Sweeper(self._gateway, self._keeper.renew_on_loop, fraction=fraction, pace=settings.pace)
        introduce([self._intake.outage, self._sweeper.outage, self._settler.outage])
        self._watchdog = Watchdog(
            self._held, self._runner.give_up, self._on_slots_lost, settings.cleanup_seconds, pace=settings.pace
        )
        self._presence = Presence(self._gateway, self._describe, pace=settings.pace)

    @property
    def processed(self) -> int:
        """How many attempts have ended here."""
        return self._runner.processed

    @property
    def interrupted(self) -> int:
        """How many attempts were cancelled because the worker stops: the drain was over, or was cut short."""
        return self._runner.interrupted

    @property
    def running(self) -> list[str]:
        """The ids of the jobs that run here now."""
        return self._held.running()

    def stop(self) -> None:
        """Begin to drain: claim no more, let attempts end. Returns at once; calling it again changes nothing."""
        if self._drain_seconds != self.settings.drain_seconds:  # it recycles already, and now there is less time
            self._drain_seconds = self.settings.drain_seconds
            if self._running is not None and self._stop.is_set():
                self._interrupt_at(self._running, current_time() + self._drain_seconds)
        self._stop.set()

    def recycle(self, reason: str, *, drain_seconds: float | None = None) -> bool:
        """Ask to be replaced by a fresh process, and begin to drain. Returns at once; the first reason stays.

        Args:
            reason: A sentence about this worker, for the log: "3 slots are lost to handlers that do not end".
            drain_seconds: How long running attempts may go on; default: the worker's `drain`.

        Returns:
            False: nobody here can replace a process (see `on_recycle`), so the worker goes on as it is.
        """
        if self.settings.on_recycle is None:
            _log.error("worker %s should be replaced, and nobody here can do that: %s", self.name, reason)
            return False
        if not self._stop.is_set():
            self.recycling = reason
            self._drain_seconds = self.settings.drain_seconds if drain_seconds is None else drain_seconds
            self._stop.set()
            self._give_back()
            self.settings.on_recycle(reason, self._drain_seconds)
        return True

    async def wait_drained(self) -> None:
        """Wait until it has stopped, for whatever reason, and no attempt runs any more."""
        await self._drained.wait()

    def cancel_running(self) -> None:
        """Cut the drain short: cancel the attempts now. Their jobs are given back to the broker."""
        self._stop.set()
        if self._running is not None:
            self._watchdog.interrupt_at = current_time()
            self._running.cancel_scope.cancel("the worker stops")

    def _interrupt_at(self, running: TaskGroup, deadline: float) -> None:
        self._watchdog.interrupt_at = running.cancel_scope.deadline = deadline

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until `stop()`, then drain.

        Cancellation:
            Attempts are cancelled at once and their jobs given back; what can be stored within 2 s is stored.
        """
        topics: dict[str, Callable[..., None]] = {
            "work": self._on_work,
            "due": self._sweeper.on_due,
            "cancel": self._cancels.on_cancel,
        }
        async with (
            self._services() as start,
            self._gateway.listen(["work", "due", "cancel"], lambda topic, names: topics[topic](topic, names)),
        ):
            for serve in (
                self._settler.serve,
                self._settler.serve_marks,
                self._keeper.serve,
                self._sweeper.serve,
                self._cancels.serve,
                self._watchdog.serve,
                self._presence.serve,
                self._runner.executors.serve,
            ):
                start(serve)
            await self._sweeper.sweep_all()  # before the first claim: what has lost its owner must not be started
            async with self._resources():
                await self._serve_slots(task_status)

    def _on_work(self, topic: Topic, names: set[str] | None) -> None:
        self._intake.on_work(topic, names)
        if names is None:
            self._settler.wake()

    @asynccontextmanager
    async def _services(self) -> AsyncGenerator[Callable[[Callable[[], Awaitable[None]]], None], None]:
        """Owns a nursery of children that a cancel from above does not reach; they end after the outbox is stored.

        They are not started by `services.start()`: a cancel that comes while it waits makes Trio ignore `started()`, and a
        child that is shielded by then would never be told to end.
        """
        scopes: list[CancelScope] = []

        async def shielded(serve: Callable[[], Awaitable[None]], scope: CancelScope) -> None:
            with scope:
                await serve()

        async with open_hidden_group() as services:

            def start(serve: Callable[[], Awaitable[None]]) -> None:
                scopes.append(CancelScope(shield=True))  # bounded by the finally below
                services.start_soon(shielded, serve, scopes[-1], name=getattr(serve, "__qualname__", "service"))

            try:
                yield start
            finally:
                with move_on_after(FLUSH_SECONDS, shield=True):
                    await self._settler.flush()
                self._patience.end_after(GOODBYE_SECONDS)
                for scope in scopes:
                    scope.cancel()

    @asynccontextmanager
    async def _resources(self) -> AsyncGenerator[None, None]:
        """Open the app's lifespans in order, and close them in reverse, after the last attempt."""
        async with AsyncExitStack() as stack:
            for name, lifespan in self._app.lifespans.items():
                self._state[name] = await stack.enter_async_context(lifespan(self._state))
            yield

    async def _serve_slots(self, task_status: TaskStatus[None]) -> None:
        """Owns two nurseries: the slots, and inside it the intake that feeds them."""
        try:
            async with create_task_group() as running:
                self._running = running
                self._hand_over.open()
                try:
                    async with create_task_group() as claiming:
                        claiming.start_soon(self._intake.serve, name="intake")
                        task_status.started()
                        try:
                            await self._stop.wait()
                        finally:
                            self._beginning.end_after(CLAIM_SECONDS)
                        # A soft stop is a deadline on a scope that exists already.
                        self._interrupt_at(running, current_time() + self._drain_seconds)
                        self._give_back_waiting()
                        claiming.cancel_scope.cancel()
                finally:  # also when cancelled from above: a handler that ends may wait for one of these
                    self._give_back()
                self._hand_over.close()
        finally:
            self._running = None
            self._drained.set()

    def _start_slot(self) -> None:
        if self._running is not None:
            self._running.start_soon(self._slot, name=f"slot {self._hand_over.children}")

    def _give_back_waiting(self) -> None:
        """End the attempts that wait and with which another worker can go on: a drain would wait for them for nothing."""
        for held in self._held.snapshot():
            hold = held.hold
            if isinstance(hold, AttemptHold) and hold.can_resume is not None and hold.waits and hold.can_resume():
                held.give_back()

    def _on_lent(self) -> None:
        """Make room for what the handlers wait for: what was fetched ahead would begin first, and then wait as well."""
        if self._stop.is_set():
            self._give_back_waiting()
        if self._hand_over.lent >= self.settings.slots:
            self._give_back()
        self._intake.capacity_freed()

    async def _slot(self) -> None:
        """Run deliveries until the hand-over does not need this child any more."""
        last_wait = current_time()
        while (held := await self._hand_over.take()) is not None:
            if self._limits is not None and not self._may_begin(self._limits, held):
                continue
            try:
                await self._runner.run(held)
            except BaseException:  # cancelled before the attempt began, or Ctrl-C in the middle of it
                if not held.ended:
                    self._settler.release(held)
                raise
            finally:
                self._hand_over.done()
            if self._limits is not None:
                self._recycle_if(self._limits.ended())
            self._intake.capacity_freed()
            if self._settler.is_full:
                await self._settler.wait_for_room()
            if self._runner.last_ended - last_wait > YIELD_SECONDS:
                await checkpoint()
                last_wait = current_time()

    def _may_begin(self, limits: Limits, held: Held) -> bool:
        """Count an attempt; past the limit its job is given back."""
        if self.recycling is not None:  # a claim that was under way when the limit was reached has brought it
            self._settler.release(held)
            self._hand_over.done()
            return False
        self._recycle_if(limits.begun())
        return True

    def _recycle_if(self, reason: str | None) -> None:
        if reason is not None and not self._stop.is_set():
            # Its jobs have done nothing wrong, and a fresh process works already: they may have all the time they want.
            self.recycle(reason, drain_seconds=math.inf)

    def _give_back(self) -> None:
        for held in self._hand_over.take_back():
            self._settler.release(held)

    def _on_slots_lost(self, count: int) -> None:
        if count >= self.settings.max_unresponsive and not self._stop.is_set():
            slots = "1 slot is" if count == 1 else f"{count} slots are"
            self.recycle(f"{slots} lost to handlers that do not end")

    def _on_stale(self, held: Held) -> None:
        delivery = held.delivery
        self._app.events.emit(
            JobEvent(
                kind=EventKind.STALE,
                job_id=delivery.id,
                task=delivery.task,
                queue=delivery.queue,
                at=self._now(),
                attempt=delivery.attempt,
                worker=self.name,
                detail="its lease had been lost; another worker has the job",
            )
        )

    def _describe(self) -> WorkerRecord:
        return WorkerRecord(
            name=self.name,
            node=self._app.node,
            pid=os.getpid(),
            group=self.settings.group,
            backend=self._loop,
            queues=self.settings.queues,
            slots=self.settings.slots,
            running=tuple(self.running),
            unresponsive=self._watchdog.unresponsive,
            processed=self.processed,
            started_at=self._started_at,
            seen_at=self._now(),
        )


@asynccontextmanager
async def open_worker(app: Host, **options: Unpack[WorkerOptions]) -> AsyncGenerator[Worker, None]:
    """Run a worker while the context is open. See `App.open_worker`.

    Cancellation:
        Leaving the block normally drains; leaving it by an exception or a cancel interrupts the attempts, and their jobs
        are given back to the broker.
    """
    queues = sorted({spec.options.queue for spec in app.registry.tasks.values()})
    worker = Worker(app, check_worker_options(options, queues, app.node))
    async with open_hidden_group() as owner:
        await owner.start(worker.run, name=f"worker {worker.name}")
        yield worker
        worker.stop()
