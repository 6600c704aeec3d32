"""What leaves for elsewhere, and small values under a name: a broker keeps both, and never looks into a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ..errors import InvalidOptions, PayloadTooLarge
from .options import HARD_PAYLOAD_BYTES

MAX_NAME: Final = 200  # characters, of a destination and of a state
BATCH_BYTES: Final = 4 * 1024 * 1024  # of bodies, that one look into an outbox returns; one that is larger comes alone


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message on its way out: *destination* names the outbox in which it stands until it was sent."""

    destination: str
    body: bytes


class OutboxRecord(msgspec.Struct, frozen=True, gc=False):
    """What waits for one destination.

    Attributes:
        count: How many messages.
        oldest_at: When the first of them was stored, in epoch seconds on the broker's clock.
        age_seconds: How long ago that was.
    """

    destination: str
    count: int
    oldest_at: float
    age_seconds: float


class StateRow(msgspec.Struct, frozen=True, gc=False):
    """One state: *version* is above 0, another number after each change, and none that this name has ever had before."""

    version: int
    body: bytes


class StateRecord(msgspec.Struct, frozen=True, gc=False):
    """One state in a listing: its name, its version, and how many bytes it has."""

    name: str
    version: int
    size: int


def check_outgoing(items: Sequence[Outgoing]) -> None:
    """Refuse messages that no broker keeps, before any of them is stored.

    Raises:
        InvalidOptions: A destination is empty, or too long.
        PayloadTooLarge: A body is.
    """
    for item in items:
        _check_name("destination", item.destination)
        _check_body(f"a message for {item.destination}", item.body)


def check_state(name: str, body: bytes) -> None:
    """Refuse a state that no broker keeps. Raises as `check_outgoing` does."""
    _check_name("name", name)
    _check_body(f"the state {name}", body)


def _check_name(option: str, name: str) -> None:
    if not 0 < len(name) <= MAX_NAME:
        raise InvalidOptions(option, name, f"1 to {MAX_NAME} characters")


def _check_body(what: str, body: bytes) -> None:
    if len(body) > HARD_PAYLOAD_BYTES:
        raise PayloadTooLarge(what, len(body), HARD_PAYLOAD_BYTES, fixed=True)
