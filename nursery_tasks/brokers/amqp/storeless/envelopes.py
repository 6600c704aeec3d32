"""A job as one message: what was submitted, and what became of it so far.

The body is a msgpack map with a version; fields that have their default are left out. What is not about the job is in AMQP's
own properties: `message_id` is the job's id, `priority` its priority, and `reply_to` the reply queue of the program that
submitted it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgspec

from ....model.codec import unpack_outcome
from ....model.delivery import Submission
from ....model.options import MAX_CRASHES, RESULT_TTL_SECONDS
from ..deliveries import JOB, DeliveredMessage
from ..foreign import to_job, unreadable
from ..publishing import OutgoingMessage

ENVELOPE: Final = "nursery-tasks.parcel"  # the type of such a message
VERSION: Final = 1
HIGHEST_PRIORITY: Final = 255
TEXT_MOST: Final = 255  # bytes of a text in a property
HEADER_MOST: Final = 1_000  # characters of a text in a header


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One job.

    Attributes:
        created_at, due_at: When it was submitted, and when it may first start; epoch seconds on the submitter's clock.
        expires_at: Until when it waits for its first attempt.
        owned: Whether somebody awaits it, who reads the queue that its outcome goes to.
        attempts, crashes, lapses: As a delivery has them, without what crash markers say.
        later: Seconds that it has to wait yet although it has arrived: no delay is longer than the delay levels.
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
_decode = msgspec.msgpack.Decoder(Envelope).decode


def to_envelope(job: Submission, created_at: float) -> Envelope:
    """Pack a submission."""
    due_at = created_at + job.delay_seconds if job.start_at is None else job.start_at
    due_at = max(created_at, due_at)
    return Envelope(
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


def to_message(envelope: Envelope, reply_queue: str | None, exchange: str, key: str) -> OutgoingMessage:
    """Return the message; *reply_queue*: where its outcome goes."""
    priority = min(max(envelope.priority, 0), HIGHEST_PRIORITY)
    properties: dict[str, Any] = {"message_type": ENVELOPE, "priority": priority}
    if reply_queue is not None:
        properties["reply_to"] = reply_queue
    return OutgoingMessage(exchange, key, _encode(envelope), message_id_of(envelope.id), properties)


def to_dead_letter(
    message: DeliveredMessage, to: str, job_id: str, state: str, outcome: bytes = b"", reason: str = ""
) -> OutgoingMessage:
    """Return the message for the queue of dead letters *to*: the job's own, with what happened in its headers."""
    headers: dict[str, object] = {"nursery-tasks-state": str(state)}
    if outcome:
        ended = unpack_outcome(outcome)
        reason = ended.reason or ""
        headers["nursery-tasks-attempts"] = ended.attempt
        if ended.worker:
            headers["nursery-tasks-worker"] = ended.worker
        if ended.error is not None:
            reason = reason or f"{ended.error.type}: {ended.error.text}"
    headers["nursery-tasks-reason"] = reason[:HEADER_MOST]
    properties: dict[str, Any] = {"headers": headers}
    if message.properties.message_type:
        properties["message_type"] = message.properties.message_type
    return OutgoingMessage("", to, message.body, message_id_of(job_id), properties)


def message_id_of(job_id: str) -> str:
    """Return the property that stands for a job's id: the id itself, where AMQP has room for it."""
    body = job_id.encode()
    return job_id if len(body) <= TEXT_MOST else sha256(body).hexdigest()


def open_envelope(message: DeliveredMessage, now: float) -> Envelope:
    """Return the job that a message is, or that another program's message amounts to.

    Raises:
        Unreadable: It is neither.
    """
    kind = message.properties.message_type
    if kind == JOB:
        raise Unreadable("its job is in a store, and this worker has none; App(..., store=...)")
    problem = unreadable(message.properties)
    if problem is not None:
        raise Unreadable(problem)
    if kind != ENVELOPE:
        job = to_job(message.queue, message.body, message.properties)
        if job.key is not None:
            raise Unreadable(
                f"the field key={job.key!r}: expected none, since only a store knows all keys; App(..., store=...)"
            )
        return to_envelope(job, now)
    try:
        envelope = _decode(message.body)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"it cannot be decoded: {error}") from None
    if envelope.v > VERSION:
        raise Unreadable(f"it has the version {envelope.v}, and this worker understands {VERSION}")
    return envelope


def reply_queue_of(message: DeliveredMessage) -> str | None:
    """Return where the outcome of a job goes; None: nobody waits, or another program, whom the job itself names."""
    return message.properties.reply_to if is_envelope(message) else None


def is_envelope(message: DeliveredMessage) -> bool:
    """Whether a message is in our own form."""
    return message.properties.message_type == ENVELOPE
