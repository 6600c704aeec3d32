"""Jobs from other programs: what a raw body is to the task that takes it, and what the program is answered.

Brokers never look into bodies, so this is decided here: by the queue that a body came from, and by the annotation of the
task's parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from ..errors import InvalidOptions
from ..execution.results import Encoded
from ..model.codec import Codec, Undecodable
from ..model.delivery import Delivery
from ..model.foreign import read_foreign
from ..model.message import Message
from ..model.options import check_name
from ..model.raw import ForeignHead, to_message, unwrap_raw
from ..model.reply import Address, pack_response
from ..registry import RawBody, Registry, TaskSpec


def raw_task(registry: Registry, delivery: Delivery) -> TaskSpec | None:
    """Return the task that takes what is raw on a delivery's queue."""
    return registry.raw.get(delivery.queue.partition("@")[0])


def read_body(body: bytes, wanted: RawBody, head: ForeignHead) -> Any:
    """Read a raw body as the task's parameter wants it: bytes, a text, plain data that JSON describes, or the whole message.

    Raises:
        Undecodable: It is something else.
    """
    try:
        if wanted == "bytes":
            return body
        if wanted == "message":
            return to_message(body, head)
        return body.decode() if wanted == "str" else msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(f"{'not JSON' if wanted == 'json' else 'no text in UTF-8'}: {error}") from None


def why_unread(delivery: Delivery) -> str:
    """Say what is wrong with a delivery of which no broker could tell the task: nothing of it may run.

    What the broker did not heed (an id, a delay) would be lost, whatever the rest says.
    """
    try:
        read_foreign(unwrap_raw(delivery.payload)[1] if delivery.raw else delivery.payload)
        why = "its broker cannot read it; write it as JSON, with values that are nested less than 1000 deep"
        if delivery.raw:
            why = "it is a message, and messages are not put in as raw"
    except Undecodable as error:
        why = str(error)
    return f"no task here takes what is raw on queue {delivery.queue!r}; {why}" if delivery.raw else why


def raw_message(spec: TaskSpec, value: Any, head: ForeignHead) -> Message:
    """Return the message that a raw body amounts to; *head* is what was said beside it."""
    given: Any = cast("Mapping[str, Any]", value).get("id") if isinstance(value, dict) else None
    its_id = given if isinstance(given, str | int) and not isinstance(given, bool) else None
    if its_id is None:
        its_id = head.id
    reply_to = head.reply_to or spec.reply_to
    if spec.stage is not None and (spec.stage.source.channel or not spec.stage.answers):
        reply_to = None  # what it makes goes out by the outbox, see `sending.py`
    return Message(task=spec.name, args=[value], id=its_id, reply_to=reply_to)


def address_of(message: Message, delivery: Delivery) -> Address | None:
    """Return where the answer goes; None: nobody waits for one.

    Raises:
        Undecodable: It is no name.
    """
    if message.reply_to is None:
        return None
    try:
        to = check_name("reply_to", message.reply_to)
    except InvalidOptions as error:
        raise Undecodable(f"not a message: {error}") from None
    return Address(to, delivery.id if message.id is None else message.id, plain=delivery.raw)


def pack_answer(address: Address, spec: TaskSpec, value: Any, codec: Codec) -> bytes:
    """Encode the answer with a result.

    Raises:
        NotSerializable: It cannot travel as JSON.
    """
    if type(value) is Encoded:  # in a process or an interpreter
        value = codec.decode_value(value.body, codec.form, bytes if spec.signature.returns is bytes else Any)
    if address.plain and isinstance(value, bytes | str):
        return value.encode() if isinstance(value, str) else value
    return pack_response(address, codec.to_json(f"the answer of {spec.name}", value))
