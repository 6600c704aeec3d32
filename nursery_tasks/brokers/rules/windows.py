"""Windows in time, in which one job stands for all submissions of a name. See `Broker.submit` and `model.windows`."""

from __future__ import annotations

from heapq import heappop, heappush


class Windows:
    """Windows by name. One that is over counts for nothing, whether it was forgotten or not."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, float]] = {}  # name -> (id of the job that stands for it, until when)
        self._ends: list[tuple[float, str]] = []  # heap, cleaned late: a window that is longer by now has a later entry, too

    def __len__(self) -> int:
        return len(self._open)

    def find(self, name: str, now: float) -> tuple[str, float] | None:
        """Return the job of a window that is open, and until when."""
        found = self._open.get(name)
        return found if found is not None and now < found[1] else None

    def open(self, name: str, job_id: str, until: float) -> None:
        """Open a window, or let it be for another job or another time from now on."""
        self._open[name] = job_id, until
        heappush(self._ends, (until, name))

    def forget(self, now: float) -> None:
        """Forget the windows that are over."""
        while self._ends and self._ends[0][0] <= now:
            _, name = heappop(self._ends)
            found = self._open.get(name)
            if found is not None and found[1] <= now:
                del self._open[name]
