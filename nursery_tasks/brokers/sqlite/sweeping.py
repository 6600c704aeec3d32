"""What time makes necessary. Each kind is bounded by a limit, so that one call is short."""

from __future__ import annotations

from typing import Final

import apsw
import msgspec

from ...model.delivery import KEPT_SECONDS, Swept
from ...model.ended import cancelled, dead, expired
from ...model.options import DEAD_TTL_SECONDS
from ...model.reasons import pack_dead, pack_expired
from ..common.hints import Hints
from ..protocol import OWNED_GRACE_SECONDS
from .cancelling import tell_openings
from .limiting import open_due
from .locking import drop_all_lockers
from .outbox import HAS_OLD, drop_replies
from .owning import sweep_owned
from .pausing import IS_ANY_RESUMED, VERSION, unpark_resumed
from .schema import CLAIMED, DEAD, ENDED, EXPIRED, HELD, MAY_EXPIRE, NOT_ENDED, READY, SCHEDULED, STARTED, is_needed
from .settling import end_cancelled
from .shares import IS_DONE, forget_shares
from .statements import BatchStatement, Row, execute, fetch, fetch_value
from .windows import HAS_OLD as HAS_OLD_WINDOWS
from .windows import forget_windows

RATE_KEPT_SECONDS: Final = 60.0  # how long a rate that is as good as new stays, if nothing else makes a sweep write

_ANYTHING: Final = f"""
    SELECT EXISTS (SELECT 1 FROM job WHERE state = {SCHEDULED} AND at <= ?1)
        OR EXISTS (SELECT 1 FROM job WHERE {HELD} AND at <= ?1)
        OR EXISTS (SELECT 1 FROM owner WHERE until <= ?1)
        OR EXISTS (SELECT 1 FROM job WHERE {ENDED} AND at <= ?1)
        OR EXISTS (SELECT 1 FROM job WHERE {MAY_EXPIRE} AND expires <= ?1)
        OR {HAS_OLD}
        OR {HAS_OLD_WINDOWS}
        OR EXISTS (SELECT 1 FROM gate WHERE opens > 0 AND opens <= ?1)
        OR EXISTS (SELECT 1 FROM lock WHERE until <= ?1)
        OR EXISTS (SELECT 1 FROM fair CROSS JOIN share ON {IS_DONE})
        OR EXISTS (SELECT 1 FROM rate WHERE full_at <= ?1 - {RATE_KEPT_SECONDS})
        OR {IS_ANY_RESUMED}
"""
_FORGET_RATES: Final = "DELETE FROM rate WHERE full_at <= ?"
_NEXT: Final = f"""
    SELECT (SELECT min(at) FROM job WHERE state = {SCHEDULED}),
        (SELECT min(opens) FROM gate WHERE opens > 0),
        (SELECT min(at) FROM schedule WHERE at IS NOT NULL),
        {VERSION}
"""

_FIND_DUE: Final = f"SELECT seq, queue FROM job WHERE state = {SCHEDULED} AND at <= ? ORDER BY at, seq LIMIT ?"
_MAKE_READY: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET state = {READY}, at = NULL FROM", "AS due WHERE seq = column1", width=1
)

_FIND_EXPIRED: Final = f"SELECT seq, id, queue, task FROM job WHERE {MAY_EXPIRE} AND expires <= ? ORDER BY expires, seq LIMIT ?"
_EXPIRE: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET state = {EXPIRED}, outcome = ?1, ended = ?2, at = ?2 + keep FROM",
    "AS late WHERE seq = column1",
    width=1,
    shared=2,
)

_FIND_LOST: Final = f"""
    SELECT seq, id, queue, task, state, attempts, crashes, max_crashes, cancel, worker, outcome, once FROM job
    WHERE {HELD} AND at <= ?1 AND NOT EXISTS (
        SELECT 1 FROM job AS child WHERE child.owner = job.token AND child.owner IS NOT NULL AND child.{NOT_ENDED}
            AND (?1 < job.at + {OWNED_GRACE_SECONDS} OR child.cancel IS NULL)
    )
    ORDER BY at, seq LIMIT ?2
"""
_COUNT: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET lapses = lapses + 1, crashes = crashes + (state = {STARTED}) FROM",
    "AS lost WHERE seq = column1",
    width=1,
)
_TAKE_BACK: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET state = {READY}, at = NULL, due = ?1, token = NULL, parked = NULL FROM",
    "AS lost WHERE seq = column1",
    width=1,
    shared=1,
)
_BURY: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET state = {DEAD}, outcome = column2, token = NULL, ended = ?1, "
    f"at = ?1 + max(keep, {DEAD_TTL_SECONDS}) FROM",
    "AS lost WHERE seq = column1",
    width=2,
    shared=1,
)

