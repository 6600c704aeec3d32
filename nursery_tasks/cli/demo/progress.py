"""How far the demo is: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Protocol

from ..output import write_line


class Progress(Protocol):
    """Hears of each job that has ended."""

    def advance(self, what: str) -> None:
        """Count one."""
        ...


@contextmanager
def show_progress(totals: Mapping[str, int]) -> Generator[Progress, None, None]:
    """Show what is done of *totals* while the context is open."""
    if not sys.stdout.isatty():
        yield _LineProgress(totals)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns) as bars:
        tasks = {what: bars.add_task(f"  {what}", total=total) for what, total in totals.items()}

        class _Bars:
            def advance(self, what: str) -> None:
                bars.advance(tasks[what])

        yield _Bars()


class _LineProgress:
    """A line for each quarter of each kind."""

    def __init__(self, totals: Mapping[str, int]) -> None:
        self._totals = totals
        self._done = dict.fromkeys(totals, 0)

    def advance(self, what: str) -> None:
        self._done[what] += 1
        done, total = self._done[what], self._totals[what]
        if done * 4 // total > (done - 1) * 4 // total:
            write_line(f"  {what}: {done:,} of {total:,}")
