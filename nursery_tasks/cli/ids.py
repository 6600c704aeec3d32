"""Job ids as people type them: whole, or a part that only one job has, as with git's commits.

Ids begin with the time, so the ends differ sooner than the beginnings; the worker's lines show the last eight digits.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from .. import App, JobInfo
from .trouble import Trouble

_WHOLE: Final = 32
_LEAST: Final = 6
_PAGE: Final = 2_000
_LOOKED_AT: Final = 200_000  # jobs; a part of an id is a convenience, not a search
_SHORT: Final = 8  # the end of an id: its beginning is the time, and alike in neighbours
_RUN: Final = re.compile(r".+@\d{4}-(\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)")  # of a schedule


def short_id(job_id: str) -> str:
    """Return the part of an id that lists and lines show: its end, of a run of a schedule all of its moment but the year."""
    run = _RUN.fullmatch(job_id)
    return run[1] if run else job_id[-_SHORT:]


async def find_ids(app: App, given: Sequence[str]) -> list[str]:
    """Complete ids of which only the beginning or the end was given; whole ones, and others' own, are taken as they are.

    Raises:
        Trouble: A part fits several jobs.
    """
    parts = [part for part in given if _LEAST <= len(part) < _WHOLE and await app.jobs.get(part) is None]
    found = await _search(app, parts) if parts else {}
    return [_only(part, found[part]) if found.get(part) else part for part in given]


async def _search(app: App, parts: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {part: [] for part in parts}
    async for info in each_job(app, _LOOKED_AT):
        for part in parts:
            if info.id.startswith(part) or info.id.endswith(part):
                found[part].append(info.id)
    return found


def _only(part: str, ids: list[str]) -> str:
    if len(ids) > 1:
        raise Trouble(f"{part!r} fits {len(ids)} jobs", f"such as {' and '.join(ids[:2])}", "give more of the id")
    return ids[0]


async def each_job(app: App, limit: int, **wanted: Any) -> AsyncIterator[JobInfo]:
    """Go through the jobs of `app.jobs.list(**wanted)` page by page, at most *limit*: there may be many."""
    after = wanted.pop("after", 0)
    while limit > 0:
        page = await app.jobs.list(**wanted, limit=min(limit, _PAGE), after=after)
        for info in page:
            yield info
        if not page:
            return
        after, limit = page[-1].cursor, limit - len(page)
