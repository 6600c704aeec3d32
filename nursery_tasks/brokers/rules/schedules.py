"""Schedules: rows by name, each with a version, and by when somebody has to look at them."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import count

from ...model.schedule import ScheduleChange, ScheduleLook, ScheduleRow
from ..common.hints import Hints


class ScheduleTable:
    """All schedules."""

    def __init__(self) -> None:
        self._rows: dict[str, ScheduleRow] = {}
        self._looks: list[tuple[float, str]] = []  # (when, name) of those that are looked at, in this order
        self._versions = count(1)  # one counter for all names: what was removed and made again has no old version

    def find(self, names: Sequence[str]) -> list[ScheduleRow | None]:
        return [self._rows.get(name) for name in names]

    def list_after(self, name: str, limit: int) -> list[ScheduleRow]:
        """Return at most *limit* rows with a greater name."""
        names = sorted(other for other in self._rows if other > name)
        return [self._rows[other] for other in names[: max(limit, 0)]]

    def change(self, change: ScheduleChange, hints: Hints) -> bool:
        """Change or remove a row; False: it is not what the change was made from."""
        row = self._rows.get(change.name)
        if change.version != (0 if row is None else row.version):
            return False
        if row is not None:
            self._remove(row)
        if change.body is not None:
            self._add(ScheduleRow(change.name, next(self._versions), change.look_at, change.body))
        hints.add("schedule", change.name)
        return True

    def look(self, limit: int, now: float) -> ScheduleLook:
        """Return those that somebody has to look at by now."""
        due = self._looks[: bisect_right(self._looks, now, key=_moment)]
        rows = [self._rows[name] for _, name in due[: max(limit, 0)]]
        after = self._looks[len(rows)][0] if len(rows) < len(self._looks) else None
        return ScheduleLook(now, rows, None if after is None else max(0.0, after - now))

    def next_at(self, after: float = -math.inf) -> float:
        """Return when somebody has to look at the next one, of those later than *after*; infinite: never."""
        index = bisect_right(self._looks, after, key=_moment)
        return self._looks[index][0] if index < len(self._looks) else math.inf

    def _add(self, row: ScheduleRow) -> None:
        self._rows[row.name] = row
        if row.look_at is not None:
            insort(self._looks, (row.look_at, row.name))

    def _remove(self, row: ScheduleRow) -> None:
        del self._rows[row.name]
        if row.look_at is not None:
            del self._looks[bisect_left(self._looks, (row.look_at, row.name))]


def _moment(look: tuple[float, str]) -> float:
    return look[0]
