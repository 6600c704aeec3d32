"""Publishing: a whole batch in one write, and then all the confirms.

The driver publishes one message at a time, with a task and two locks for each; at 40 microseconds per message a batch written
at once costs a quarter of that. What is used of the driver for it is public: the channel's lock, its count of delivery tags,
its table of confirmations, and the queue of its writer.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.exceptions import ChannelClosed, ChannelInvalidStateError, DeliveryError, PublishError
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from .address import Address
from .connection import Connection
from .errors import Unsendable
from .portal import LinkLost
from .topology import QueueTopology

AT_ONCE: Final = 500  # messages in one write
PERSISTENT: Final = 2

_log = logging.getLogger("nursery_tasks.worker")
ANSWER_MS: Final = 86_400_000  # how long a queue for answers lives that nobody uses
# A quorum queue that is just being made, or has no leader for a moment, refuses messages as a full one does. Seconds.
REFUSED_PAUSES: Final = (0.02, 0.1, 0.4, 1.0)


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message to publish.

    Attributes:
        exchange, key: Where to.
        message_id: Unique in its batch: a message that the server returns is found by it.
        properties: More of AMQP's properties.
        mandatory: Whether it is an error that no queue takes it.
    """

    exchange: str
    key: str
    body: bytes
    message_id: str
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    mandatory: bool = True


