"""The inner levels of a worker: the slots, which run attempts, and the intake, which feeds them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from anyio import TASK_STATUS_IGNORED, create_task_group, current_time
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from ..loop.deadline import CallDeadline
from .app_port import WorkerStages
from .attempt import NativeCancels
from .attempt_context import LocalContext
from .collecting import Collecting
from .drain import Drain
from .hand_over import HandOver
from .in_flight import InFlightJob, InFlightJobs
from .intake import Intake
from .options import WorkerSettings
from .recycle import RecycleLimits
from .runner import Runner
from .services import Presence
from .settler import Settler

CLAIM_SECONDS: Final = 1.0  # for a claim that is under way when the worker stops; what it brings later waits for its lease
YIELD_SECONDS: Final = 0.002  # a slot whose handlers never wait lets the others run after this long


class Slots:
    """Long-lived children that take deliveries one after the other.

    Args:
        beginning: The deadline of calls that begin jobs.
        recycle: Asks for a fresh process, with a reason and the seconds that attempts may go on.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        in_flight: InFlightJobs,
        hand_over: HandOver,
        collecting: Collecting,
        intake: Intake,
        stages: WorkerStages | None,
        runner: Runner,
        settler: Settler,
        presence: Presence,
        drain: Drain,
        beginning: CallDeadline,
        recycle: Callable[[str, float], object],
    ) -> None:
        self._count = settings.slots
        self._takes_jobs = settings.jobs
        self._in_flight = in_flight
        self._hand_over = hand_over
        self._collecting = collecting
        self._intake = intake
        self._stages = stages
        self._runner = runner
        self._settler = settler
        self._presence = presence
        self._drain = drain
        self._beginning = beginning
        self._recycle = recycle
        limited = settings.max_jobs is not None or settings.max_memory_bytes is not None
        self._limits = RecycleLimits(settings.max_jobs, settings.max_memory_bytes, settings.fraction) if limited else None
        self._batched = 0  # attempts in batches that are counted
        self._running: TaskGroup | None = None

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run attempts until the drain is over. Owns two nurseries: the slots, and inside it the intake that feeds them.

        Cancellation:
            The attempts are cancelled, and their jobs given back.
        """
        with self._drain.over_after() as watch:
            async with create_task_group() as self._running:
                watch(self._running.cancel_scope)
                self._hand_over.open()
                try:
                    async with create_task_group() as claiming:
                        if self._takes_jobs:
                            claiming.start_soon(self._intake.serve, name="intake")
                            claiming.start_soon(self._collecting.serve, name="collecting")
                        if self._stages is not None:
                            claiming.start_soon(self._stages.serve, name="stages")
                        task_status.started()
                        try:
                            await self._drain.begun.wait()
                        finally:
                            self._beginning.end_after(CLAIM_SECONDS)
                        self._drain.limit()
                        self._give_back_waiting()
                        claiming.cancel_scope.cancel()
                finally:  # also when cancelled from above: a handler that ends may wait for one of these
                    self.give_back()
                self._hand_over.close()

    def start(self) -> None:
        """Start one more child, for the hand-over."""
        if self._running is not None and not self._drain.over.is_set():
            self._running.start_soon(self._slot, name=f"slot {self._hand_over.children}")

    def on_released(self) -> None:
        """Make room for what the handlers wait for: what was fetched ahead would begin first, and then wait as well."""
        if self._drain.begun.is_set():
            self._give_back_waiting()
        if self._hand_over.released_slots >= self._count:
            self._give_back_unstarted()
        self._intake.capacity_freed()

    def give_back(self) -> None:
        """Give back what has not begun."""
        for batch in self._collecting.take_back():
            self._settler.release(batch)
        self._give_back_unstarted()

    async def _slot(self) -> None:
        """Run deliveries until the hand-over does not need this child any more."""
        last_wait, native_cancels = current_time(), NativeCancels()
        while (job := await self._hand_over.take()) is not None:
            if self._limits is not None and not self._may_begin(self._limits, job):
                continue
            self._presence.changed()
            try:
                await self._runner.run(job, native_cancels)
            except BaseException:  # cancelled before the attempt began, or Ctrl-C in the middle of it
                if not job.ended:
                    self._runner.give_back(job)
                raise
            finally:
                self._hand_over.done()
            if self._limits is not None:
                self._count_batched(self._limits)
                self._recycle_if(self._limits.ended())
            self._intake.capacity_freed()
            self._presence.changed()
            if self._settler.is_full:
                await self._settler.wait_for_room()
            if self._runner.last_ended - last_wait > YIELD_SECONDS:
                await checkpoint()
                last_wait = current_time()

    def _give_back_unstarted(self) -> None:
        for job in self._hand_over.take_back():
            self._settler.release(job)

    def _give_back_waiting(self) -> None:
        """End the attempts that wait and with which another worker can go on: a drain would wait for them for nothing."""
        for job in self._in_flight.snapshot():
            context = job.context
            if isinstance(context, LocalContext) and context.can_resume is not None and context.waits and context.can_resume():
                job.give_back()

    def _may_begin(self, limits: RecycleLimits, job: InFlightJob) -> bool:
        """Count an attempt; past the limit its job is given back."""
        if self._drain.recycling is not None:  # a claim that was under way when the limit was reached has brought it
            self._settler.release(job)
            self._hand_over.done()
            return False
        if not self._runner.collects(job):
            self._recycle_if(limits.begun())
        return True

    def _count_batched(self, limits: RecycleLimits) -> None:
        """Count the jobs of batches once their call has ended: most of those that a slot takes are only collected."""
        attempts, self._batched = self._runner.batched - self._batched, self._runner.batched
        if attempts:
            self._recycle_if(limits.begun(attempts))

    def _recycle_if(self, reason: str | None) -> None:
        if reason is not None and not self._drain.begun.is_set():
            # Its jobs have done nothing wrong, and a fresh process works already: they may have all the time they want.
            self._recycle(reason, math.inf)
