"""The channel."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from anyio import move_on_after

from ...brokers.amqp.deliveries import DeliveredMessage
from ...errors import AppNotOpen, ChannelError
from ...loop.threadsafe import loop_run_soon
from ..calls import BlockingCalls
from ..message import ChannelMessage
from .consuming import Consumption
from .link import STEPS, Link, to_channel_error
from .messages import to_outgoing
from .places import Places
from .source import AmqpSource, Tag

CLOSE_SECONDS: Final = 5.0


class AmqpChannel:
    """Queues and exchanges of a RabbitMQ server. A place is the name of a queue; or, to send to, `exchange/routing.key`.

    A queue that exists is used as it is, whatever its kind. One that is missing is made, durable and of the quorum kind, when
    it is read from; who sends to it is refused, unless the URL says `?declare=yes`. All that is said beside a body is kept in
    both directions; a message that is sent without an id gets one. What is sent is persistent, and confirmed by the server;
    that no queue takes it is an error.

    Args:
        url: `amqp://` or `amqps://`, as the broker's, with `?declare=receive` (the default), `yes` or `no`, `?exchange=` for
            places without one, and for queues that are made here `queue_type`, `durable`, `exchange_type` and `x-...`.

    Raises:
        InvalidBrokerUrl: It makes no sense.
    """

    def __init__(self, url: str) -> None:
        self._places = Places(url)
        self.name = self._places.address.name
        self._opened = 0
        self._calls: BlockingCalls | None = None
        self._link: Link | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        if not self._opened:
            self._calls = BlockingCalls(self.name, 2 * STEPS * self._places.address.timeout_seconds)
            self._link = Link(self.name, self._places)
        self._opened += 1
        try:
            yield
        finally:
            self._opened -= 1
            if not self._opened:
                calls, link, self._calls, self._link = self._calls, self._link, None, None
                if calls is not None and link is not None:
                    with move_on_after(CLOSE_SECONDS, shield=True):
                        await calls.call(link.close)
                    calls.close()

    @asynccontextmanager
    async def open_source(self, place: str, *, prefetch: int) -> AsyncGenerator[AmqpSource, None]:
        queue = self._places.queue(place)
        calls, link = self._needed()
        run_soon = loop_run_soon()

        def on_message(message: DeliveredMessage) -> None:
            run_soon(partial(source.arrived, message))

        def on_change(problem: BaseException | None) -> None:
            run_soon(partial(source.turned, None if problem is None else to_channel_error(self.name, problem, place)))

        async def begin() -> Consumption:
            return Consumption(
                link.connection("in"),
                queue,
                max(1, prefetch),
                link.finder,
                makes=self._places.declare != "no",
                seconds=self._places.address.timeout_seconds,
                on_message=on_message,
                on_change=on_change,
            )

        async def settle(tags: list[Tag], ack: bool) -> None:
            await calls.settle(link.call, lambda: consumption.settle(tags, ack=ack), place)

        source = AmqpSource(self.name, settle)
        consumption = await calls.call(link.call, begin)
        link.start(consumption.serve)
        try:
            yield source
        finally:
            with move_on_after(CLOSE_SECONDS, shield=True), suppress(ChannelError):  # the server has them back later, too
                await calls.call(link.call, consumption.end)

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        target = self._places.target(place)
        if messages:
            calls, link = self._needed()
            outgoing = [to_outgoing(message, target) for message in messages]
            await calls.call(link.call, lambda: link.publish(target, outgoing), place)

    async def peek(self, place: str, limit: int) -> list[ChannelMessage]:
        """Return messages that wait, the next one first, and leave them there. It counts as a delivery."""
        queue = self._places.queue(place)
        calls, link = self._needed()
        return await calls.call(link.call, lambda: link.peek(queue, limit), place)

    async def count(self, place: str) -> int:
        """Return how many messages wait, without those that a consumer has; 0 where there is no such queue.

        What a consumer has that dies is here again as soon as the server sees its connection end.
        """
        queue = self._places.queue(place)
        calls, link = self._needed()
        return await calls.call(link.call, lambda: link.count(queue), place)

    async def check(self) -> str:
        calls, link = self._needed()
        server = await calls.call(link.call, link.look)
        return f"{server.get('product', 'a server of AMQP')} {server.get('version', '')}".strip()

    def _needed(self) -> tuple[BlockingCalls, Link]:
        if self._calls is None or self._link is None:
            raise AppNotOpen("this call to a channel")
        return self._calls, self._link
