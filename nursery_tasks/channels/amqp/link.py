"""The connections of one channel, on the driver's own loop, which is opened when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, Final, TypeVar

from aiormq.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from pamqp import commands

from ...brokers.amqp.connection import Connection
from ...brokers.amqp.errors import DriverError, to_broker_error
from ...brokers.amqp.portal import Portal
from ...brokers.amqp.publishing import Declared, OutgoingMessage, Publisher
from ...brokers.amqp.topology import QueueTopology
from ...errors import BrokerUnavailable, ChannelError, ChannelRefused, ChannelUnavailable
from ..message import ChannelMessage
from .consuming import is_expected
from .finding import QueueFinder
from .messages import to_message
from .places import Places, Target

T = TypeVar("T")
STEPS: Final = 2  # waiting for the connection, and the call itself: each may take the time of one step


class Link:
    """All that a channel wants of the server. The methods block, and are for threads; coroutines are for the portal's loop.

    Args:
        name: How the channel is called in errors.
    """

    def __init__(self, name: str, places: Places) -> None:
        self._name, self._places = name, places
        self._seconds = places.address.timeout_seconds
        self._portal = Portal()
        self._connections: dict[str, Connection] = {}
        self._known: set[str] = set()  # queues that are there
        self.finder = QueueFinder()
        self._declared = Declared()
        self._publisher: Publisher | None = None  # of the connection for messages out

    def call(self, make: Callable[[], Coroutine[Any, Any, T]], place: str = "") -> T:
        """Run a coroutine on the portal's loop.

        Raises:
            ChannelError: It failed.
        """
        try:
            return self._portal.call(make, STEPS * self._seconds)
        except (RuntimeError, CancelledError) as error:  # the portal closes, or has closed
            raise ChannelUnavailable(self._name, f"it is closed ({error})") from error
        except Exception as error:
            if not is_expected(error):
                raise
            raise to_channel_error(self._name, error, place) from error

    def start(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a coroutine that runs until it ends, or the link is closed."""
        self._portal.start(make)

    def connection(self, role: str) -> Connection:
        """Return the connection for one direction; on the portal's loop. It is opened when it is first asked for."""
        if role not in self._connections:
            connection = self._connections[role] = Connection(
                self._places.address, f"channel {role}", on_lost=self._known.clear
            )
            self._portal.start(connection.keep)
        return self._connections[role]

    async def publish(self, target: Target, messages: Sequence[OutgoingMessage]) -> None:
        """Publish messages, and return when the server has them all.

        A queue or an exchange that was there before may have been deleted since: then it is looked for again, once, and what
        was under way is published again, under the same ids.
        """
        was_known = not self._known.isdisjoint((target.key, target.exchange))
        try:
            await self._publish(target, messages)
        except (PublishError, ChannelNotFoundEntity):
            if not was_known:
                raise
            self._known -= {target.key, target.exchange}
            await self._publish(target, messages)

    async def _publish(self, target: Target, messages: Sequence[OutgoingMessage]) -> None:
        connection = self.connection("out")
        await connection.channel()
        if target.queue is not None and target.key not in self._known:
            await self.finder.find(connection, target.queue)
            self._known.add(target.key)
        if target.exchange not in ("", *self._known):  # a message to one that is missing would end the channel, also for others
            async with connection.scratch() as channel:
                await channel.exchange_declare(target.exchange, passive=True)
            self._known.add(target.exchange)
        if self._publisher is None:
            self._publisher = Publisher(self._places.address, connection, self._declared)
        for part in _with_own_ids(messages):
            await self._publisher.publish(part)

    async def look(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        connection = self.connection("out")
        await connection.channel(at_once=True)
        return connection.server

    async def peek(self, queue: QueueTopology, limit: int) -> list[ChannelMessage]:
        """Fetch messages and acknowledge none: they go back to their places."""
        messages: list[ChannelMessage] = []
        connection = self.connection("in")
        await connection.channel()
        async with connection.scratch() as channel:
            while len(messages) < limit:
                message: Any = await channel.basic_get(queue.name)
                if not isinstance(message.delivery, commands.Basic.GetOk):
                    break
                messages.append(to_message(message.body, message.header.properties))
        return messages

    async def count(self, queue: QueueTopology) -> int:
        """Ask for the number of messages that wait."""
        connection = self.connection("in")
        await connection.channel()
        try:
            async with connection.scratch() as channel:
                return (await channel.queue_declare(queue.name, passive=True)).message_count or 0
        except ChannelNotFoundEntity:
            return 0

    def close(self) -> None:
        """Close the connections and end the portal; what was not acknowledged goes back to the server."""
        if self._connections:
            with suppress(*DriverError, BrokerUnavailable, RuntimeError, CancelledError):
                self._portal.call(self._end, 2 * self._seconds)
        self._portal.close()

    async def _end(self) -> None:
        for connection in self._connections.values():
            with suppress(*DriverError):
                await connection.end()


def to_channel_error(name: str, error: BaseException, place: str = "") -> ChannelError:
    """Return in the words of channels what the broker's code says of the server."""
    where = f"{place}: " if place else ""
    if type(error) is Exception:
        return ChannelUnavailable(name, f"{where}the connection broke in the middle of a call")
    if isinstance(error, ChannelNotFoundEntity):
        return ChannelRefused(name, f"{where}there is no such queue or exchange ({error.args[0] if error.args else ''})")
    if isinstance(error, PublishError):
        return ChannelRefused(name, f"{where}no queue takes it; a consumer, or ?declare=yes, makes one")
    meant = to_broker_error(name, error)
    problem, step = getattr(meant, "problem", str(meant)), getattr(meant, "step", "")
    text = f"{where}{problem}" + (f"; {step}" if step else "")
    refused = meant.refused and not isinstance(error, DeliveryError)  # a queue that is full has room again
    return ChannelRefused(name, text) if refused else ChannelUnavailable(name, text)


def _with_own_ids(messages: Sequence[OutgoingMessage]) -> list[list[OutgoingMessage]]:
    """Return messages in parts in which no id is twice: a message that the server returns is found by it."""
    parts: list[list[OutgoingMessage]] = []
    ids: set[str] = set()
    for message in messages:
        if not parts or message.message_id in ids:
            parts.append([])
            ids = set()
        parts[-1].append(message)
        ids.add(message.message_id)
    return parts
