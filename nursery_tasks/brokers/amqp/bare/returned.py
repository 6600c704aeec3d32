"""How suspicious a message is that was delivered before: what this process itself has given back does not count."""

from __future__ import annotations

from collections import OrderedDict, deque
from threading import Lock
from typing import Final

from ..permits import Permit, Shelf
from .parcels import counts_deliveries, times_delivered

MOST: Final = 20_000  # messages that are remembered
UNCOUNTED: Final = 2  # as how many deliveries one counts where the server only says that there was one


class Returned:
    """The messages that this process has given back. Any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()  # id -> (deliveries that it will have, of which count)

    def note(self, permits: list[Permit]) -> None:
        """Remember what is about to be given back."""
        for permit in permits:
            if permit.properties.message_id:
                after = times_delivered(permit) + 1 if counts_deliveries(permit) else 1
                suspicion = self.suspicion(permit)
                with self._lock:
                    self._known[permit.properties.message_id] = after, suspicion
                    if len(self._known) > MOST:
                        self._known.popitem(last=False)

    def suspicion(self, permit: Permit) -> int:
        """Return how often a message was delivered to somebody of whom nobody knows what became."""
        times = times_delivered(permit)
        if not times:
            return 0
        with self._lock:
            known = self._known.get(permit.properties.message_id or "")
        if known is not None and known[0] == times:
            return known[1]
        return times if counts_deliveries(permit) else UNCOUNTED


class WholeShelf(Shelf):
    """The messages that nobody has used yet: whoever sent them, each is a job.

    Args:
        returned: Told of those that go back.
    """

    def __init__(self, returned: Returned) -> None:
        super().__init__()
        self._returned = returned

    def add(self, permit: Permit) -> None:
        with self._lock:
            self._queues.setdefault(permit.queue, deque()).append(permit)

    def take_all(self, queue: str) -> list[Permit]:
        permits = super().take_all(queue)
        self._returned.note(permits)
        return permits
