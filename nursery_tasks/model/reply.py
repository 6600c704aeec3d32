"""What another program is told of its job: one JSON object, which any language can read.

    {"id": "x", "response": 3}
    {"id": "x", "error": {"state": "failed", "type": "ValueError", "text": "no such file"}}

The answer to a raw body is shorter where the task returned a text or bytes: just that.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .outcome import Outcome


class Address(msgspec.Struct, frozen=True, gc=False):
    """Where an answer goes.

    Attributes:
        to: The list or queue.
        id: What the answer repeats.
        plain: Texts and bytes go as they are.
    """

    to: str
    id: str | int
    plain: bool = False


def pack_response(address: Address, value: bytes) -> bytes:
    """Pack the result of a job that succeeded; *value* is JSON."""
    return msgspec.json.encode({"id": address.id, "response": msgspec.Raw(value)})


def pack_error(address: Address, outcome: Outcome) -> bytes:
    """Pack the end of a job that did not succeed, without the traceback: that is for those who may list jobs."""
    error: dict[str, Any] = {"state": outcome.state}
    if outcome.reason is not None:
        error["reason"] = outcome.reason
    if outcome.error is not None:
        error |= {"type": outcome.error.type, "text": outcome.error.text}
    return msgspec.json.encode({"id": address.id, "error": error})
