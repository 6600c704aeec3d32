"""Batches before they begin: jobs are collected here, and hold no slot.

A slot that takes a job of a batch task puts it into the open batch of that task, and goes on with other work. The one that
makes a batch full runs it. One whose time has come goes to the hand-over, as one delivery, and the next free slot runs it.

There is at most one open batch for each task, so at most *size* jobs of it are collected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from anyio import CancelScope, Event, current_time

from ..model.delivery import Delivery
from .batch import InFlightBatch
from .hand_over import HandOver
from .in_flight import InFlightJob, InFlightJobs
from .prepare import Call


class Collecting:
    """The open batches of one worker.

    Args:
        hand_over: Gets the batches whose time has come.

    Attributes:
        open: The batches that are collected, by task.
        on_left: Settles a job that was cancelled before its batch began; set before the first one.
    """

    def __init__(self, in_flight: InFlightJobs, hand_over: HandOver) -> None:
        self.open: dict[str, InFlightBatch] = {}
        self.on_left: Callable[[InFlightJob], None]
        self._in_flight = in_flight
        self._hand_over = hand_over
        self._opened = Event()
        self._offers = False  # claims bring jobs of batch tasks, so it is worth claiming more than the slots could run

    @property
    def places(self) -> int:
        """How many jobs more than the free slots a claim may bring."""
        return sum(batch.places for batch in self.open.values()) if self._offers else 0

    def add(self, job: InFlightJob, call: Call) -> InFlightBatch | None:
        """Collect a job; returns its batch when it is full, to be run now."""
        self._offers = True
        batch = self.open.get(call.spec.name)
        if batch is None:
            assert call.spec.batch is not None
            batch = self.open[call.spec.name] = self._make(job, call, call.spec.batch.wait_seconds)
            self._opened.set()
        else:
            batch.add(job, call)
        if not batch.is_full:
            return None
        return self.open.pop(call.spec.name)

    def add_alone(self, job: InFlightJob, call: Call) -> InFlightBatch:
        """Return a batch of one job, to be run now."""
        return self._make(job, call, 0.0)

    def claimed(self, deliveries: Sequence[Delivery]) -> None:
        """Hear what a claim has brought while there were open batches."""
        self._offers = any(delivery.task in self.open for delivery in deliveries)

    def unused(self) -> None:
        """Hear that a claim has brought more than was of use."""
        self._offers = False

    def take_back(self) -> list[InFlightBatch]:
        """Take back what has not begun and waits for no slot."""
        taken = list(self.open.values())
        self.open.clear()
        return taken

    async def serve(self) -> None:
        """Hand over the batches whose time has come, until cancelled."""
        while True:
            self._opened = Event()
            now = current_time()
            for task, batch in list(self.open.items()):
                if batch.due_at <= now:
                    del self.open[task]
                    batch.since = now  # when it began to wait for a slot
                    self._hand_over.put([batch])
            with CancelScope(deadline=min((batch.due_at for batch in self.open.values()), default=math.inf)):
                await self._opened.wait()

    @contextmanager
    def running(self, batch: InFlightBatch) -> Generator[None, None, None]:
        """Have the handler of a batch watched while the context is open."""
        self._in_flight.batches.append(batch)
        try:
            yield
        finally:
            self._in_flight.batches.remove(batch)

    def _make(self, job: InFlightJob, call: Call, wait_seconds: float) -> InFlightBatch:
        return InFlightBatch(job, call, current_time() + wait_seconds, self._left, self._in_flight.on_told)

    def _left(self, batch: InFlightBatch, job: InFlightJob) -> None:
        if not batch.members and self.open.get(batch.spec.name) is batch:
            del self.open[batch.spec.name]
        self.on_left(job)
