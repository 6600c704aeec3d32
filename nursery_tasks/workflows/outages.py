"""Asking a broker again while it is away: a durable workflow waits for it, because what it does has to be recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from anyio import sleep

from ..client import Connection
from ..errors import BrokerUnavailable
from ..model.delivery import Receipt, Submission

T = TypeVar("T")

AGAIN_SECONDS: Final = 0.5  # between two tries


async def until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the broker, again and again while it is away."""
    while True:
        try:
            return await ask()
        except BrokerUnavailable:
            await sleep(AGAIN_SECONDS)


async def submit_until_stored(connection: Connection, submissions: Sequence[Submission]) -> list[Receipt]:
    """Submit, again and again while the broker is away: what has an id of its own can be repeated safely."""
    return await until_answered(lambda: connection.submitter.submit(submissions))
