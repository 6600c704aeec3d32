"""Publishing: a whole batch in one write, and then all the confirms.

The driver publishes one message at a time, with a task and two locks for each; at 40 microseconds per message a batch written
at once costs a quarter of that. What is used of the driver for it is public: the channel's lock, its count of delivery tags,
its table of confirmations, and the queue of its writer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.exceptions import ChannelClosed, ChannelInvalidStateError, DeliveryError, PublishError
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from .address import Address, Place
from .line import Line
from .portal import LinkLost

AT_ONCE: Final = 500  # messages in one write
PERSISTENT: Final = 2

_log = logging.getLogger("nursery_tasks.worker")
ANSWER_MS: Final = 86_400_000  # how long a queue for answers lives that nobody uses
# A quorum queue that is just being made, or has no leader for a moment, refuses messages as a full one does. Seconds.
REFUSED_PAUSES: Final = (0.02, 0.1, 0.4, 1.0)


@dataclass(frozen=True, slots=True)
class Letter:
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
    """The places that are known to exist: declared here since the last time when a line broke."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._locks: defaultdict[Line, asyncio.Lock] = defaultdict(asyncio.Lock)  # a line that hangs must not stop the other

    async def declare(self, place: Place, line: Line) -> None:
        """Declare a queue, its exchange, and the binding between them, unless that was done.

        Raises:
            aiormq.ChannelPreconditionFailed: One of them exists and is different.
        """
        if place.declare and place.name not in self._names:
            async with self._locks[line], line.scratch() as channel:
                if place.name not in self._names:
                    await _declare(channel, place)
            self._names.add(place.name)

    def forget(self, place: Place | None = None) -> None:
        """Declare it again when it is needed next; None: everything."""
        if place is None:
            self._names.clear()
        else:
            self._names.discard(place.name)