_DROP: Final = f"DELETE FROM job WHERE seq IN (SELECT seq FROM job WHERE {ENDED} AND at <= ? ORDER BY at, seq LIMIT ?)"
# What an unfinished job may still ask for is spared, out of those that would be dropped.
_SPARE: Final = f"""
    UPDATE job SET at = ?1 + {KEPT_SECONDS} WHERE seq IN (
        SELECT seq FROM (SELECT seq, owner FROM job WHERE {ENDED} AND at <= ?1 ORDER BY at, seq LIMIT ?2) AS kept
        WHERE {is_needed("kept")}
    )
"""
_DROP_WORKERS: Final = "DELETE FROM worker WHERE until <= ?"


def is_anything_to_do(cursor: apsw.Cursor, now: float) -> bool:
    """Look, without a lock, whether time has moved anything on."""
    return bool(fetch_value(cursor, _ANYTHING, now))


def add_what_is_next(cursor: apsw.Cursor, now: float, swept: Swept) -> Swept:
    """Add to what a sweep did when the next thing of each kind is to be done."""
    *moments, pauses = fetch(cursor, _NEXT)[0]
    due, room, schedule = (None if moment is None else max(0.0, moment - now) for moment in moments)
    return msgspec.structs.replace(
        swept, next_due_seconds=due, next_room_seconds=room, next_schedule_seconds=schedule, pauses=pauses
    )


def sweep_jobs(cursor: apsw.Cursor, now: float, limit: int, *, trust_leases: bool = True) -> tuple[Swept, Hints]:
    """Do everything once, in a transaction.

    Args:
        trust_leases: False: leases that are over may only seem so; workers get the time to renew them.
    """
    hints = Hints()
    orphaned = sweep_owned(cursor, now, limit, hints) if trust_leases else 0
    due = _sweep_due(cursor, now, limit, hints)
    due += unpark_resumed(cursor, now, limit - due, hints)
    expired = _sweep_expired(cursor, now, limit, hints)
    returned, died = _sweep_leases(cursor, now, limit, hints) if trust_leases else (0, 0)
    execute(cursor, _SPARE, now, limit)
    dropped = execute(cursor, _DROP, now, limit)
    execute(cursor, _DROP_WORKERS, now)
    drop_replies(cursor, now)
    forget_windows(cursor, now)
    hints.add_all("work", open_due(cursor, now))
    tell_openings(cursor, hints)
    execute(cursor, _FORGET_RATES, now)
    forget_shares(cursor)
    if trust_leases:
        hints.add_all("lock", drop_all_lockers(cursor, now))
    swept = Swept(
        due=due,
        returned=returned,
        died=died,
        expired=expired,
        orphaned=orphaned,
        dropped=dropped,
        more=max(orphaned, due, expired, returned + died, dropped) >= limit,
    )
    return swept, hints


def _sweep_due(cursor: apsw.Cursor, now: float, limit: int, hints: Hints) -> int:
    found = fetch(cursor, _FIND_DUE, now, limit)
    _MAKE_READY.run(cursor, [(seq,) for seq, _ in found])
    hints.add_all("work", [queue for _, queue in found])
    return len(found)


def _sweep_expired(cursor: apsw.Cursor, now: float, limit: int, hints: Hints) -> int:
    found = fetch(cursor, _FIND_EXPIRED, now, limit)
    _EXPIRE.run(cursor, [(seq,) for seq, *_ in found], pack_expired(now), now)
    for _, job_id, queue, task in found:
        hints.end(expired(job_id, queue, task))
    return len(found)


def _sweep_leases(cursor: apsw.Cursor, now: float, limit: int, hints: Hints) -> tuple[int, int]:
    """Take jobs from workers whose leases are over. Only a started one can have been what killed its worker."""
    found = fetch(cursor, _FIND_LOST, now, limit)
    _COUNT.run(cursor, [(row[0],) for row in found])
    back: list[Row] = []
    buried: list[Row] = []
    for row in found:
        seq, job_id, queue, task, state, attempts, crashes, max_crashes, cancel, worker, failure, once = row
        crashes += state == STARTED
        if cancel is not None:
            end_cancelled(cursor, now, seq, attempts, cancel, worker)
            hints.end(cancelled(job_id, queue, task, attempts, worker, cancel))
        elif state == CLAIMED or (crashes < max_crashes and not once):
            back.append((seq,))
            hints.add("work", queue)
        else:
            buried.append((seq, pack_dead(crashes, attempts, worker, now, failure, once=bool(once))))
            hints.end(dead(job_id, queue, task, attempts, worker, crashes, once=bool(once)))
    _TAKE_BACK.run(cursor, back, now)
    _BURY.run(cursor, buried, now)
    return len(found) - len(buried), len(buried)
