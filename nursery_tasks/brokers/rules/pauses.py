"""What is paused, and what is parked for a pause that is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from msgspec.structs import replace

from ...model.pauses import PAUSED, PauseList, PauseRecord
from ..common.hints import Hints
from .job import Job
from .parked import Parked


class PauseTable:
    """All pauses.

    Attributes:
        version: Another number after each change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._records: dict[str, PauseRecord] = {}

    def put(self, pause: PauseRecord, now: float, hints: Hints) -> None:
        """Begin a pause, or change it."""
        self._records[pause.name] = replace(pause, paused_at=now, waiting=0)
        self._changed(pause.name, hints)

    def remove(self, name: str, hints: Hints) -> bool:
        """End a pause; False: there is none."""
        if self._records.pop(name, None) is None:
            return False
        self._changed(name, hints)
        return True

    def list_all(self, parked: Parked) -> PauseList:
        """List all, with how many jobs are parked for each."""
        waiting = Counter[str]()
        for _, name, line in parked.lines(PAUSED):
            waiting[name] += len(line)
        return PauseList(self.version, [replace(self._records[name], waiting=waiting[name]) for name in sorted(self._records)])

    def resumed(self, parked: Parked, limit: int) -> Iterator[Job]:
        """Return the first of the jobs that are parked for a pause that is over."""
        for _, name, line in parked.lines(PAUSED):
            if name not in self._records:
                for *_, job in line[: max(limit, 0)]:
                    limit -= 1
                    yield job

    def _changed(self, name: str, hints: Hints) -> None:
        self.version += 1
        hints.add("pause", name)
