"""Ranks in fair queues: see `brokers/rules/shares.py`. A claim moves the virtual time by a trigger (`schema.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from ...model.delivery import Submission
from ..protocol import SHARE_STEP
from .statements import BatchStatement, execute, fetch_value

_TIME: Final = "SELECT at FROM fair WHERE queue = ? AND priority = ?"
_FINISH: Final = "SELECT finish FROM share WHERE queue = ? AND priority = ? AND name = ?"
_STORE: Final = BatchStatement(
    "INSERT INTO share (queue, priority, name, finish) SELECT * FROM",
    "WHERE column1 IS NOT NULL ON CONFLICT DO UPDATE SET finish = excluded.finish",
    width=4,
)
IS_DONE: Final = "share.queue = fair.queue AND share.priority = fair.priority AND share.finish <= fair.at"
_FORGET: Final = f"""
    DELETE FROM share WHERE (queue, priority, name) IN (
        SELECT share.queue, share.priority, share.name FROM fair CROSS JOIN share ON {IS_DONE} LIMIT 10000
    )
"""


class Shares:
    """The ranks that one transaction gives."""

    def __init__(self, cursor: apsw.Cursor) -> None:
        self._cursor = cursor
        self._times: dict[tuple[str, int], float] = {}
        self._finish: dict[tuple[str, int, str], float] = {}
        self._taken: dict[tuple[str, int, str], float] = {}

    def next_of(self, job: Submission) -> int | None:
        """Return the rank of a job if it is stored next; None: it has no share."""
        return None if job.share is None else int(self._start(job, job.share))

    def take(self, job: Submission) -> int | None:
        """Return the rank of a job that is stored now."""
        if job.share is None:
            return None
        start, key = self._start(job, job.share), (job.queue, job.priority, job.share)
        self._finish[key] = self._taken[key] = start + SHARE_STEP / job.weight
        return int(start)

    def take_all(self, jobs: Sequence[Submission]) -> list[int | None]:
        return [self.take(job) for job in jobs]

    def store(self) -> None:
        """Store what was taken."""
        _STORE.run(self._cursor, [(*key, finish) for key, finish in self._taken.items()])
        self._taken.clear()

    def _start(self, job: Submission, share: str) -> float:
        line, key = (job.queue, job.priority), (job.queue, job.priority, share)
        if line not in self._times:
            self._times[line] = fetch_value(self._cursor, _TIME, *line) or 0.0
        if key not in self._finish:
            self._finish[key] = fetch_value(self._cursor, _FINISH, *key) or 0.0
        return max(self._times[line], self._finish[key])


def forget_shares(cursor: apsw.Cursor) -> None:
    """Forget shares that are as good as new."""
    execute(cursor, _FORGET)
