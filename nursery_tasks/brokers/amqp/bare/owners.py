"""Whether those who await jobs still live: their boxes are looked at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..failures import DriverError
from ..line import Line
from .box import count_readers

LOOK_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 5.0  # for how long nobody may read a box: a link that breaks is open again sooner


class Owners:
    """The boxes of those who await jobs that are held here. On the portal's loop, except for `is_known`.

    Args:
        wanted: Gives the boxes to look at.
        on_gone: Called with a box that nobody reads any more.
    """

    def __init__(self, line: Line, wanted: Callable[[], Iterable[str]], on_gone: Callable[[str], None]) -> None:
        self._line, self._wanted, self._on_gone = line, wanted, on_gone
        self._seen: dict[str, float] = {}  # box -> when somebody last read it, as far as is known
        self._looked: dict[str, float] = {}

    def is_known(self, box: str) -> bool:
        """Whether a box was there a moment ago."""
        return time.monotonic() - self._looked.get(box, 0.0) < LOOK_SECONDS

    async def look(self, boxes: Sequence[str]) -> set[str]:
        """Look at boxes; return those that are gone."""
        gone: set[str] = set()
        for box in boxes:
            readers = await count_readers(self._line, box)
            now = time.monotonic()
            if readers is None:
                gone.add(box)
                continue
            self._looked[box] = now
            since = self._seen.setdefault(box, now)
            if readers:
                self._seen[box] = now
            elif now - since >= GRACE_SECONDS:
                gone.add(box)
        return gone

    async def keep(self) -> None:
        """Look at them again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            boxes = set(self._wanted())
            self._forget(boxes)
            try:
                for box in await self.look(sorted(boxes)):
                    self._on_gone(box)
            except (*DriverError, asyncio.CancelledError):
                if self._is_ending():
                    raise
            except Exception:  # the line is down: nobody is judged by that
                continue

    def _is_ending(self) -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def _forget(self, wanted: set[str]) -> None:
        """Drop what was known of boxes that nobody has asked about for a while."""
        now = time.monotonic()
        for box in [box for box, at in self._looked.items() if box not in wanted and now - at > 2 * GRACE_SECONDS]:
            self._looked.pop(box, None)
            self._seen.pop(box, None)
