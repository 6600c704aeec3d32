"""The worker as its owner sees it: what it does, and how it is told to stop. Its parts are put together here."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Unpack

from anyio import TASK_STATUS_IGNORED, current_time
from anyio.abc import TaskStatus

from ..brokers.needed import schedules_of
from ..loop.clocks import boot_time
from ..loop.deadline import CallDeadline
from ..loop.threadsafe import loop_name, loop_run_soon
from ..loop.unwrapped import open_unwrapped_group
from ..model.delivery import Swept, Topic
from ..model.listing import WorkerRecord
from ..model.options import is_inbox
from ..shared_leases import SharedLease
from .app_port import WorkerApp
from .backoff import introduce
from .batch import InFlightBatch
from .collecting import Collecting
from .dead_leases import DeadLeases
from .drain import Drain
from .forwarder import Forwarder
from .hand_over import HandOver
from .in_flight import InFlightJobs
from .intake import Intake
from .leases import LeaseKeeper
from .levels import Levels, OnHint
from .log_notes import LogNotes
from .options import WorkerOptions, WorkerSettings, check_worker_options
from .pauses import PauseWatch
from .runner import Runner
from .sending import Sending
from .services import CancelWatch, Presence, Sweeper
from .settler import Settler, Unstored
from .slots import Slots
from .streaming import Streams
from .ticker import Ticker
from .unsent import register_unsent
from .watchdog import Watchdog

_log = logging.getLogger("nursery_tasks.worker")


class Worker:
    """One running worker; `app.open_worker()` gives it.

    Attributes:
        name: How it calls itself to the broker.
        settings: What it was opened with.
    """

    def __init__(self, app: WorkerApp, settings: WorkerSettings) -> None:
        self.name = settings.name
        self.settings = settings
        self._app = app
        deadline, beginning = CallDeadline(), CallDeadline()  # of all calls, and of those that begin jobs
        self._gateway = app.connection.gateway.with_deadline(deadline)
        sooner = self._gateway.with_deadline(beginning)
        fraction = settings.fraction
        self._now = app.connection.now
        self._drain = Drain(settings.drain_seconds, lambda moment: self._watchdog.interrupt(moment))
        self._started_at = self._now()
        state: dict[str, Any] = {}
        self._in_flight = InFlightJobs(settings.shared_leases)
        self._hand_over = HandOver(settings.slots, lambda: self._slots.start(), lambda: self._slots.on_released())
        self._collecting = Collecting(self._in_flight, self._hand_over)
        self._loop = loop_name()
        run_soon = loop_run_soon()
        # A broker on the loop may live in virtual time, and its leases with it.
        clock = boot_time if self._gateway.broker.blocking else current_time
        notes = LogNotes(app.events, self.name)
        self._settler = Settler(
            self._gateway,
            sooner,
            self._in_flight,
            notes.note_stored,
            lambda job, progress: self._runner.reporter.tell_progress(job, progress),
            lambda job: self._runner.reporter.tell_stale(job),
            run_soon,
            fraction=fraction,
        )
        self._keeper = LeaseKeeper(
            self._gateway.broker, self._in_flight, settings.lease_seconds, clock, run_soon, settings.on_wedged
        )
        self._pauses = PauseWatch(self._gateway, app.registry, lambda: self._sweeper.on_due("due", set()))
        self._streams = Streams(self._gateway, Sending(app.registry, app.max_payload_bytes), self._now, settings.pace)
        self._runner = Runner(
            app.registry,
            self._settler,
            app.events,
            settings,
            state,
            app.max_payload_bytes,
            self._hand_over,
            self._collecting,
            self._keeper.is_late if self._gateway.broker.blocking else None,
            self._pauses,
            notes,
            self._streams,
            now=self._now,
        )
        self._cancels = CancelWatch(self._gateway, self._in_flight, self._keeper, settings.lease_seconds, clock)
        stages = None
        if settings.jobs:
            stages = app.make_stages(settings.queues, lambda: self.processed, lambda: self._intake.on_work("work", None))
        self._intake = Intake(
            sooner,
            app.registry,
            self._in_flight,
            self._hand_over,
            self._collecting,
            settings,
            lambda: self._runner.seconds_per_job,
            self._settler.release,
            self._cancels,
            clock,
            closed=tuple if stages is None else lambda: stages.closed,
            fraction=fraction,
        )
        self._ticker = Ticker(self.name, self._gateway, app.registry, app.schedule_definitions, self._now, fraction=fraction)
        self._sweeper = Sweeper(
            self._gateway,
            self._keeper.renew_on_loop,
            self._cancels.renew_all,
            fraction=fraction,
            pace=settings.pace,
            on_swept=self._on_swept,
        )
        self._forwarder = Forwarder(
            self._gateway, app.channels, app.registry, settings.turns, fraction=fraction, pace=settings.pace
        )
        self._dead_leases = DeadLeases(self._gateway, lambda: self._sweeper.on_due("due", set()))
        introduce(
            [self._intake.outage, self._sweeper.outage, self._settler.outage, self._ticker.outage, self._forwarder.outage]
        )
        self._watchdog = Watchdog(
            self._in_flight, self._runner.give_up, self._on_slots_lost, settings.cleanup_seconds, pace=settings.pace
        )
        self._presence = Presence(self._gateway, self._describe, pace=settings.pace)
        self._slots = Slots(
            settings,
            self._in_flight,
            self._hand_over,
            self._collecting,
            self._intake,
            stages,
            self._runner,
            self._settler,
            self._presence,
            self._drain,
            beginning,
            lambda reason, seconds: self.recycle(reason, drain_seconds=seconds),
        )
        services = (
            self._settler.serve,
            self._settler.serve_marks,
            self._keeper.serve,
            self._sweeper.serve,
            self._dead_leases.serve,
            self._cancels.serve,
            self._watchdog.serve,
            self._presence.serve,
            self._runner.executors.serve,
            self._pauses.serve,
            *([self._streams.clean] if self._streams.are_used else []),
            *([self._ticker.serve] if settings.schedules else []),
            *([self._forwarder.serve] if settings.jobs else []),
        )
        topics: dict[Topic, OnHint] = {
            "work": self._on_work,
            "due": self._sweeper.on_due,
            "cancel": self._cancels.on_cancel,
            "schedule": self._ticker.on_schedule,
            "outgoing": self._forwarder.on_outgoing,
            "pause": self._pauses.on_pause,
        }
        self._levels = Levels(
            app,
            settings,
            self._gateway,
            deadline,
            self._drain,
            self._settler,
            self._forwarder,
            self._sweeper,
            self._pauses,
            self._slots,
            state,
            services,
            topics,
        )

    @property
    def doing(self) -> str:
        """What would be the matter if it did not end, once its last attempt has."""
        return self._levels.doing

    @property
    def recycling(self) -> str | None:
        """Why it wants to be replaced, once it does."""
        return self._drain.recycling

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
        return self._in_flight.running()

    @property
    def unfinished(self) -> dict[str, str]:
        """The jobs whose handlers have not ended, id -> task, also those that were given up; from any thread."""
        running = [each for each in (*self._watchdog.given_up, *self._in_flight.handlers()) if not each.over]
        jobs = [job for each in running for job in (each.members if isinstance(each, InFlightBatch) else (each,))]
        return {job.delivery.id: job.delivery.task for job in jobs}

    @property
    def unstored(self) -> Unstored:
        """What waits to be stored; once it has ended, what never was, as far as is known, because the broker was away."""
        return self._settler.unstored

    def stop(self) -> None:
        """Begin to drain: claim no more, let attempts end. Returns at once; calling it again changes nothing."""
        self._drain.begin()

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
        if not self._drain.begun.is_set():
            seconds = self._drain.recycle(reason, drain_seconds)
            self._slots.give_back()
            self.settings.on_recycle(reason, seconds)
        return True

    def end_leases(self, leases: Sequence[SharedLease]) -> None:
        """End the leases of another process, which is known to be dead. Returns at once.

        Args:
            leases: Those that it had.
        """
        self._dead_leases.end(leases)

    async def wait_drained(self) -> None:
        """Wait until it has stopped, for whatever reason, and no attempt runs any more."""
        await self._drain.over.wait()

    def cancel_running(self) -> None:
        """Cut the drain short: cancel the attempts now. Their jobs are given back to the broker."""
        self._drain.cut_short()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until `stop()`, then drain.

        While the broker is away, what has ended is tried to be stored for as long as the drain lasts, and 2 s more.

        Cancellation:
            Attempts are cancelled at once and their jobs given back; what can be stored within 2 s is stored.
        """
        await self._levels.run(task_status=task_status)

    def _on_work(self, topic: Topic, names: set[str] | None) -> None:
        self._intake.on_work(topic, names)
        if names is None:
            self._settler.wake()

    def _on_swept(self, swept: Swept) -> None:
        self._ticker.on_swept(swept.next_schedule_seconds)
        self._pauses.on_swept(swept)

    def _on_slots_lost(self, count: int) -> None:
        if count >= self.settings.max_unresponsive and not self._drain.begun.is_set():
            slots = "1 slot is" if count == 1 else f"{count} slots are"
            self.recycle(f"{slots} lost to handlers that do not end")

    def _describe(self) -> WorkerRecord:
        return WorkerRecord(
            name=self.name,
            node=self._app.node,
            pid=os.getpid(),
            group=self.settings.group,
            backend=self._loop,
            queues=tuple(sorted(self.settings.queues, key=is_inbox)),
            slots=self.settings.slots if self.settings.jobs else 0,
            running=tuple(self.running),
            unresponsive=self._watchdog.unresponsive,
            processed=self.processed,
            jobs=self.settings.jobs,
            schedules=self.settings.schedules,
            started_at=self._started_at,
            seen_at=self._now(),
        )


@asynccontextmanager
async def open_worker(app: WorkerApp, **options: Unpack[WorkerOptions]) -> AsyncGenerator[Worker, None]:
    """Run a worker while the context is open. See `App.open_worker`.

    Cancellation:
        Leaving the block normally drains; leaving it by an exception or a cancel interrupts the attempts, and their jobs
        are given back to the broker.
    """
    _wake_loggers()
    queues = sorted({spec.options.queue for spec in app.registry.tasks.values()})
    has_inbox = app.connection.gateway.broker.admin is not None  # else no client can learn which workers there are
    register_unsent(app)
    worker = Worker(app, check_worker_options(options, queues, app.node, has_inbox=has_inbox))
    if worker.settings.schedules and app.schedule_definitions():
        schedules_of(app.connection.gateway.broker)  # or else nothing of it would ever run
    async with open_unwrapped_group() as owner:
        await owner.start(worker.run, name=f"worker {worker.name}")
        yield worker
        worker.stop()


def _wake_loggers() -> None:
    """Let our loggers speak again that `logging.config` has disabled because they were there before it: nobody meant that."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "nursery_tasks":
            logging.getLogger(name).disabled = False
