"""From intake to the slots: a deque and parked events. And slots that are released while their handlers wait.

A memory object stream does the same and costs twice the CPU per job, because it wakes and switches for each item; here a busy
slot takes its next delivery without any waiting at all.

A *slot* is the right to run one more attempt, a number; the long-lived children that use the slots are as many, and more while
handlers wait for other jobs: a handler that waits releases its slot (`release_slot`), so another child runs the job that it
waits for. When its wait is over it takes a slot again (`acquire_slot`), ahead of what has not started by then. So nested waits
never need more slots than there are, however deep they go, and at no time do more than `slots` handlers run that do not wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from anyio import Event

from .in_flight import InFlightJob

SPARE_CHILDREN: Final = 8  # kept for the next wait; what is above them ends


class HandOver:
    """What was claimed and has not started. Intake puts, slots take, all on the loop.

    Args:
        slots: How many attempts may run at once.
        start_child: Starts one more child that takes deliveries.
        on_slot_released: Called when a handler has released its slot.
    """

    def __init__(self, slots: int, start_child: Callable[[], None], on_slot_released: Callable[[], None]) -> None:
        self.busy = 0  # slots in use; above `slots` only while cancelled handlers clean up
        self.children = 0
        self.released_slots = 0  # attempts that wait for other jobs, or for a slot afterwards
        self.thread = threading.get_ident()  # the worker's own
        self._slots = slots
        self._start_child = start_child
        self._on_slot_released = on_slot_released
        self._waiting: deque[InFlightJob] = deque()
        self._parked: list[Event] = []  # one per child that waits for a delivery or a slot
        self._returning: deque[Event] = deque()  # one per attempt that waits for a slot again
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self) -> None:
        """Start the children."""
        for _ in range(self._slots):
            self._add_child()

    def put(self, jobs: Iterable[InFlightJob]) -> None:
        """Add deliveries, and wake a child for each that has a slot."""
        before = len(self._waiting)
        self._waiting.extend(jobs)
        self._wake(len(self._waiting) - before)

    async def take(self) -> InFlightJob | None:
        """Return the next delivery with a slot for it, waiting for both; None: the child is not needed any more.

        Cancellation:
            Nothing was taken.
        """
        while True:
            if self._waiting and self.busy < self._slots:
                self.busy += 1
                return self._waiting.popleft()
            if (self._closed and not self._waiting) or self.children - self.released_slots > self._slots + SPARE_CHILDREN:
                self.children -= 1
                return None
            event = Event()
            self._parked.append(event)
            try:
                await event.wait()
            finally:
                if event in self._parked:
                    self._parked.remove(event)

    def done(self) -> None:
        """Say that what was taken has been dealt with: its slot is for who waits to go on, or for the next delivery."""
        if self._returning and self.busy <= self._slots:
            self._returning.popleft().set()
        else:
            self.busy -= 1

    def release_slot(self) -> None:
        """Release a slot while its attempt waits for another job."""
        self.released_slots += 1
        if self.children - self.released_slots < self._slots and not self._closed:
            self._add_child()
        self.done()
        self._on_slot_released()
        if self.busy < self._slots:
            self._wake(1)

    async def acquire_slot(self) -> None:
        """Take a slot again, waiting for one.

        Cancellation:
            The slot is taken at once, if need be beside all others: a cancelled handler only cleans up, and must not wait.
        """
        if self.busy < self._slots:
            self.acquire_slot_nowait()
            return
        event = Event()
        self._returning.append(event)
        try:
            await event.wait()  # `done` has passed a slot on: it is counted already
        except BaseException:
            if not event.is_set():
                self._returning.remove(event)
                self.busy += 1
            raise
        finally:
            self.released_slots -= 1

    def acquire_slot_nowait(self) -> None:
        """Take a slot again without waiting, if need be beside all others."""
        self.busy += 1
        self.released_slots -= 1

    def take_back(self, before: float | None = None) -> list[InFlightJob]:
        """Take back what no slot has taken; with *before*, only what has been waiting since before that moment."""
        taken: list[InFlightJob] = []
        while self._waiting and (before is None or self._waiting[0].since < before):
            taken.append(self._waiting.popleft())
        return taken

    def close(self) -> None:
        """End all children as soon as they have nothing to do."""
        self._closed = True
        while self._parked:
            self._parked.pop().set()

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._parked), self._slots - self.busy)):
            self._parked.pop().set()

    def _add_child(self) -> None:
        self.children += 1
        self._start_child()
