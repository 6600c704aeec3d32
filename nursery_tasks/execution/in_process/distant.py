"""What a handler in a host has of its worker, as far as it is data."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any


class DistantSlot:
    """The slot of a handler whose worker is another process, and which is told of its waits.

    Args:
        tell: Called with True when a wait begins, and with False when it has ended.
    """

    is_here = False
    is_distant = True

    def __init__(self, tell: Callable[[bool], None]) -> None:
        self._tell = tell

    def release(self) -> None:
        """Begin a wait."""
        self._tell(True)

    async def acquire(self) -> None:
        """End a wait; a handler in a process goes on at once."""
        self._tell(False)

    def acquire_nowait(self) -> None:
        """End a wait."""
        self._tell(False)


class DistantItems:
    """Where the items of a handler in a host go: to its worker, which puts them out.

    Args:
        send: Sends items to the worker, and returns when they have left.
    """

    def __init__(self, send: Callable[[Sequence[Any]], None]) -> None:
        self._send = send

    async def put(self, items: Sequence[Any] | bytes) -> None:
        """Do what `put_blocking` does; a handler in a process has no loop of ours to wait on."""
        self._send(items)

    def put_blocking(self, items: Sequence[Any]) -> None:
        """Put the next items out, and wait until they have left."""
        self._send(items)


class DistantContext:
    """The `current.AttemptContext` of one job in a host.

    Args:
        broker: The name of the broker that the job came from.
        token: What owns the jobs that the handler awaits there.
        tell: Called when the handler begins or ends a wait for another job.
    """

    def __init__(self, broker: str, token: bytes, tell: Callable[[bool], None]) -> None:
        self.broker: object = broker
        self.token = token
        self.cancel_reason: str | None = None  # written by the thread that reads the link
        self.is_told = False  # nobody asks there
        self.deadline = math.inf
        self.slot = DistantSlot(tell)
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.thread_id: int | None = None
        self.can_resume: Callable[[], bool] | None = None
