"""From intake to the slots: a deque and parked events.

A memory object stream does the same and costs twice the CPU per job, because it wakes and switches for each item; here a busy
slot takes its next delivery without any waiting at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from anyio import Event

from .held import Held


class HandOver:
    """What was claimed and has not started. Intake puts, slots take, all on the loop."""

    def __init__(self) -> None:
        self._waiting: deque[Held] = deque()
        self._parked: list[Event] = []  # one per slot that waits
        self._closed = False
        self.busy = 0  # slots that have taken something and not come back

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, held: Iterable[Held]) -> None:
        """Add deliveries, and wake a slot for each."""
        before = len(self._waiting)
        self._waiting.extend(held)
        for _ in range(min(len(self._parked), len(self._waiting) - before)):
            self._parked.pop().set()

    async def take(self) -> Held | None:
        """Return the next delivery, waiting for one; None once closed.

        Cancellation:
            Nothing was taken.
        """
        while True:
            if self._waiting:
                self.busy += 1
                return self._waiting.popleft()
            if self._closed:
                return None
            event = Event()
            self._parked.append(event)
            try:
                await event.wait()
            finally:
                if event in self._parked:
                    self._parked.remove(event)

    def done(self) -> None:
        """Say that what was taken has been dealt with."""
        self.busy -= 1

    def take_back(self, before: float | None = None) -> list[Held]:
        """Take back what no slot has taken; with *before*, only what has been waiting since before that moment."""
        taken: list[Held] = []
        while self._waiting and (before is None or self._waiting[0].since < before):
            taken.append(self._waiting.popleft())
        return taken

    def close(self) -> None:
        """End all slots as soon as they have nothing to do."""
        self._closed = True
        while self._parked:
            self._parked.pop().set()
