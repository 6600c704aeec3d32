"""Claims that name what is parked: for the length of the claim it stands among the ready jobs, in its place.

All in one transaction, so that nobody else sees it there: what the claim has not taken is parked again. So priorities, limits
and `expires` are heeded by what heeds them for all jobs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import apsw
import msgspec

from ...model.delivery import Delivery
from ..common.hints import Hints
from ..protocol import PARKED_LOOKS
from .database import Database
from .limiting import claim_in_order
from .schema import CLAIMED, PARKED, READY, SCHEDULED, STILL_PARKED, place_of
from .statements import array, execute, fetch, fetch_value, integers

_LINES: Final = "carray(?1) AS queues CROSS JOIN carray(?2) AS names"
_IS_ANY: Final = f"""
    SELECT EXISTS (
        SELECT 1 FROM {_LINES} CROSS JOIN job WHERE job.queue = queues.value AND job.parked = names.value AND {STILL_PARKED}
    )
"""
_FIND: Final = f"""
    SELECT seq FROM {_LINES} CROSS JOIN job
    WHERE queues.value NOT IN (SELECT queue FROM paused) AND seq IN (
        SELECT other.seq FROM job AS other
        WHERE other.queue = queues.value AND other.parked = names.value AND other.{PARKED} AND other.parked_until = other.at
        ORDER BY other.priority DESC, {place_of("other")}, other.seq LIMIT {PARKED_LOOKS}
    )
"""
_LIFT: Final = f"UPDATE job SET state = {READY} WHERE seq IN (SELECT value FROM carray(?)) AND {PARKED}"
_PARK_AGAIN: Final = f"UPDATE job SET state = {SCHEDULED} WHERE seq IN (SELECT value FROM carray(?)) AND state = {READY}"
_TAKEN: Final = f"""
    UPDATE job SET parked = NULL, due = min(due, ?2) WHERE seq IN (SELECT value FROM carray(?1)) AND state = {CLAIMED}
"""


class SqliteParking:
    """The calls of `Parking`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_parked(self, queues: Sequence[str], names: Collection[str]) -> bool:
        if not queues or not names:
            return False
        return self._database.read(lambda cursor: is_any_parked(cursor, queues, names))


def is_any_parked(cursor: apsw.Cursor, queues: Sequence[str], names: Collection[str]) -> bool:
    """Say whether a job of these queues is parked under one of *names*."""
    return bool(names) and bool(fetch_value(cursor, _IS_ANY, array(queues), array(list(names))))


def claim_with_parked(
    cursor: apsw.Cursor,
    now: float,
    queues: Sequence[str],
    limit: int,
    worker: str,
    lease_seconds: float,
    names: Collection[str],
) -> tuple[list[Delivery], Hints]:
    """Lease up to *limit* jobs that are ready or parked under one of *names*, in a transaction."""
    found = [seq for (seq,) in fetch(cursor, _FIND, array(queues), array(list(names)))]
    if not found:
        return claim_in_order(cursor, now, queues, limit, worker, lease_seconds)
    execute(cursor, _LIFT, integers(found))
    deliveries, hints = claim_in_order(cursor, now, queues, limit, worker, lease_seconds)
    execute(cursor, _PARK_AGAIN, integers(found))
    execute(cursor, _TAKEN, integers(found), now)
    lifted = set(found)
    return [msgspec.structs.replace(each, parked=None) if each.address in lifted else each for each in deliveries], hints
