"""Messages of other programs: from a message to a job, and from a job's answer to a message.

A JSON or msgpack message with a `task` is read as in any other inbox (see `brokers/common/foreign.py`), also where a field of
it makes it a dead letter; anything else is a raw body for the task that takes what is raw on the queue. AMQP's own
properties are heeded where the body says nothing: `message_id` is the job's id (its hash, where it is no name), `priority` its
priority, `reply_to` where its answer goes, and `correlation_id` comes with that.

The name to which an answer goes carries the correlation id along, as `amq.gen-x?correlation_id=7`, because the store, and the
worker that gets the job, may be anywhere.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import uuid4

import msgspec
from pamqp import commands

from ...errors import InvalidOptions
from ...model.codec import Undecodable, pack_outcome
from ...model.delivery import Reply, Submission
from ...model.foreign import BadField, Routing, read_foreign
from ...model.options import MAX_PRIORITY, check_name
from ...model.outcome import Outcome
from ...model.raw import ForeignHead, put_head, wrap_raw
from ...model.states import JobState
from ..common.foreign import from_foreign
from .frames import REASON, UNREADABLE
from .publishing import OutgoingMessage

_CORRELATION: Final = "?correlation_id="
ANSWER: Final = "nursery-tasks.answer"


def to_job(queue: str, body: bytes, properties: commands.Basic.Properties) -> Submission:
    """Return the job that a message of another program amounts to."""
    problem = unreadable(properties)
    if problem is not None:  # whoever sent it may have said more there than its body does: an id, a priority
        reason = f"undecodable: {problem}"
        outcome = pack_outcome(Outcome(state=JobState.DEAD, reason=reason))
        return Submission(uuid4().hex, queue, "", body, ended=JobState.DEAD, outcome=outcome)
    head = ForeignHead(_address(properties), properties.correlation_id or properties.message_id)
    routing, raw = _read(body)
    payload = body
    if head.reply_to is not None:
        payload = wrap_raw(body, head) if raw else put_head(body, head) or body
    changes: dict[str, Any] = {}
    if (
        properties.message_id and routing.id is None and (routing.task or raw)
    ):  # not of a dead one: it may be sent again, repaired
        changes["id"] = _name_of(properties.message_id)
    if properties.priority and not routing.priority:
        changes["priority"] = min(properties.priority, MAX_PRIORITY)
    return from_foreign(msgspec.structs.replace(routing, **changes), queue, payload, raw=raw)


def _read(body: bytes) -> tuple[Routing, bool]:
    """Read a message, and say whether it is none: then it is raw. What has a task and a bad field is a dead letter."""
    try:
        return read_foreign(body), False
    except BadField:
        return Routing(task=""), False
    except Undecodable:
        return Routing(task=""), True


def unreadable(properties: commands.Basic.Properties) -> str | None:
    """Return why the properties of a message cannot be read; None: they can."""
    return str((properties.headers or {}).get(REASON)) if properties.message_type == UNREADABLE else None


def to_answer(reply: Reply) -> OutgoingMessage:
    """Return the message that brings an answer."""
    to, _, correlation = reply.to.partition(_CORRELATION)
    properties: dict[str, Any] = {"message_type": ANSWER}
    if correlation:
        properties["correlation_id"] = unquote(correlation)
    if reply.body.startswith(b"{"):
        properties["content_type"] = "application/json"
    return OutgoingMessage("", to, reply.body, uuid4().hex, properties)


def _address(properties: commands.Basic.Properties) -> str | None:
    """Return the name to which the answer goes; None: nobody waits for one, or it is no name."""
    to, correlation = properties.reply_to, properties.correlation_id
    if not to:
        return None
    try:
        return check_name("reply_to", f"{to}{_CORRELATION}{quote(correlation, safe='')}" if correlation else to)
    except InvalidOptions:
        return None


def _name_of(text: str) -> str:
    """Return the id of a job for a message's: the same, or its hash where other programs have wider rules than ours."""
    try:
        return check_name("id", text)
    except InvalidOptions:
        return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
