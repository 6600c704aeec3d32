"""What other programs put in, as a job to store.

A foreign message is JSON or msgpack, and the fields that `model/foreign.py` knows are heeded; the queue may be left out, and
the one that it was put into wins. What cannot be read becomes a job, too, without a task's name: the worker that gets
it puts it aside with its bytes, where a person finds it. A raw body is not looked into at all, but for the head that
`model/raw.py` may have put before it.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

from ...errors import InvalidOptions
from ...model.codec import Undecodable, pack_outcome
from ...model.delivery import Submission
from ...model.foreign import Routing, read_foreign
from ...model.listing import ServerMessage
from ...model.options import DEFAULT_QUEUE, check_name, check_queue
from ...model.outcome import Outcome
from ...model.raw import ForeignHead, put_head, unwrap_raw, wrap_raw
from ...model.states import JobState

_UNREADABLE: Final = Routing(task="")


def to_submission(queue: bytes | None, body: bytes, *, raw: bool = False) -> Submission:
    """Read as much of a foreign message as a broker needs.

    Args:
        queue: Where it was put in; None or empty: it says so itself.
        raw: It is no message.
    """
    place = (queue or b"").decode("utf-8", "replace")
    try:
        check_queue("queue", place or DEFAULT_QUEUE)
    except InvalidOptions as error:
        return _dead(body, raw, f"undecodable: no worker serves such a queue: {error}")
    return from_foreign(_read_head(body) if raw else _read(body), place, body, raw=raw)


def from_foreign(routing: Routing, queue: str, body: bytes, *, raw: bool = False) -> Submission:
    """Return the job that a foreign message amounts to, which was put into *queue*."""
    return Submission(
        id=routing.id or uuid4().hex,
        queue=queue or routing.queue or DEFAULT_QUEUE,
        task=routing.task,
        payload=body,
        priority=routing.priority or 0,
        delay_seconds=routing.delay or 0.0,
        expires_seconds=routing.expires,
        key=routing.key,
        parent=routing.parent,
        tags=routing.tags or (),
        raw=raw,
    )


def _dead(body: bytes, raw: bool, reason: str) -> Submission:
    """Return a job that has ended before any worker saw it, for there is none that would."""
    outcome = pack_outcome(Outcome(state=JobState.DEAD, reason=reason))
    return Submission(uuid4().hex, DEFAULT_QUEUE, "", body, raw=raw, ended=JobState.DEAD, outcome=outcome)


def _read(body: bytes) -> Routing:
    try:
        return read_foreign(body)
    except Undecodable:
        return _UNREADABLE


def _read_head(body: bytes) -> Routing:
    """Read what was said beside a raw body, if anything."""
    head, _ = unwrap_raw(body)
    try:
        return Routing(task="", id=None if head.job is None else check_name("id", head.job))
    except InvalidOptions:
        return _UNREADABLE


def to_inbox(message: ServerMessage) -> tuple[str, bytes, bool]:
    """Return the id of a message's job, what to put into an inbox that takes nothing but bodies, and whether it is raw there.

    There is no content type; a correlation id is the id, where nothing else is.

    Raises:
        InvalidOptions: The correlation id cannot be a job's.
    """
    name = message.id or message.correlation_id or uuid4().hex
    check_name("id" if message.id else "correlation_id", name)
    body = put_head(message.body, ForeignHead(message.reply_to, name))
    if body is None:
        return name, wrap_raw(message.body, ForeignHead(message.reply_to, name, name)), True
    return id_of(body) or name, body, False


def id_of(body: bytes) -> str | None:
    """Return the id that a message gives its job; None: none, or it is no message that can be read."""
    return _read(body).id
