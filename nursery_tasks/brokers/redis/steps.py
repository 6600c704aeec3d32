"""The steps of jobs: what each asks the server and how its answer is read, as plain functions without a link."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import partial
from secrets import token_bytes
from typing import Any, Final

from ...model.delivery import (
    CancelAnswer,
    Delivery,
    Finished,
    LeaseState,
    Progressed,
    Receipt,
    Released,
    Renewal,
    Retried,
    Settlement,
    Started,
    Stored,
    Submission,
    Swept,
    Unresponsive,
)
from ...model.states import ENDED
from ..common.states import NUMBERS
from .layout import TOKEN_BYTES, decode_any, encode, pack_jobs
from .parking import RedisParking
from .records import to_deliveries, to_receipts, to_seconds, to_stored
from .running import Scripts, Step

LOOK_UP: Final = 2_000  # ids in one look-up, which changes nothing and may be several
_CANCELS: Final = {
    -1: CancelAnswer.UNKNOWN,
    0: CancelAnswer.FINISHED,
    1: CancelAnswer.CANCELLED,
    2: CancelAnswer.REQUESTED,
}
_HELD: Final = Renewal(LeaseState.HELD)
_LOST: Final = Renewal(LeaseState.LOST)
_EMPTY: Final = encode({})
_UNANSWERED: Final = 2  # stored, but not its reply
_log = logging.getLogger("nursery_tasks.worker")


class JobSteps:
    """Makes the steps of `Broker`'s calls. None of them is about nothing: whoever has no jobs has no step."""

    def __init__(self, scripts: Scripts, parking: RedisParking) -> None:
        self._step = scripts.step
        self._pack = parking.pack

    def submit(self, jobs: Sequence[Submission]) -> Step[list[Receipt]]:
        return self._step("submit", partial(to_receipts, jobs), *pack_jobs(jobs))

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> Step[list[Delivery]]:
        random = token_bytes(TOKEN_BYTES)
        read = partial(to_deliveries, random=random)
        return self._step("claim", read, limit, worker, lease_seconds, random, self._pack(names), *queues)

    def settle(self, settlements: Sequence[Settlement]) -> Step[list[bool]]:
        kinds: list[str] = []
        delays: dict[int, float] = {}
        values: list[bytes] = []
        sent: list[Any] = []
        for place, item in enumerate(settlements, 1):
            kind, body, delay = _say(item)
            kinds.append(kind)
            values.append(token_of(item.delivery))
            values.append(body)
            if delay:
                delays[place] = delay
            if isinstance(item, Finished) and item.reply is not None:
                sent += (place, item.reply.to, item.reply.body)
            if isinstance(item, Finished) and item.outgoing:
                sent += [part for each in item.outgoing for part in (-place, each.destination, each.body)]
        packed = encode(delays) if delays else _EMPTY
        return self._step("settle", partial(_to_settled, settlements), "".join(kinds), packed, *values, *sent)

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> Step[list[Renewal]]:
        return self._step("renew", _to_renewals, lease_seconds, *[token_of(delivery) for delivery in deliveries])

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> Step[list[CancelAnswer]]:
        return self._step("cancel", _to_cancels, reason or "", 0 if owner is None else 1, owner or b"", *ids)

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> Step[list[bool]]:
        return self._step("hold", to_flags, lease_seconds, *owners)

    def outcomes(self, ids: Sequence[str]) -> Step[list[Stored | None]]:
        """Look up to `LOOK_UP` jobs up."""
        return self._step("outcomes", _to_found, *ids)

    def sweep(self, limit: int) -> Step[Swept]:
        return self._step("sweep", partial(_to_swept, limit), limit)


def to_flags(answers: Sequence[Any]) -> list[bool]:
    """Read the answers of scripts that say for each item whether it was done: 1, or something else."""
    return [answer == 1 for answer in answers]


def token_of(delivery: Delivery) -> bytes:
    """Return the token, with which scripts find the job; one that is not this job's leads nowhere."""
    address = delivery.address
    return delivery.token if type(address) is bytes and delivery.token.endswith(address) else b""


def _say(item: Settlement) -> tuple[str, bytes, float]:
    """Return what `settle.lua` wants to know: the kind, a body, a delay.

    Raises:
        ValueError: A job is said to end in a state that is no end.
    """
    if isinstance(item, Finished):
        if item.state not in ENDED:
            raise ValueError(f"{item.delivery.id}: no job ends in the state {item.state}")
        return str(NUMBERS[item.state]), item.outcome, 0.0
    if isinstance(item, Started):
        return "S", b"", 0.0
    if isinstance(item, Progressed):
        return "P", item.progress, 0.0
    if isinstance(item, Unresponsive):
        return "U", b"", 0.0
    if isinstance(item, Retried):
        return ("r", b"", item.delay_seconds) if item.failure is None else ("R", item.failure, item.delay_seconds)
    if isinstance(item, Released):
        return "L", b"" if item.park is None else item.park.encode(), item.delay_seconds
    raise TypeError(f"{type(item).__name__} is no settlement")


def _to_settled(settlements: Sequence[Settlement], answers: Sequence[Any]) -> list[bool]:
    for item, answer in zip(settlements, answers, strict=True):
        if answer == _UNANSWERED and isinstance(item, Finished) and item.reply is not None:
            _log.warning("no answer is put into %r: that key is no list", item.reply.to)
    return [answer >= 1 for answer in answers]


def _to_renewals(answers: Sequence[Any]) -> list[Renewal]:
    return [_to_renewal(answer) for answer in answers]


def _to_renewal(answer: Any) -> Renewal:
    if answer == 1:
        return _HELD
    return _LOST if answer == 0 else Renewal(LeaseState.CANCEL, answer.decode() or None)


def _to_cancels(answers: Sequence[Any]) -> list[CancelAnswer]:
    return [_CANCELS[answer] for answer in answers]


def _to_found(answer: Sequence[Any]) -> list[Stored | None]:
    rows, *outcomes = answer
    return [to_stored(row, outcome) for row, outcome in zip(decode_any(rows), outcomes, strict=True)]


def _to_swept(limit: int, answer: bytes) -> Swept:
    *counts, next_due, next_room, next_look, pauses = decode_any(answer)
    due, returned, died, expired, orphaned, dropped = counts
    return Swept(
        due=due,
        returned=returned,
        died=died,
        expired=expired,
        orphaned=orphaned,
        dropped=dropped,
        more=max(orphaned, due, expired, returned + died, dropped) >= limit,
        next_due_seconds=to_seconds(next_due),
        next_room_seconds=to_seconds(next_room),
        next_schedule_seconds=to_seconds(next_look),
        pauses=pauses,
    )
