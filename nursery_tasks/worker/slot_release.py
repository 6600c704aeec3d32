"""An attempt's slot while its handler waits for other jobs.

A handler may wait in several children of its own nursery at once, and from a thread's calls into the loop; its slot is
released with the first wait and taken again after the last. In between the branches that do not wait run beside the slots,
which is the price for nested waits that can never lock each other out.
"""

from __future__ import annotations

import threading

from .hand_over import HandOver


class SlotRelease:
    """Releases one attempt's slot, and takes it again; used on the worker's loop only."""

    is_distant = False

    __slots__ = ("_hand_over", "_returning", "_waits")

    def __init__(self, hand_over: HandOver) -> None:
        self._hand_over = hand_over
        self._waits = 0
        self._returning = False

    @property
    def is_here(self) -> bool:
        """Whether this is the worker's own thread; a handler may run a loop of its own in another one."""
        return threading.get_ident() == self._hand_over.thread

    @property
    def waits(self) -> bool:
        """Whether the handler waits for other jobs now."""
        return self._waits > 0

    def release(self) -> None:
        """Begin a wait."""
        self._waits += 1
        if self._waits == 1 and not self._returning:
            self._hand_over.release_slot()

    async def acquire(self) -> None:
        """End a wait that went well.

        Cancellation:
            The wait has ended; the slot is taken.
        """
        self._waits -= 1
        if self._waits or self._returning:
            return
        self._returning = True
        try:
            await self._hand_over.acquire_slot()
        finally:
            self._returning = False
            if self._waits:  # another branch has begun to wait meanwhile
                self._hand_over.release_slot()

    def acquire_nowait(self) -> None:
        """End a wait of a handler that is cancelled, or failed: it goes on at once."""
        self._waits -= 1
        if not self._waits and not self._returning:
            self._hand_over.acquire_slot_nowait()
