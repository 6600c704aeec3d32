"""What a handler returned, as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import NotSerializable, PayloadTooLarge
from ..model.codec import Codec
from ..registry import TaskSpec


@dataclass(frozen=True, slots=True)
class Encoded:
    """A result that was encoded where it was made, and is passed through as it is."""

    body: bytes


def encode_result(spec: TaskSpec, value: Any, codec: Codec, limit_bytes: int) -> bytes:
    """Encode what a handler returned.

    Raises:
        NotSerializable, PayloadTooLarge: It cannot travel.
    """
    if value is None:  # what most handlers return
        return codec.nothing
    if type(value) is Encoded:
        return value.body
    what = f"the result of {spec.name}"
    if type(value) in (set, frozenset) and spec.signature.returns is Any:
        # It would silently come back as a list.
        raise NotSerializable(what, f"a {type(value).__name__} travels as an array; annotate the task: `-> set[...]`")
    encoded = codec.encode(what, value)
    if len(encoded) > limit_bytes:
        raise PayloadTooLarge(what, len(encoded), limit_bytes)
    return encoded
