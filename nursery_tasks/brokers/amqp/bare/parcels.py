"""A job as one message: what was submitted, and what became of it so far.

The body is a msgpack map with a version; fields that have their default are left out. What is not about the job is in AMQP's
own properties: `message_id` is the job's id, `priority` its priority, and `reply_to` the box of the program that submitted it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ....model.delivery import Submission
from ....model.options import MAX_CRASHES, RESULT_TTL_SECONDS
from ..foreign import to_job
from ..permits import JOB, Permit
from ..sending import Letter

PARCEL: Final = "nursery-tasks.parcel"  # the type of such a message
VERSION: Final = 1
HIGHEST_PRIORITY: Final = 255


class Parcel(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One job.

    Attributes:
        created_at, due_at: When it was submitted, and when it may first start; epoch seconds on the submitter's clock.
        expires_at: Until when it waits for its first attempt.
        owned: Whether somebody awaits it, who reads the box that its outcome goes to.
        attempts, crashes, lapses: As a delivery has them, without what marks say.
        later: Seconds that it has to wait yet although it has arrived: no delay is longer than the ladder.
    """

    id: str
    queue: str
    task: str
    payload: bytes
    created_at: float
    due_at: float
    v: int = VERSION
    priority: int = 0
    expires_at: float | None = None
    parent: str | None = None
    keep_seconds: float = RESULT_TTL_SECONDS
    max_crashes: int = MAX_CRASHES
    owned: bool = False
    tags: tuple[str, ...] = ()
    raw: bool = False
    attempts: int = 0
    crashes: int = 0
    lapses: int = 0
    later: float = 0.0


class Unreadable(ValueError):
    """A message that is no job; the text says why."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Parcel).decode


def to_parcel(job: Submission, created_at: float) -> Parcel:
    """Pack a submission."""
    due_at = created_at + job.delay_seconds if job.start_at is None else job.start_at
    due_at = max(created_at, due_at)
    return Parcel(
        id=job.id,
        queue=job.queue,
        task=job.task,
        payload=job.payload,
        created_at=created_at,
        due_at=due_at,
        priority=job.priority,
        expires_at=None if job.expires_seconds is None else due_at + job.expires_seconds,
        parent=job.parent,
        keep_seconds=job.keep_seconds,
        max_crashes=job.max_crashes,
        owned=job.owner is not None,
        tags=job.tags,
        raw=job.raw,
    )


def to_letter(parcel: Parcel, box: str | None, exchange: str, key: str) -> Letter:
    """Return the message; *box*: where its outcome goes."""
    properties: dict[str, Any] = {"message_type": PARCEL, "priority": min(parcel.priority, HIGHEST_PRIORITY)}
    if box is not None:
        properties["reply_to"] = box
    return Letter(exchange, key, _encode(parcel), parcel.id, properties)


def open_parcel(permit: Permit, now: float) -> Parcel:
    """Return the job that a message is, or that another program's message amounts to.

    Raises:
        Unreadable: It is neither.
    """
    kind = permit.properties.message_type
    if kind == JOB:
        raise Unreadable("its job is in a store, and this worker has none; App(..., store=...)")
    if kind != PARCEL:
        return to_parcel(to_job(permit.queue, permit.body, permit.properties), now)
    try:
        parcel = _decode(permit.body)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"it cannot be decoded: {error}") from None
    if parcel.v > VERSION:
        raise Unreadable(f"it has the version {parcel.v}, and this worker understands {VERSION}")
    return parcel


def times_delivered(permit: Permit) -> int:
    """Say how often somebody had a message before; 1 where the server only says that somebody had."""
    count = (permit.properties.headers or {}).get("x-delivery-count", 0)
    return max(count if isinstance(count, int) else 0, int(permit.redelivered))


def counts_deliveries(permit: Permit) -> bool:
    """Whether the server counts them: quorum queues do."""
    return "x-delivery-count" in (permit.properties.headers or {})


def box_of(permit: Permit) -> str | None:
    """Return where the outcome of a job goes; None: nobody waits, or another program, whom the job itself names."""
    return permit.properties.reply_to if is_parcel(permit) else None


def is_parcel(permit: Permit) -> bool:
    """Whether a message is in our own form."""
    return permit.properties.message_type == PARCEL
