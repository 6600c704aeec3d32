"""Leasing jobs to workers, and prolonging the leases.

A claim is two statements without a transaction around them. The first marks up to so many jobs with a fresh token, all in
one step, so the write lock is not held while this thread waits for the GIL. The second reads what has the token: it is ours
by then, and nobody else changes what we read. A crash between the two is like one right after the claim. Each job's number
follows the claim's random bytes, so that no two deliveries have the same token: a token may own jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_bytes
from typing import Final

import apsw

from ...model.delivery import Delivery, LeaseState, Renewal
from .owning import TOKEN_BYTES
from .schema import CLAIMED, HELD, PARKED, PLACE, PLAIN, SCORE
from .statements import BatchStatement, PackedQuery, array, execute, fetch, fetch_value

IN_TIME: Final = "(expires IS NULL OR expires > ?2 OR attempts > 0 OR crashes > 0)"
_STARTABLE: Final = f"{PLAIN} AND {IN_TIME}"
_LOOK: Final = f"""
    SELECT iif(
        EXISTS (
            SELECT 1 FROM carray(?1) AS queues CROSS JOIN gate
            WHERE gate.queue = queues.value AND gate.opens = 0 AND queues.value NOT IN (SELECT queue FROM paused)
        ) OR EXISTS (SELECT 1 FROM gate WHERE opens > 0 AND opens <= ?2),
        2,
        EXISTS (
            SELECT 1 FROM carray(?1) AS queues CROSS JOIN job
            WHERE job.queue = queues.value AND {_STARTABLE} AND queues.value NOT IN (SELECT queue FROM paused)
        )
    ) + 4 * EXISTS (SELECT 1 FROM carray(?1) AS queues CROSS JOIN job WHERE job.queue = queues.value AND {PARKED})
"""
_MARK: Final = f"""
    UPDATE job SET state = {CLAIMED}, token = CAST(?3 || seq AS BLOB), worker = ?4, at = ?5, started = NULL, unresponsive = 0
    WHERE seq IN (SELECT seq FROM job WHERE queue = ?1 AND {_STARTABLE} AND ?1 NOT IN (SELECT queue FROM paused)
        ORDER BY priority DESC, {PLACE}, seq LIMIT ?6)
"""
_MARKED: Final = PackedQuery(
    (
        SCORE,
        "seq",
        "id",
        "queue",
        "task",
        "attempts",
        "crashes",
        "lapses",
        "expires",
        "due",
        "created",
        "(owner IS NOT NULL) + 2 * raw + 4 * once",
        "parked",
    ),
    "payload",
    f"FROM job WHERE {HELD} AND at = ?1 AND substr(token, 1, {TOKEN_BYTES}) = ?2",
)
_RENEW: Final = BatchStatement(
    "UPDATE job NOT INDEXED SET at = ?1 FROM",
    f"AS held WHERE seq = column1 AND token = column2 AND {HELD} AND cancel IS NULL",
    width=2,
    shared=1,
)
_RENEW_ONE: Final = f"UPDATE job SET at = ? WHERE seq = ? AND token = ? AND {HELD} RETURNING cancel"


def look(cursor: apsw.Cursor, queues: Sequence[str], now: float) -> int:
    """Say whether a claim from *queues* would find something. 0: no; 1: yes; 2: it has to look at gates, see `limiting`.

    4 more: a job of them is parked, see `parking`.
    """
    found: int = fetch_value(cursor, _LOOK, array(queues), now)
    return found


def claim_jobs(
    cursor: apsw.Cursor, now: float, queues: Sequence[str], limit: int, worker: str, lease_seconds: float
) -> list[Delivery]:
    """Lease up to *limit* ready jobs, queue by queue."""
    token, until = token_bytes(TOKEN_BYTES), now + lease_seconds
    order = {queue: place for place, queue in enumerate(dict.fromkeys(queues))}
    left = limit
    for queue in order:
        if left <= 0:
            break
        left -= mark(cursor, now, queue, token, worker, until, left)
    return read_marked(cursor, now, order, token, until) if left < limit else []


def mark(cursor: apsw.Cursor, now: float, queue: str, token: bytes, worker: str, until: float, limit: int) -> int:
    """Mark jobs without limits, the first in their queue; return how many."""
    return execute(cursor, _MARK, queue, now, token, worker, until, limit)


def read_marked(cursor: apsw.Cursor, now: float, order: dict[str, int], token: bytes, until: float) -> list[Delivery]:
    """Return what a claim has marked."""
    found = _MARKED.fetch(cursor, until, token)
    found.sort(key=lambda row: (order[row[3]], row[0], row[1]))
    return [
        Delivery(  # by position, for every job: by name it takes twice as long
            job_id,
            queue,
            task,
            payload,
            token + b"%d" % seq,
            attempts + 1,
            crashes,
            lapses,
            None if expires is None or attempts or crashes else expires - now,
            now - created if now > created else 0.0,
            flags & 1 > 0,
            now - due if now > due else 0.0,
            flags & 2 > 0,
            parked,
            seq,
            flags & 4 > 0,
        )
        for _, seq, job_id, queue, task, attempts, crashes, lapses, expires, due, created, flags, parked, payload in found
    ]


def renew_leases(cursor: apsw.Cursor, now: float, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
    """Prolong leases, in a transaction."""
    until = now + lease_seconds
    if _RENEW.run(cursor, [(delivery.address, delivery.token) for delivery in deliveries], until) == len(deliveries):
        return [_HELD] * len(deliveries)
    return [_renew_one(cursor, until, delivery) for delivery in deliveries]


def _renew_one(cursor: apsw.Cursor, until: float, delivery: Delivery) -> Renewal:
    found = fetch(cursor, _RENEW_ONE, until, delivery.address, delivery.token)
    if not found:
        return Renewal(LeaseState.LOST)
    reason = found[0][0]
    return _HELD if reason is None else Renewal(LeaseState.CANCEL, reason or None)


_HELD: Final = Renewal(LeaseState.HELD)
