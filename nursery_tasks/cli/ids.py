"""Job ids as people type them: whole, or a part that only one job has, as with git's commits.

Ids begin with the time, so the ends differ sooner than the beginnings; the worker's lines show the last eight digits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from .. import App
from ..model.listing import JobFilter, JobRecord
from .broker import ask
from .trouble import Trouble

_WHOLE: Final = 32
_LEAST: Final = 6
_PAGE: Final = 2_000
_LOOKED_AT: Final = 200_000  # jobs; a part of an id is a convenience, not a search


async def find_ids(app: App, given: Sequence[str]) -> list[str]:
    """Complete ids of which only the beginning or the end was given; whole ones, and others' own, are taken as they are.

    Raises:
        Trouble: A part fits several jobs.
    """
    parts = [
        part for part in given if _LEAST <= len(part) < _WHOLE and not await ask(app, app.connection.gateway.admin.job, part)
    ]
    found = await _search(app, parts) if parts else {}
    return [_only(part, found[part]) if found.get(part) else part for part in given]


async def _search(app: App, parts: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {part: [] for part in parts}
    async for record in each_job(app, JobFilter(), _LOOKED_AT):
        for part in parts:
            if record.id.startswith(part) or record.id.endswith(part):
                found[part].append(record.id)
    return found


def _only(part: str, ids: list[str]) -> str:
    if len(ids) > 1:
        raise Trouble(f"{part!r} fits {len(ids)} jobs", f"such as {' and '.join(ids[:2])}", "give more of the id")
    return ids[0]


async def each_job(
    app: App, wanted: JobFilter, limit: int, after: int = 0, *, newest_first: bool = False
) -> AsyncIterator[JobRecord]:
    """Go through the jobs in the order of submission, or in the reverse one, page by page, at most *limit*."""
    admin = app.connection.gateway.admin
    while limit > 0:
        page = await ask(app, admin.jobs, wanted, min(limit, _PAGE), after, newest_first)
        for record in page:
            yield record
        if not page:
            return
        after, limit = page[-1].cursor, limit - len(page)