class Sender:
    """Publishes on a line of its own, and declares what it publishes to. On the portal's loop."""

    def __init__(self, address: Address, line: Line, declared: Declared) -> None:
        self._address, self._line = address, line
        self._declared = declared

    async def send(self, place: Place, letters: Sequence[Letter]) -> None:
        """Publish letters to a place, and return when the server has all of them.

        Raises:
            BrokerUnavailable: Unknown how many it has.
            aiormq.AMQPError: Likewise.
        """
        await self._declared.declare(place, self._line)
        try:
            await self.publish(letters)
        except PublishError:  # nobody takes it: somebody has deleted the queue, or the binding
            if not place.declare:
                raise
            self._declared.forget(place)
            await self._declared.declare(place, self._line)
            await self.publish(letters)

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Publish letters to what is there; errors as in `send`."""
        channel = await self._line.channel()
        for begin in range(0, len(letters), AT_ONCE):
            await self._insist(channel, letters[begin : begin + AT_ONCE])

    async def answer(self, letters: Sequence[Letter], declare: bool) -> None:
        """Publish answers to the queues that other programs have named.

        A queue that the server itself has named is gone with the program that asked, and so is whoever waits. Any other that
        does not exist is made, and lives for a day after it was last used, as the answer in it. An answer that the server
        does not take is lost, and logged: whoever named the place can name what they like, and others wait for theirs.

        Raises:
            BrokerUnavailable: Unknown how many it has.
            aiormq.AMQPError: Likewise.
        """
        waiting = deque(letters)
        while waiting:
            async with self._line.scratch(confirms=True) as channel:  # which the server closes when it takes offence at one
                while waiting and not channel.is_closed:
                    letter = waiting.popleft()
                    try:
                        await self._answer(channel, letter, declare)
                    except (ChannelClosed, DeliveryError) as error:
                        if not any(error.args):  # it is the connection that is gone
                            raise
                        _log.warning("no answer is sent to %r: the server does not take it (%s)", letter.key, error)

    async def _answer(self, channel: AbstractChannel, letter: Letter, declare: bool) -> None:
        try:
            await self._insist(channel, [letter])
        except PublishError:
            if declare and not letter.key.startswith("amq."):
                await channel.queue_declare(letter.key, durable=True, arguments={"x-expires": ANSWER_MS})
                await self._insist(channel, [letter])

    async def _insist(self, channel: AbstractChannel, letters: Sequence[Letter]) -> None:
        refused = await self._publish(channel, letters)
        for pause in REFUSED_PAUSES:
            if not refused:
                return
            await asyncio.sleep(pause)
            refused = await self._publish(channel, refused)
        if refused:
            raise DeliveryError(None, commands.Basic.Nack())

    async def _publish(self, channel: AbstractChannel, letters: Sequence[Letter]) -> Sequence[Letter]:
        """Publish letters in one write; return those that the server has refused."""
        seconds = self._address.timeout_seconds
        await self._line.check_unblocked(seconds)
        confirms = await _write(channel, letters)
        driver: Any = channel
        lost: asyncio.Future[Any] = driver.closing
        try:
            all_of_them = asyncio.ensure_future(asyncio.wait(confirms))
            await asyncio.wait({all_of_them, lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not all_of_them.done():
                all_of_them.cancel()
                if not lost.done():
                    await self._line.check_unblocked(0.01)
                    self._line.break_off()
                    raise TimeoutError(f"no confirm within {seconds:g} s")
                raise lost.exception() or LinkLost("the connection broke before the confirm")
            answers = [confirm.exception() or confirm.result() for confirm in confirms]
            for answer in answers:
                if isinstance(answer, BaseException) and not _is_refused(answer):
                    raise answer
            return [letter for letter, answer in zip(letters, answers, strict=True) if _is_refused(answer)]
        finally:
            lost.cancel()


async def _write(channel: AbstractChannel, letters: Sequence[Letter]) -> list[asyncio.Future[Any]]:
    """Write letters to the channel; return the futures of their confirms."""
    driver: Any = channel
    loop = asyncio.get_running_loop()
    frames: list[Any] = []
    confirms: list[asyncio.Future[Any]] = []
    most = driver.max_content_size
    async with driver.lock:
        if channel.is_closed:
            raise ChannelInvalidStateError("the channel is closed")
        for letter in letters:
            driver.delivery_tag += 1
            confirm = driver.confirmations[driver.delivery_tag] = loop.create_future()
            confirms.append(confirm)
            if letter.mandatory:
                driver.message_id_delivery_tag[letter.message_id] = driver.delivery_tag
            properties = commands.Basic.Properties(message_id=letter.message_id, delivery_mode=PERSISTENT, **letter.properties)
            frames.append(commands.Basic.Publish(exchange=letter.exchange, routing_key=letter.key, mandatory=letter.mandatory))
            frames.append(ContentHeader(properties=properties, body_size=len(letter.body)))
            frames += [ContentBody(letter.body[at : at + most]) for at in range(0, len(letter.body), most)]
        await driver.write_queue.put(to_bytes(driver, frames))
    for confirm, letter in zip(confirms, letters, strict=True):
        if letter.mandatory:
            confirm.add_done_callback(lambda _, key=letter.message_id: driver.message_id_delivery_tag.pop(key, None))  # type: ignore[misc]
    return confirms


def to_bytes(channel: Any, frames: Sequence[Any]) -> Any:
    """Return frames as one thing that the driver's writer takes."""
    frame: Any = ChannelFrame
    return frame.marshall(channel_number=channel.number, frames=frames)


def _is_refused(answer: object) -> bool:
    return isinstance(answer, DeliveryError) and not isinstance(answer, PublishError)


async def _declare(channel: AbstractChannel, place: Place) -> None:
    if place.exchange and not place.exchange.startswith("amq."):
        await channel.exchange_declare(place.exchange, exchange_type=place.exchange_type, durable=place.durable)
    await channel.queue_declare(place.name, durable=place.durable, arguments=dict(place.arguments))
    if place.exchange:
        await channel.queue_bind(place.name, place.exchange, place.key)
