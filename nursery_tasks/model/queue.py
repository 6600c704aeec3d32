"""What a program declares of a queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import InvalidOptions
from .options import check_queue

MAX_LENGTH: Final = 1_000_000  # it is counted


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue that `app.queue(...)` has declared.

    Attributes:
        name: Its name.
        max_length: How many jobs may wait there; None: any number.
    """

    name: str
    max_length: int | None = None


def declare_queue(name: object, max_length: object) -> Queue:
    """Check what is said of a queue.

    Raises:
        InvalidOptions: A value makes no sense.
    """
    if max_length is not None and (
        isinstance(max_length, bool) or not isinstance(max_length, int) or not 1 <= max_length <= MAX_LENGTH
    ):
        expected = f"a whole number from 1 to {MAX_LENGTH:,}: how many jobs may wait; or None for any number"
        raise InvalidOptions("max_length", max_length, expected)
    return Queue(check_queue("name", name), max_length)
