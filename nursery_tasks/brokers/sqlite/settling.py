"""What happened to deliveries.

Nearly always every token holds, no cancel is asked for and no job occurs twice; then there is one statement per kind of
settlement. Where the numbers of changed rows say otherwise, the transaction begins again and goes job by job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import apsw

from ...model.delivery import Finished, Progressed, Released, Retried, Settlement, Started, Unresponsive
from ...model.ended import cancelled, dead
from ...model.options import DEAD_TTL_SECONDS
from ...model.reasons import OWNER_ENDED, pack_cancelled, pack_dead
from ...model.states import ENDED as ENDED_STATES
from ..common.hints import Hints
from ..common.states import NUMBERS
from .cancelling import tell_openings
from .database import begin_again
from .outbox import put_replies
from .outgoing import put_outgoing
from .owning import cancel_owned, is_any_owner_a_job, is_anything_owned, let_jobs_go
from .schema import CANCELLED, CLAIMED, DEAD, FAILED, HELD, READY, SCHEDULED, STARTED
from .statements import BatchStatement, execute, fetch

_THE_JOB: Final = f"AS settled WHERE seq = column1 AND token = column2 AND {HELD}"
_KEEP: Final = f"max(keep, {DEAD_TTL_SECONDS})"  # `keep_seconds_after` of the model, for failed and dead jobs

_START: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET attempts = attempts + (state = {CLAIMED}), started = iif(state = {CLAIMED}, ?1, started), "
    f"state = {STARTED} FROM",
    _THE_JOB,
    width=2,
    shared=1,
)
_PROGRESS: Final = BatchStatement("UPDATE job NOT INDEXED SET progress = column3 FROM", _THE_JOB, width=3)
_SAY_UNRESPONSIVE: Final = BatchStatement("UPDATE job NOT INDEXED SET unresponsive = 1 FROM", _THE_JOB, width=2)
_FINISH: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET attempts = attempts + (state = {CLAIMED}), state = column3, outcome = column4, token = NULL, "
    f"ended = ?1, at = ?1 + iif(column3 IN ({FAILED}, {DEAD}), {_KEEP}, keep) FROM",
    _THE_JOB,
    width=4,
    shared=1,
)
_RETRY: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET attempts = attempts + (state = {CLAIMED}), state = column3, at = column4, due = column5, "
    "outcome = column6, token = NULL, parked = NULL FROM",
    f"{_THE_JOB} AND cancel IS NULL AND NOT once",
    width=6,
)
_RELEASE: Final = BatchStatement(
    f"UPDATE job NOT INDEXED SET attempts = attempts - (state = {STARTED}), state = column3, at = column4, due = column5, "
    "token = NULL, parked = column6, parked_until = column4 FROM",
    f"{_THE_JOB} AND cancel IS NULL AND NOT (once AND state = {STARTED})",
    width=6,
)
_ENDS_INSTEAD: Final = f"""
    SELECT id, state, attempts, crashes, cancel, worker, once, outcome FROM job
    WHERE seq = ? AND token = ? AND {HELD} AND (cancel IS NOT NULL OR once)
"""
_END_CANCELLED: Final = f"""
    UPDATE job SET state = {CANCELLED}, attempts = ?2, outcome = ?3, token = NULL, ended = ?4, at = ?4 + keep WHERE seq = ?1
"""
_BURY: Final = f"""
    UPDATE job SET state = {DEAD}, attempts = ?2, outcome = ?3, token = NULL, ended = ?4, at = ?4 + {_KEEP} WHERE seq = ?1
