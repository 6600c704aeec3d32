"""Which slots are due, and which of them get a run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from .moments import MICROSECOND
from .policies import Policies
from .timing import Timing

ON_TIME_SECONDS: Final = 5.0  # a slot that is not older than this was not missed, only a little late
_FIRST_STEP: Final = timedelta(seconds=1)


class Slots:
    """The slots of one schedule, from its next one on.

    Args:
        first: The first that nothing was decided about.
    """

    def __init__(self, name: str, timing: Timing, first: datetime) -> None:
        self._name = name
        self._timing = timing
        self._first = first

    def to_run(self, policies: Policies, now: datetime, here_since: datetime) -> Iterator[datetime]:
        """Go through the slots that are due and get a run, in their order.

        Args:
            here_since: Since when somebody has been there to run them. What was due before that was missed.
        """
        on_time = max(now - timedelta(seconds=ON_TIME_SECONDS), here_since)
        if policies.window_seconds is not None:
            yield from self._due_between(now - timedelta(seconds=policies.window_seconds), now)
        elif policies.catch_up == "all":
            yield from self._due_between(self._first, now)
        else:
            missed = self._last_due_before(on_time) if policies.catch_up == "one" else None
            if missed is not None:
                yield missed
            yield from self._due_between(on_time, now)

    def first_due_after(self, moment: datetime) -> datetime | None:
        """Return the first slot that is due after a moment; None: there is none."""
        return self._first_due_from(moment + MICROSECOND)

    def due_at(self, slot: datetime) -> datetime:
        """Return when a slot is due."""
        return self._timing.due_at(self._name, slot)

    def _due_between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        slot = self._first_due_from(since)
        while slot is not None and self.due_at(slot) <= until:
            yield slot
            slot = self._timing.next_after(slot)

    def _first_due_from(self, moment: datetime) -> datetime | None:
        if self.due_at(self._first) >= moment:
            return self._first
        before = self._last_before(moment)  # which jitter may have moved to the moment, or behind it
        if before is not None and self.due_at(before) >= moment:
            return before
        return self._timing.next_after(moment - MICROSECOND)

    def _last_due_before(self, moment: datetime) -> datetime | None:
        """Return the last slot that was due before a moment."""
        last = self._last_before(moment)
        if last is not None and self.due_at(last) >= moment:
            last = self._last_before(last)  # slots are due in their order
        return last

    def _last_before(self, moment: datetime) -> datetime | None:
        """Return the last slot before a moment. A spec only knows what comes next, so this looks back in growing steps."""
        if self._first >= moment:
            return None
        step, slot = _FIRST_STEP, None
        while slot is None or slot >= moment:
            since = moment - step
            if since <= self._first:
                slot = self._first
                break
            slot, step = self._timing.next_after(since), step * 2
        following = self._timing.next_after(slot)
        while following is not None and following < moment:
            slot, following = following, self._timing.next_after(following)
        return slot
