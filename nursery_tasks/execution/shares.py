"""What each job of a batch gets of the one result that its function has returned, or of the one error that it has raised.

A process shares out itself what its handler returns, because its values and exceptions do not travel as they are. Each share is
then a result of its own, encoded, or the description of an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from ..errors import InvalidBatchResult, PayloadTooLarge
from ..model.failure import ForeignError
from .in_process.frames import MAX_BODY, Failed
from .results import Encoded

Share = bytes | Failed

_PACKED: Final = msgspec.msgpack.Decoder(list[Share])


def share_out(task: str, value: object, jobs: int) -> Sequence[object]:
    """Return what each job gets, in their order: a result, or an exception.

    Args:
        value: What the function has returned.
        jobs: How many there are.

    Raises:
        InvalidBatchResult: It cannot be shared out.
    """
    if value is None:
        return [None] * jobs
    if isinstance(value, Encoded):
        return opened_shares(value)
    if not isinstance(value, list):
        raise InvalidBatchResult(task, f"a value of type {type(value).__name__}", jobs)
    shares = cast("list[object]", value)
    if len(shares) != jobs:
        raise InvalidBatchResult(task, f"a list of {len(shares)}", jobs)
    return shares


def result_of_one(task: str, value: object) -> Any:
    """Return what the only job of a batch gets.

    Raises:
        InvalidBatchResult: As above.
        Exception: What stands in its place.
    """
    [share] = share_out(task, value, 1)
    if isinstance(share, Exception):
        raise share
    return share


def error_of(error: BaseException, place: int) -> BaseException:
    """Return what the job at *place* gets of the one error that the function has raised: each has a retry policy of its own."""
    if isinstance(error, ForeignError) and error.matched:
        return error.of_share(place)
    return error


def packed_shares(task: str, shares: list[Share]) -> bytes:
    """Pack what each job gets, in a process.

    Raises:
        PayloadTooLarge: All together it is more than can travel.
    """
    packed = msgspec.msgpack.encode(shares)
    if len(packed) > MAX_BODY:
        raise PayloadTooLarge(f"the results of a batch of {task}", len(packed), MAX_BODY, fixed=True)
    return packed


def opened_shares(packed: Encoded) -> list[object]:
    """Unpack it again, in the worker."""
    shares = _PACKED.decode(packed.body)
    return [share.to_error() if isinstance(share, Failed) else Encoded(share) for share in shares]
