"""Blocking calls of a channel's driver, for async code: each in a thread, to its end or its deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from anyio import CancelScope, Event, current_time
from anyio.lowlevel import checkpoint_if_cancelled

from ..errors import ChannelUnavailable
from ..loop.threads import Call, Threads

CALL_SECONDS: Final = 10.0
THREADS: Final = 32  # each source has one that waits at the server

T = TypeVar("T")


class BlockingCalls:
    """The threads of one channel. Make it inside the event loop that uses it.

    Args:
        channel: How the channel is called in errors.
    """

    def __init__(self, channel: str, call_seconds: float = CALL_SECONDS) -> None:
        self._channel, self._call_seconds = channel, call_seconds
        self._threads = Threads(THREADS)

    async def call(self, method: Callable[..., T], *args: Any) -> T:
        """Make one call.

        Raises:
            ChannelUnavailable: No answer came in time; whether the call took effect is unknown.

        Cancellation:
            Seen before the call starts; then the call goes to its end or its deadline, and its answer is returned.
        """
        await checkpoint_if_cancelled()
        return await self.settle(method, *args)

    async def settle(self, method: Callable[..., T], *args: Any) -> T:
        """Do the same also when the caller is cancelled already: what is settled must not be left in the middle.

        Raises:
            ChannelUnavailable: No answer came in time; whether the call took effect is unknown.

        Cancellation:
            Seen afterwards: the call goes to its end or its deadline.
        """
        done = Event()
        call = self.start(method, args, lambda _: done.set())
        with CancelScope(shield=True, deadline=current_time() + self._call_seconds):
            await done.wait()
        if call.ended:
            return call.result()
        self._threads.give_up(call)
        raise ChannelUnavailable(self._channel, f"no answer within {self._call_seconds:g} s")

    def start(self, method: Callable[..., T], args: tuple[Any, ...], on_end: Callable[[Call[T]], object]) -> Call[T]:
        """Have a call made for which no caller waits; *on_end* is called on the loop, and must make no event."""
        call = Call(method, args, on_end)
        self._threads.start(call)
        return call

    def close(self) -> None:
        """End the threads, those that are in a call after it."""
        self._threads.close()
