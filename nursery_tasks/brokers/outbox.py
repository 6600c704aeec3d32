"""How much waits for some destinations, among however many others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .parts import Outbox

_FIRST_SURROGATE, _LAST_SURROGATE = 0xD800, 0xDFFF  # no characters
_GREATEST: Final = chr(0x10FFFF)


def count_outgoing(outbox: Outbox, destinations: Iterable[str]) -> dict[str, int]:
    """Return how many messages wait for each of these destinations.

    Each is asked for alone: answers to other programs have a destination for each of them, and those may be many.
    """
    counts: dict[str, int] = {}
    for destination in destinations:
        records = outbox.list_outboxes(1, _just_before(destination))
        counts[destination] = sum(record.count for record in records if record.destination == destination)
    return counts


def _just_before(name: str) -> str:
    """Return a text that is less than *name*, with nothing between that anybody would call a destination."""
    last = ord(name[-1]) - 1
    if last < 0:
        return name[:-1]
    if _FIRST_SURROGATE <= last <= _LAST_SURROGATE:
        last = _FIRST_SURROGATE - 1
    return name[:-1] + chr(last) + _GREATEST
