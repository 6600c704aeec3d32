"""Owners: leases of their own, or the deliveries of other jobs; and the end of what belongs to them.

Most jobs belong to nobody. What settles and submits looks first, in an index that is empty then, or at the jobs themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from ...model.delivery import JOB_OWNER_SECONDS, Submission, job_owner
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ..common.hints import Hints
from .cancelling import cancel_jobs
from .schema import HELD, NOT_ENDED, OWNED
from .statements import BatchStatement, array, execute, fetch, fetch_value, integers

TOKEN_BYTES: Final = 16  # of a claim; the digits after them are the job's `seq`
_MAX_DIGITS: Final = 18

_ANY_JOB: Final = "SELECT EXISTS (SELECT 1 FROM owner WHERE id >= x'6a6f623a' AND id < x'6a6f623b')"
_ANYTHING: Final = f"SELECT EXISTS (SELECT 1 FROM job WHERE {OWNED})"
_ORPHAN: Final = f"job.owner IS NOT NULL AND job.{NOT_ENDED} AND job.cancel IS NULL"
_FIND: Final = f"SELECT id FROM carray(?) AS owners CROSS JOIN job WHERE job.owner = owners.value AND {_ORPHAN} ORDER BY seq"
_FIND_OF_GONE: Final = f"""
    SELECT job.id FROM owner CROSS JOIN job WHERE owner.until <= ?1 AND job.owner = owner.id AND {_ORPHAN}
    ORDER BY owner.until, owner.id, job.seq LIMIT ?2
"""
_FIND_OF_LOST: Final = f"""
    SELECT job.id FROM job AS lost CROSS JOIN job WHERE lost.{HELD} AND lost.at <= ?1 AND job.owner = lost.token AND {_ORPHAN}
    ORDER BY lost.at, lost.seq, job.seq LIMIT ?2
"""
_HOLDERS: Final = f"SELECT token FROM job NOT INDEXED WHERE seq IN (SELECT value FROM carray(?)) AND {HELD}"

_GONE: Final = "SELECT id FROM owner WHERE id IN (SELECT value FROM carray(?)) AND until = 0"
_MAKE: Final = BatchStatement(
    "INSERT INTO owner (id, until) SELECT * FROM",
    "WHERE column1 IS NOT NULL ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
    width=2,
)
_PROLONG: Final = "UPDATE owner SET until = ?2 WHERE id = ?1 AND until > 0"
_LET_GO: Final = "DELETE FROM owner WHERE id = ? AND until > 0"
_LET_GO_ALL: Final = "DELETE FROM owner WHERE id IN (SELECT value FROM carray(?)) AND until > 0 RETURNING id"
_SAY_GONE: Final = "UPDATE owner SET until = 0 WHERE until <= ?"
_GO_ON: Final = f"""
    UPDATE owner SET until = ?1 + {JOB_OWNER_SECONDS} WHERE until > 0 AND until <= ?1 AND id >= x'6a6f623a' AND id < x'6a6f623b'
        AND EXISTS (SELECT 1 FROM job WHERE job.id = CAST(substr(owner.id, 5) AS TEXT) AND job.{NOT_ENDED})
"""
DETACH: Final = "UPDATE job SET owner = NULL WHERE id = ?"
_DROP_GONE: Final = "DELETE FROM owner WHERE until <= ?"


def is_anything_owned(cursor: apsw.Cursor) -> bool:
    """Look whether any job that has not ended has an owner."""
    return bool(fetch_value(cursor, _ANYTHING))


def is_any_owner_a_job(cursor: apsw.Cursor) -> bool:
    """Look whether any job owns others over all its attempts."""
    return bool(fetch_value(cursor, _ANY_JOB))


def cancel_owned(cursor: apsw.Cursor, now: float, owners: Sequence[bytes], reason: str, hints: Hints) -> None:
    """Cancel what belongs to *owners*, except for jobs that are being cancelled, in a transaction."""
    if owners:
        _cancel(cursor, now, [job_id for (job_id,) in fetch(cursor, _FIND, array(owners))], reason, hints)


def let_jobs_go(cursor: apsw.Cursor, now: float, ids: Sequence[str], hints: Hints) -> None:
    """Cancel what belongs to jobs that have ended, in a transaction, and let their leases go."""
    owners = [job_owner(job_id) for job_id in ids]
    held = [owner for (owner,) in fetch(cursor, _LET_GO_ALL, array(owners))] if owners else []
    cancel_owned(cursor, now, held, OWNER_ENDED, hints)


def welcome_owners(cursor: apsw.Cursor, now: float, jobs: Sequence[Submission], hints: Hints) -> set[bytes]:
    """Make or prolong the leases that new jobs come with, in a transaction; return the owners that are no more."""
    leases: dict[bytes, float] = {}
    tokens: set[bytes] = set()
    for job in jobs:
        if job.owner is not None:
            if job.owner_seconds > 0:
                leases[job.owner] = max(leases.get(job.owner, 0.0), now + job.owner_seconds)
            else:
                tokens.add(job.owner)
    if leases:
        gone = fetch(cursor, _GONE, array(list(leases)))  # whoever owned what is left was told that it is cancelled
        cancel_owned(cursor, now, [owner for (owner,) in gone], OWNER_GONE, hints)
        _MAKE.run(cursor, list(leases.items()))
    return tokens - _holders(cursor, tokens)


def hold_leases(cursor: apsw.Cursor, now: float, owners: Sequence[bytes], lease_seconds: float) -> tuple[list[bool], Hints]:
    """Prolong leases or let them go, in a transaction."""
    hints = Hints()
    if lease_seconds > 0:
        return [execute(cursor, _PROLONG, owner, now + lease_seconds) > 0 for owner in owners], hints
    answers = [execute(cursor, _LET_GO, owner) > 0 for owner in owners]
    cancel_owned(cursor, now, [owner for owner, held in zip(owners, answers, strict=True) if held], OWNER_GONE, hints)
    return answers, hints


def sweep_owned(cursor: apsw.Cursor, now: float, limit: int, hints: Hints) -> int:
    """Cancel what belongs to owners whose lease is over, and to deliveries whose lease is; return how many jobs."""
    execute(cursor, _GO_ON, now)  # owners that are jobs, and have not ended
    found = [job_id for (job_id,) in fetch(cursor, _FIND_OF_GONE, now, limit)]
    _cancel(cursor, now, found, OWNER_GONE, hints)
    execute(cursor, _DROP_GONE if len(found) < limit else _SAY_GONE, now)
    lost = [job_id for (job_id,) in fetch(cursor, _FIND_OF_LOST, now, limit - len(found))]
    _cancel(cursor, now, lost, OWNER_ENDED, hints)
    return len(found) + len(lost)


def _cancel(cursor: apsw.Cursor, now: float, ids: Sequence[str], reason: str, hints: Hints) -> None:
    if ids:
        cancel_jobs(cursor, now, ids, reason, hints)


def _holders(cursor: apsw.Cursor, tokens: set[bytes]) -> set[bytes]:
    """Return those of *tokens* that hold a job; each says which one that is."""
    numbers = [int(digits) for token in tokens if (digits := token[TOKEN_BYTES:]).isdigit() and len(digits) <= _MAX_DIGITS]
    return {token for (token,) in fetch(cursor, _HOLDERS, integers(numbers))} if numbers else set()
