"""What a handler in a host holds of its worker, as far as it is data."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any


class DistantSlot:
    """The slot of a handler whose worker is another process: it keeps it while it waits."""

    @property
    def is_here(self) -> bool:
        """Never."""
        return False

    def give(self) -> None:
        """Not called."""

    async def take(self) -> None:
        """Not called."""

    def take_nowait(self) -> None:
        """Not called."""


class DistantHold:
    """The `current.Hold` of one job in a host.

    Args:
        broker: The name of the broker that the job came from.
        token: What owns the jobs that the handler awaits there.
    """

    def __init__(self, broker: str, token: bytes) -> None:
        self.broker: object = broker
        self.token = token
        self.cancel_reason: str | None = None  # written by the thread that reads the link
        self.slot = DistantSlot()
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.thread_id: int | None = None
