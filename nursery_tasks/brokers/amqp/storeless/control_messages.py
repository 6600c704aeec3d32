"""What processes tell each other: outcomes, cancels, and who is there.

One goes to everybody by the control exchange, or to one process by its reply queue. On the wire the latter is still called a
`box`.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Final

import msgspec

from ....model.states import JobState
from ..publishing import OutgoingMessage

CONTROL: Final = "nursery-tasks.word"  # the type of such a message
_ON_THE_WIRE: Final = {"reply_queue": "box"}

Cancel = tuple[str, str | None, float]  # job id, reason, when that was said in epoch seconds


class Hello(msgspec.Struct, frozen=True, gc=False, tag="hello", rename=_ON_THE_WIRE):
    """Somebody's reply queue was opened; *works*: it may hold jobs, so it wants to know what is cancelled."""

    reply_queue: str
    works: bool


class Bye(msgspec.Struct, frozen=True, gc=False, tag="bye", rename=_ON_THE_WIRE):
    """A worker leaves."""

    reply_queue: str


class CancelJobs(msgspec.Struct, frozen=True, tag="cancels", rename=_ON_THE_WIRE):
    """These jobs are not wanted any more.

    Workers answer with `Holds` and the same *number*; to 0 nobody answers.
    """

    reply_queue: str
    number: int
    jobs: list[Cancel]


class Holds(msgspec.Struct, frozen=True, tag="holds", rename=_ON_THE_WIRE):
    """Which of them a worker holds."""

    reply_queue: str
    number: int
    ids: list[str]


class Ended(msgspec.Struct, frozen=True, gc=False, tag="ended"):
    """The outcome of a job."""

    id: str
    state: JobState
    outcome: bytes


ControlMessage = Hello | Bye | CancelJobs | Holds | Ended

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ControlMessage).decode


def to_all(message: ControlMessage, control: str) -> OutgoingMessage:
    """Return the message for everybody; *control* is the exchange."""
    return _to_outgoing(control, "", message)


def to_one(message: ControlMessage, reply_queue: str) -> OutgoingMessage:
    """Return the message for one process; it is no error when that is gone."""
    return _to_outgoing("", reply_queue, message)


def read_control_message(body: bytes) -> ControlMessage | None:
    """Return what was said; None: it is of a later version."""
    try:
        message: ControlMessage = _decode(body)
    except msgspec.MsgspecError:
        return None
    return message


def _to_outgoing(exchange: str, key: str, message: ControlMessage) -> OutgoingMessage:
    return OutgoingMessage(exchange, key, _encode(message), token_hex(8), {"message_type": CONTROL}, mandatory=False)
