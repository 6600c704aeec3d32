"""From the scripts' answers to the model's records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...errors import QueueFull
from ...model.delivery import Delivery, Receipt, Stored, Submission
from ...model.ended import Ended, cancelled, dead, expired
from ...model.listing import JobFilter, JobRecord, LimitRecord, LockRecord, QueueRecord, WorkerRecord
from ...model.reasons import pack_cancelled, pack_dead, pack_expired
from ...model.schedule import ScheduleRow
from ...model.states import JobState
from ..common.states import NUMBERS, to_state
from ..protocol import receipts_of
from .layout import decode_any, decode_description, encode

# attempts, crashes, lapses, expires or -1, due, created, owned, the name under which they were parked or False, their n
_Claimed = tuple[int, int, int, float, float, float, int, str | bool, list[int]]

# of a job that a script has ended: id, queue, task, state, attempts, worker or False, why it was cancelled or False, crashes,
# whether it is delivered at most once
_EndedRow = tuple[str, str, str, int, int, str | bool, str | bool, int, bool]

_OURS_ONCE = 2  # `OURS` in `constants.lua`: it is dead because it was delivered once

_decode_claimed = msgspec.msgpack.Decoder(tuple[float, list[_Claimed]]).decode
_decode_ended = msgspec.msgpack.Decoder(list[_EndedRow]).decode
_decode_worker = msgspec.json.Decoder(WorkerRecord).decode


def to_receipts(jobs: Sequence[Submission], answers: Sequence[Any]) -> list[Receipt]:
    """Read what `storing.lua` returns.

    Raises:
        QueueFull: Some of them found no room, see `refusal`.
    """
    return receipts_of([_to_receipt(job, answer) for job, answer in zip(jobs, answers, strict=True)])


def _to_receipt(job: Submission, answer: Any) -> Receipt | QueueFull:
    if answer == 1:
        return Receipt(job.id, True)
    return QueueFull(job.queue, job.max_length) if answer == 0 else Receipt(answer.decode(), False)


def to_seconds(said: float) -> float | None:
    """Read how far away something is; below 0: there is nothing."""
    return None if said < 0 else float(said)


def to_schedules(fields: Sequence[bytes]) -> list[ScheduleRow]:
    """Read the four fields of each schedule that `look.lua` and `schedules.lua` return."""
    places = range(0, len(fields), 4)
    return [to_schedule(fields[place].decode(), fields[place + 1 : place + 4]) for place in places]


def to_schedule(name: str, fields: Sequence[bytes]) -> ScheduleRow:
    """Read the version, the moment and the body of a schedule."""
    version, look_at, body = fields
    return ScheduleRow(name, int(version), float(look_at) if look_at else None, body)


def to_deliveries(answer: Sequence[bytes], random: bytes) -> list[Delivery]:
    """Read what `claim.lua` returns; *random* is the beginning of the tokens."""
    if not answer:
        return []
    now, rows = _decode_claimed(answer[0])
    deliveries: list[Delivery] = []
    place = 1
    for attempts, crashes, lapses, expires, due, created, owned, parked, numbers in rows:
        expires_in = None if expires < 0 else expires - now
        age = now - created if now > created else 0.0
        waited = now - due if now > due else 0.0
        for n in numbers:
            about = decode_description(answer[place])
            address = b"%014d" % n
            deliveries.append(
                Delivery(  # by position, for every job: by name it takes twice as long
                    about.id,
                    about.queue,
                    about.task,
                    answer[place + 1],
                    random + address,
                    attempts + 1,
                    crashes,
                    lapses,
                    expires_in,
                    age,
                    owned > 0,
                    waited,
                    about.raw,
                    parked or None,  # type: ignore[arg-type]  # never True
                    address,
                    about.once,
                )
            )
            place += 2
    return deliveries


def to_stored(row: Any, stored: bytes | None) -> Stored | None:
    """Read one row of `outcomes.lua`."""
    if not row:
        return None
    number, unresponsive, ours, crashes, attempts, worker, ended_at, cancel = row
    outcome, state = None, to_state(number)
    if number >= NUMBERS[JobState.SUCCEEDED]:
        outcome = _outcome(state, crashes, attempts, worker, ended_at, cancel, stored, ours) if ours else stored
    return Stored(state, outcome, unresponsive)


def to_ended(packed: bytes) -> list[Ended]:
    """Read which jobs a script has ended itself."""
    return [_to_ended(row) for row in _decode_ended(packed)]


def _to_ended(row: _EndedRow) -> Ended:
    job_id, queue, task, number, attempts, worker, reason, crashes, once = row
    state, name = to_state(number), None if isinstance(worker, bool) else worker
    if state is JobState.EXPIRED:
        return expired(job_id, queue, task)
    if state is JobState.DEAD:
        return dead(job_id, queue, task, attempts, name, crashes, once=once)
    return cancelled(job_id, queue, task, attempts, name, None if isinstance(reason, bool) else reason)


def to_record(fields: Sequence[bytes | None]) -> JobRecord:
    """Read the five fields of a job that `job.lua` and `jobs.lua` return."""
    raw, rest, progress, stored, payload = fields
    about = decode_description(raw or b"")
    n, number, attempts, crashes, created, due, started, ended_at, worker, *more = decode_any(rest or b"")
    owned, unresponsive, cancel, ours, waits_for, parked = more
    state = to_state(number)
    outcome = _outcome(state, crashes, attempts, worker, ended_at, cancel, stored, ours) if ours else stored
    return JobRecord(
        id=about.id,
        queue=about.queue,
        task=about.task,
        state=state,
        cursor=n,
        priority=about.priority,
        attempts=attempts,
        crashes=crashes,
        created_at=float(created),
        due_at=float(due),
        started_at=_moment(started),
        ended_at=_moment(ended_at),
        worker=None if worker is False else worker,
        key=about.key,
        parent=about.parent,
        tags=about.tags,
        owned=owned,
        unresponsive=unresponsive,
        cancel_reason=None if cancel is False else cancel,
        progress=progress,
        outcome=outcome,
        payload=payload or b"",
        raw=about.raw,
        waits_for=None if waits_for is False else waits_for,
        parked=parked or None,
    )


def to_wanted(wanted: JobFilter) -> bytes:
    """Write a filter for `jobs.lua`."""
    states = to_digits(wanted.states) or False
    words = (wanted.queue, wanted.task, wanted.parent, wanted.tag)
    return encode((states, *(False if word is None else word for word in words)))


def to_digits(states: frozenset[JobState]) -> str:
    """Write states as scripts read them."""
    return "".join(str(NUMBERS[state]) for state in states)


def to_queues(answer: Sequence[Sequence[bytes]]) -> list[QueueRecord]:
    """Read what `queues.lua` returns."""
    flat, paused = answer[0], {name.decode() for name in answer[1]}
    counts: dict[str, dict[JobState, int]] = {}
    for field, number in zip(flat[::2], flat[1::2], strict=True):
        counts.setdefault(field[1:].decode(), {})[to_state(field[0] - ord("0"))] = int(number)
    return [
        QueueRecord(name=name, counts=counts.get(name, {}), paused=name in paused) for name in sorted(counts.keys() | paused)
    ]


def to_workers(answer: Sequence[bytes]) -> list[WorkerRecord]:
    """Read what `workers.lua` returns."""
    records: list[WorkerRecord] = []
    for text in answer:
        seen_at, _, record = text.partition(b" ")
        records.append(msgspec.structs.replace(_decode_worker(record), seen_at=float(seen_at)))
    return sorted(records, key=lambda record: record.name)


def to_limits(answer: Sequence[bytes]) -> list[LimitRecord]:
    """Read what `limits.lua` returns."""
    records: list[LimitRecord] = []
    for name, packed in zip(answer[::2], answer[1::2], strict=True):
        running, waiting, opens_at = decode_any(packed)
        records.append(LimitRecord(name=name.decode(), running=running, waiting=waiting, opens_at=_moment(opens_at)))
    return records


def to_locks(answer: Sequence[bytes]) -> list[LockRecord]:
    """Read what `locks.lua` returns."""
    records: list[LockRecord] = []
    for name, packed in zip(answer[::2], answer[1::2], strict=True):
        token, until, standing = decode_any(packed)
        records.append(LockRecord(name=name.decode(), token=token, until=float(until), waiting=standing - (token > 0)))
    return sorted(records, key=lambda record: record.name)


def _outcome(
    state: JobState, crashes: int, attempts: int, worker: Any, ended_at: float, cancel: Any, failure: bytes | None, ours: Any
) -> bytes:
    """Make the outcome of a job that the broker has ended itself, as *ours* says."""
    name: str | None = None if worker is False else worker
    moment = float(ended_at)
    if state is JobState.EXPIRED:
        return pack_expired(moment)
    if state is JobState.DEAD:
        return pack_dead(crashes, attempts, name, moment, failure, once=ours == _OURS_ONCE)
    return pack_cancelled(cancel or None, attempts, name, moment)


def _moment(value: Any) -> float | None:
    return None if value is False else float(value)
