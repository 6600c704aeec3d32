"""Messages of other programs: from a message to a job, and from a job's answer to a message.

A JSON or msgpack message with a `task` is a letter as in any other inbox (see `brokers/letters.py`); anything else is a raw
body for the task that takes what is raw on the queue. AMQP's own properties are heeded where the body says nothing:
`message_id` is the job's id, `priority` its priority, `reply_to` where its answer goes, and `correlation_id` comes with that.

The name to which an answer goes carries the correlation id along, as `amq.gen-x?correlation_id=7`, because the store, and the
worker that gets the job, may be anywhere.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import uuid4

import msgspec
from pamqp import commands

from ...errors import InvalidOptions
from ...model.delivery import Reply, Submission
from ...model.options import MAX_PRIORITY, check_name
from ...model.raw import Letterhead, put_head, wrap_raw
from ..letters import to_submission
from .sending import Letter

_CORRELATION: Final = "?correlation_id="
ANSWER: Final = "nursery-tasks.answer"


def to_job(queue: str, body: bytes, properties: commands.Basic.Properties) -> Submission:
    """Return the job that a message of another program amounts to."""
    head = Letterhead(_address(properties), properties.correlation_id or properties.message_id)
    job = to_submission(queue.encode(), body)
    if not job.task:
        payload = body if head.reply_to is None else wrap_raw(body, head)
        job = msgspec.structs.replace(to_submission(queue.encode(), body, raw=True), payload=payload)
    elif head.reply_to is not None:
        job = msgspec.structs.replace(job, payload=put_head(body, head) or body)
    changes: dict[str, Any] = {}
    if properties.message_id and (job.raw or _says_no(body, "id")):
        changes["id"] = _name_or(properties.message_id)
    if properties.priority and not job.priority:
        changes["priority"] = min(properties.priority, MAX_PRIORITY)
    return msgspec.structs.replace(job, **changes) if changes else job


def to_letter(reply: Reply) -> Letter:
    """Return the message that brings an answer."""
    to, _, correlation = reply.to.partition(_CORRELATION)
    properties: dict[str, Any] = {"message_type": ANSWER}
    if correlation:
        properties["correlation_id"] = unquote(correlation)
    if reply.body.startswith(b"{"):
        properties["content_type"] = "application/json"
    return Letter("", to, reply.body, uuid4().hex, properties)


def _address(properties: commands.Basic.Properties) -> str | None:
    """Return the name to which the answer goes; None: nobody waits for one, or it is no name."""
    to, correlation = properties.reply_to, properties.correlation_id
    if not to:
        return None
    try:
        return check_name("reply_to", f"{to}{_CORRELATION}{quote(correlation, safe='')}" if correlation else to)
    except InvalidOptions:
        return None


def _says_no(body: bytes, word: str) -> bool:
    try:
        return not msgspec.json.decode(body, type=dict[str, Any]).get(word)
    except msgspec.MsgspecError:
        return False


def _name_or(text: str) -> str:
    try:
        return check_name("id", text)
    except InvalidOptions:
        return uuid4().hex
