"""A queue that is read from: what the server pushes, for the stage that receives. On the caller's loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from anyio import Event, current_time, move_on_after

from ...brokers.amqp.deliveries import DeliveredMessage, DeliveryTags
from ...errors import ChannelError, ChannelUnavailable
from ..protocol import Received
from .messages import came_again, to_message

WAIT_SECONDS: Final = 10.0  # for a server that is away, in one call

Tag = tuple[DeliveryTags, int]  # those of the AMQP channel, and the delivery's number there
Settle = Callable[[list[Tag], bool], Awaitable[None]]


class AmqpSource:
    """One reader of a queue.

    Args:
        settle: Acknowledges messages, or gives them back.
    """

    def __init__(self, name: str, settle: Settle) -> None:
        self._name, self._settle = name, settle
        self._came: deque[DeliveredMessage] = deque()
        self._held: set[Tag] = set()
        self._problem: ChannelError | None = None
        self._is_news = False  # no caller has heard of the problem
        self._changed = Event()

    async def receive(self, limit: int) -> list[Received]:
        end = current_time() + WAIT_SECONDS
        while True:
            if self._came:
                return [self._hand_over() for _ in range(min(limit, len(self._came)))]
            if self._problem is not None and (self._is_news or current_time() >= end):
                self._is_news = False
                raise self._problem
            self._changed = Event()
            with move_on_after(max(0.0, end - current_time()) if self._problem is not None else None):
                await self._changed.wait()

    async def accept(self, received: Sequence[Received]) -> None:
        if received:
            await self._settle(self._let_go(received), True)

    async def release(self, received: Sequence[Received]) -> None:
        if received:
            await self._settle(self._let_go(received), False)

    def arrived(self, message: DeliveredMessage) -> None:
        """Take what the server has pushed."""
        self._came.append(message)
        self._changed.set()

    def turned(self, problem: ChannelError | None) -> None:
        """Hear that the server is there now, or is not; what came before comes again then."""
        if problem is not None:
            self._came.clear()
            self._held.clear()
            self._is_news = self._problem is None or not isinstance(problem, ChannelUnavailable)
        self._problem = problem
        self._changed.set()

    def _hand_over(self) -> Received:
        delivered = self._came.popleft()
        tag = (delivered.tags, delivered.tag)
        self._held.add(tag)
        return Received(to_message(delivered.body, delivered.properties), came_again(delivered), tag)

    def _let_go(self, received: Sequence[Received]) -> list[Tag]:
        tags: list[Tag] = [each.tag for each in received]
        if not self._held.issuperset(tags):
            raise ChannelUnavailable(self._name, "it was away since these were received; they come again")
        self._held.difference_update(tags)
        return tags