"""

_NOTES: Final = (Progressed, Unresponsive)  # of a delivery that stays held
_GIVES_BACK: Final = (Finished, Retried, Released)


def check_settlements(settlements: Sequence[Settlement]) -> None:
    """Refuse what no broker can store, before anything is changed.

    Raises:
        ValueError: A job is said to end in a state that is no end.
    """
    for settlement in settlements:
        if isinstance(settlement, Finished) and settlement.state not in ENDED_STATES:
            raise ValueError(f"{settlement.delivery.id}: no job ends in the state {settlement.state}")


def needs_disk(settlements: Sequence[Settlement]) -> bool:
    """Say whether any of them must survive a power failure.

    Marks and progress need not: the job is still leased then, and runs again. Except for a mark that a handler waits for: that
    of a job whose lease ran out before, which may take the machine down, or of one that is delivered at most once.
    """
    return any(
        settlement.promised if isinstance(settlement, Started) else not isinstance(settlement, _NOTES)
        for settlement in settlements
    )


def settle_jobs(cursor: apsw.Cursor, now: float, settlements: Sequence[Settlement]) -> tuple[list[bool], Hints]:
    """Record *settlements*, in a transaction that has changed nothing so far."""
    hints = Hints()
    if _settle_by_kind(cursor, now, settlements, hints):
        answers = [True] * len(settlements)
    else:
        begin_again(cursor)
        hints = Hints()
        answers = [_settle_one(cursor, now, settlement, hints) for settlement in settlements]
    if is_anything_owned(cursor):
        settled = zip(settlements, answers, strict=True)
        owners = [item.delivery.token for item, done in settled if done and isinstance(item, _GIVES_BACK)]
        cancel_owned(cursor, now, owners, OWNER_ENDED, hints)
    if is_any_owner_a_job(cursor):
        settled = zip(settlements, answers, strict=True)
        let_jobs_go(cursor, now, [item.delivery.id for item, done in settled if done and isinstance(item, Finished)], hints)
    tell_openings(cursor, hints)
    return answers, hints


def _settle_by_kind(cursor: apsw.Cursor, now: float, settlements: Sequence[Settlement], hints: Hints) -> bool:
    """Write all. False: some did not fit, and what was written must be undone."""
    kinds: dict[type[Settlement], list[Settlement]] = {}
    for settlement in settlements:
        kinds.setdefault(type(settlement), []).append(settlement)
    if len(kinds) > 1 and len({settlement.delivery.address for settlement in settlements}) < len(settlements):
        return False  # several for one job: their order counts
    return all(_WRITERS[kind](cursor, now, group, hints) for kind, group in kinds.items())


def _settle_one(cursor: apsw.Cursor, now: float, settlement: Settlement, hints: Hints) -> bool:
    if _WRITERS[type(settlement)](cursor, now, [settlement], hints):
        return True
    if not isinstance(settlement, Retried | Released):
        return False
    delivery = settlement.delivery
    found = fetch(cursor, _ENDS_INSTEAD, delivery.address, delivery.token)
    if not found:
        return False
    job_id, state, attempts, crashes, reason, worker, once, failure = found[0]
    if isinstance(settlement, Retried):
        attempts += state == CLAIMED
        failure = settlement.failure
    elif not once:
        attempts -= state == STARTED
    if reason is not None:
        end_cancelled(cursor, now, delivery.address, attempts, reason, worker)
        hints.end(cancelled(job_id, delivery.queue, delivery.task, attempts, worker, reason))
    else:
        outcome = pack_dead(crashes, attempts, worker, now, failure, once=True)
        execute(cursor, _BURY, delivery.address, attempts, outcome, now)
        hints.end(dead(job_id, delivery.queue, delivery.task, attempts, worker, crashes, once=True))
    return True


def end_cancelled(cursor: apsw.Cursor, now: float, seq: int, attempts: int, reason: str, worker: str | None) -> None:
    """End a job that somebody asked to cancel while a worker held it."""
    execute(cursor, _END_CANCELLED, seq, attempts, pack_cancelled(reason or None, attempts, worker, now), now)


def _start(cursor: apsw.Cursor, now: float, group: Sequence[Started], hints: Hints) -> bool:
    rows = [(item.delivery.address, item.delivery.token) for item in group]
    hints.add_all("change", [item.delivery.id for item in group])
    return _START.run(cursor, rows, now) == len(rows)


def _progress(cursor: apsw.Cursor, now: float, group: Sequence[Progressed], hints: Hints) -> bool:
    rows = [(item.delivery.address, item.delivery.token, item.progress) for item in group]
    hints.add_all("change", [item.delivery.id for item in group])
    return _PROGRESS.run(cursor, rows) == len(rows)


def _say_unresponsive(cursor: apsw.Cursor, now: float, group: Sequence[Unresponsive], hints: Hints) -> bool:
    rows = [(item.delivery.address, item.delivery.token) for item in group]
    fitted = _SAY_UNRESPONSIVE.run(cursor, rows) == len(rows)
    if fitted:
        hints.add_all("outcome", [item.delivery.id for item in group])
    return fitted


def _finish(cursor: apsw.Cursor, now: float, group: Sequence[Finished], hints: Hints) -> bool:
    rows = [(item.delivery.address, item.delivery.token, NUMBERS[item.state], item.outcome) for item in group]
    fitted = _FINISH.run(cursor, rows, now) == len(rows)
    if fitted:
        put_replies(cursor, now, [item.reply for item in group if item.reply is not None])
        outgoing = [each for item in group for each in item.outgoing]
        if outgoing:
            put_outgoing(cursor, now, outgoing, hints)
        hints.add_all("outcome", [item.delivery.id for item in group])
    return fitted


def _retry(cursor: apsw.Cursor, now: float, group: Sequence[Retried], hints: Hints) -> bool:
    rows = [(item.delivery.address, item.delivery.token, *_when(now, item.delay_seconds), item.failure) for item in group]
    fitted = _RETRY.run(cursor, rows) == len(rows)
    if fitted:
        _tell_return(group, hints)
    return fitted


def _release(cursor: apsw.Cursor, now: float, group: Sequence[Released], hints: Hints) -> bool:
    rows = [(item.delivery.address, item.delivery.token, *_when(now, item.delay_seconds), _park(item)) for item in group]
    fitted = _RELEASE.run(cursor, rows) == len(rows)
    if fitted:
        _tell_return(group, hints)
    return fitted


_WRITERS: Final[dict[type[Settlement], Callable[[apsw.Cursor, float, Any, Hints], bool]]] = {
    Started: _start,
    Progressed: _progress,
    Unresponsive: _say_unresponsive,
    Finished: _finish,
    Retried: _retry,
    Released: _release,
}


def _park(item: Released) -> str | None:
    return item.park if item.delay_seconds > 0 else None


def _when(now: float, delay_seconds: float) -> tuple[int, float | None, float]:
    """Return the state, the timer and the due moment of a job that comes back."""
    due = now + max(0.0, delay_seconds)
    return (SCHEDULED, due, due) if due > now else (READY, None, due)


def _tell_return(group: Sequence[Retried] | Sequence[Released], hints: Hints) -> None:
    for item in group:
        hints.add("due" if item.delay_seconds > 0 else "work", item.delivery.queue)
        hints.add("change", item.delivery.id)
        if isinstance(item, Released) and _park(item) is not None:  # a worker that knows it may be idle
            hints.add("work", item.delivery.queue)