class Declared:
    """The queues that are known to exist: declared here since the last time when a connection broke."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        # A lock for each, because one that hangs must not stop the others.
        self._locks: defaultdict[tuple[Connection, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def declare(self, topology: QueueTopology, connection: Connection) -> None:
        """Declare a queue, its exchange, and the binding between them, unless that was done.

        Raises:
            aiormq.ChannelPreconditionFailed: One of them exists and is different.
        """
        if topology.declare and topology.name not in self._names:
            async with self._locks[connection, topology.name], connection.scratch() as channel:
                if topology.name not in self._names:
                    await _declare(channel, topology)
            self._names.add(topology.name)

    def forget(self, topology: QueueTopology | None = None) -> None:
        """Declare it again when it is needed next; None: everything."""
        if topology is None:
            self._names.clear()
        else:
            self._names.discard(topology.name)


class Publisher:
    """Publishes on a connection of its own, and declares what it publishes to. On the portal's loop."""

    def __init__(self, address: Address, connection: Connection, declared: Declared) -> None:
        self._address, self._connection = address, connection
        self._declared = declared

    async def send(self, topology: QueueTopology, messages: Sequence[OutgoingMessage]) -> None:
        """Publish messages to a queue, and return when the server has all of them.

        Raises:
            BrokerUnavailable: Unknown how many it has.
            aiormq.AMQPError: Likewise.
        """
        await self._declared.declare(topology, self._connection)
        try:
            await self.publish(messages)
        except PublishError:  # nobody takes it: somebody has deleted the queue, or the binding
            if not topology.declare:
                raise
            self._declared.forget(topology)
            await self._declared.declare(topology, self._connection)
            await self.publish(messages)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish messages to what is there; errors as in `send`."""
        channel = await self._connection.channel()
        for begin in range(0, len(messages), AT_ONCE):
            await self._insist(channel, messages[begin : begin + AT_ONCE])

    async def answer(self, messages: Sequence[OutgoingMessage], declare: bool) -> None:
        """Publish answers to the queues that other programs have named.

        A queue that the server itself has named is gone with the program that asked, and so is whoever waits. Any other that
        does not exist is made, and lives for a day after it was last used, as the answer in it. An answer that the server or
        the driver does not take is lost, and logged: whoever named the place can name what they like, and others wait for
        theirs.

        Raises:
            BrokerUnavailable: Unknown how many it has.
            aiormq.AMQPError: Likewise.
        """
        waiting = deque(messages)
        while waiting:
            async with self._connection.scratch(confirms=True) as channel:  # the server closes it when it takes offence at one
                while waiting and not channel.is_closed:
                    message = waiting.popleft()
                    try:
                        await self._answer(channel, message, declare)
                    except (ChannelClosed, DeliveryError) as error:
                        if not any(error.args):  # it is the connection that is gone
                            raise
                        _log.warning("no answer is sent to %r: the server does not take it (%s)", message.key, error)
                    except Unsendable as error:
                        _log.warning("no answer is sent to %r: %s", message.key, error)

    async def _answer(self, channel: AbstractChannel, message: OutgoingMessage, declare: bool) -> None:
        try:
            await self._insist(channel, [message])
        except PublishError:
            if declare and not message.key.startswith("amq."):
                await _declare_for_answers(channel, message.key)
                await self._insist(channel, [message])

    async def _insist(self, channel: AbstractChannel, messages: Sequence[OutgoingMessage]) -> None:
        refused = await self._publish(channel, messages)
        for pause in REFUSED_PAUSES:
            if not refused:
                return
            await asyncio.sleep(pause)
            refused = await self._publish(channel, refused)
        if refused:
            raise DeliveryError(None, commands.Basic.Nack())

    async def _publish(self, channel: AbstractChannel, messages: Sequence[OutgoingMessage]) -> Sequence[OutgoingMessage]:
        """Publish messages in one write; return those that the server has refused."""
        seconds = self._address.timeout_seconds
        await self._connection.check_unblocked(seconds)
        confirms = await _write(channel, messages)
        driver: Any = channel
        lost: asyncio.Future[Any] = driver.closing
        try:
            all_of_them = asyncio.ensure_future(asyncio.wait(confirms))
            await asyncio.wait({all_of_them, lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not all_of_them.done():
                all_of_them.cancel()
                if not lost.done():
                    await self._connection.check_unblocked(0.01)
                    self._connection.break_off()
                    raise TimeoutError(f"no confirm within {seconds:g} s")
                raise lost.exception() or LinkLost("the connection broke before the confirm")
            answers = [confirm.exception() or confirm.result() for confirm in confirms]
            for answer in answers:
                if isinstance(answer, BaseException) and not _is_refused(answer):
                    raise answer
            return [message for message, answer in zip(messages, answers, strict=True) if _is_refused(answer)]
        finally:
            lost.cancel()


async def _write(channel: AbstractChannel, messages: Sequence[OutgoingMessage]) -> list[asyncio.Future[Any]]:
    """Write messages to the channel; return the futures of their confirms.

    Raises:
        Unsendable: One of them cannot be; nothing was written.
    """
    driver: Any = channel
    loop = asyncio.get_running_loop()
    confirms: list[asyncio.Future[Any]] = []
    async with driver.lock:
        if channel.is_closed:
            raise ChannelInvalidStateError("the channel is closed")
        # Before any of them gets its number: one that the server never sees would shift the confirms of all that follow.
        written = _to_frame(driver, messages)
        for message in messages:
            driver.delivery_tag += 1
            confirm = driver.confirmations[driver.delivery_tag] = loop.create_future()
            confirms.append(confirm)
            if message.mandatory:
                driver.message_id_delivery_tag[message.message_id] = driver.delivery_tag
        await driver.write_queue.put(written)
    for confirm, message in zip(confirms, messages, strict=True):
        if message.mandatory:
            confirm.add_done_callback(lambda _, key=message.message_id: driver.message_id_delivery_tag.pop(key, None))  # type: ignore[misc]
    return confirms


def _to_frame(channel: Any, messages: Sequence[OutgoingMessage]) -> Any:
    """Return messages as one thing that the driver's writer takes.

    Raises:
        Unsendable: One of them has something in it that AMQP has no form for.
    """
    most = channel.max_content_size
    frames: list[Any] = []
    try:
        for message in messages:
            properties = commands.Basic.Properties(
                message_id=message.message_id, delivery_mode=PERSISTENT, **message.properties
            )
            frames.append(
                commands.Basic.Publish(exchange=message.exchange, routing_key=message.key, mandatory=message.mandatory)
            )
            header = ContentHeader(properties=properties, body_size=len(message.body))
            if "headers" in message.properties and len(header.marshal()) > most:  # the server would end the connection
                raise ValueError(f"with its headers it takes a frame of more than {most} bytes")
            frames.append(header)
            frames += [ContentBody(message.body[at : at + most]) for at in range(0, len(message.body), most)]
        return to_bytes(channel, frames)
    except (TypeError, ValueError, struct.error) as error:
        raise Unsendable(f"no message of AMQP can be made of it ({error})") from None


async def _declare_for_answers(channel: AbstractChannel, name: str) -> None:
    """Declare a queue for answers that somebody has named.

    Raises:
        Unsendable: The driver takes no such name.
    """
    try:
        await channel.queue_declare(name, durable=True, arguments={"x-expires": ANSWER_MS})
    except (TypeError, ValueError) as error:  # before it has said anything to the server
        raise Unsendable(f"there is no queue of that name, and none can be made ({error})") from None


def to_bytes(channel: Any, frames: Sequence[Any]) -> Any:
    """Return frames as one thing that the driver's writer takes."""
    frame: Any = ChannelFrame
    return frame.marshall(channel_number=channel.number, frames=frames)


def _is_refused(answer: object) -> bool:
    return isinstance(answer, DeliveryError) and not isinstance(answer, PublishError)


async def _declare(channel: AbstractChannel, topology: QueueTopology) -> None:
    if topology.dead is not None:  # first: what the server drops must have somewhere to go
        await _declare(channel, topology.dead)
    if topology.exchange and not topology.exchange.startswith("amq."):
        await channel.exchange_declare(topology.exchange, exchange_type=topology.exchange_type, durable=topology.durable)
    await channel.queue_declare(topology.name, durable=topology.durable, arguments=dict(topology.arguments))
    if topology.exchange:
        await channel.queue_bind(topology.name, topology.exchange, topology.key)
