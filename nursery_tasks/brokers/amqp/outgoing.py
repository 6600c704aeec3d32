"""One channel on which messages are published: they are written at once, and the server's confirms are matched with them.

The driver's own way to publish takes a task and two locks for each message, and one more wait for its writer. Here a batch is
one write, and each caller hears of its own confirms. The numbers of a channel's messages are counted here, so nobody may
publish on such a channel by the driver.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from typing import Any, Final

import pamqp.frame
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelInvalidStateError, PublishError
from pamqp import commands
from pamqp.header import ContentHeader

from .connection import Connection
from .errors import Unsendable
from .frames import to_readable
from .portal import LinkLost
from .taps import BODY, HEADER, METHOD, Tap, to_frame, write_plain

PERSISTENT: Final = 2


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


class Batch:
    """Messages that were written, and what the server says of them.

    Attributes:
        refused: Those that it has refused.
        error: Why all of them are in doubt: one was returned, or the channel is gone.
    """

    def __init__(self, messages: Sequence[OutgoingMessage]) -> None:
        self._left = len(messages)
        self._waiting: list[Callable[[], object]] = []
        self.refused: list[OutgoingMessage] = []
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return not self._left

    def when_done(self, call: Callable[[], object]) -> None:
        """Call that when all is known; at once, if it is."""
        if self.is_done:
            call()
        else:
            self._waiting.append(call)

    def forget_callers(self) -> None:
        """Call nobody of those who have waited so far."""
        self._waiting.clear()

    def confirmed(self, message: OutgoingMessage, is_ack: bool) -> None:
        """Hear what became of one message."""
        self._left -= 1
        if not is_ack:
            self.refused.append(message)
        if not self._left:
            self._tell()

    def lost(self, error: BaseException) -> None:
        """Hear that nothing more will be heard."""
        if self._left:
            self._left, self.error = 0, error
            self._tell()

    async def wait(self, seconds: float) -> None:
        """Wait until all is known.

        Raises:
            TimeoutError: It is not, within that time.
        """
        if self.is_done:
            return
        done = asyncio.Event()
        self.when_done(done.set)
        await asyncio.wait_for(done.wait(), seconds)

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


class OutgoingChannel:
    """One channel with confirms. On the portal's loop."""

    def __init__(self, connection: Connection, driver: AbstractChannel) -> None:
        self.driver, self._connection = driver, connection
        self._last = 0  # number of a message
        self._waiting: dict[int, tuple[Batch, OutgoingMessage]] = {}  # in the order of the numbers
        channel: Any = driver
        self._number: int = channel.number
        self._most: int = channel.max_content_size
        connection.put_tap(driver, Tap(on_confirm=self._on_confirm, on_return=self._on_return))
        closing: asyncio.Future[Any] = channel.closing
        closing.add_done_callback(self._on_closed)

    @property
    def is_closed(self) -> bool:
        return self.driver.is_closed

    def write(self, messages: Sequence[OutgoingMessage]) -> Batch:
        """Write messages, all of them or none.

        Raises:
            Unsendable: One of them has something in it that AMQP has no form for.
            aiormq.ChannelInvalidStateError: The channel is closed.
        """
        if self.is_closed:
            raise ChannelInvalidStateError("the channel is closed")
        # Before any of them gets its number: one that the server never sees would shift the confirms of all that follow.
        frames = b"".join([to_frames(message, self._number, self._most) for message in messages])
        batch = Batch(messages)
        for message in messages:
            self._last += 1
            self._waiting[self._last] = batch, message
        self._connection.write(frames)
        return batch

    def _on_confirm(self, number: int, multiple: bool, is_ack: bool) -> None:
        numbers = list(takewhile(lambda each: each <= number, self._waiting)) if multiple else [number]
        for each in numbers:
            if each in self._waiting:
                batch, message = self._waiting.pop(each)
                batch.confirmed(message, is_ack)

    def _on_return(self, method: bytes, properties: commands.Basic.Properties) -> None:
        """Hear that no queue takes a message; its confirm follows."""
        frame: Any = pamqp.frame.unmarshal(to_readable(to_frame(METHOD, self._number, method)))[2]
        for batch, message in self._waiting.values():
            if message.mandatory and message.message_id == properties.message_id and batch.error is None:
                returned = DeliveredMessage(delivery=frame, header=ContentHeader(), body=b"", channel=self.driver)
                batch.error = PublishError(returned, frame)
                return

    def _on_closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        waiting, self._waiting = self._waiting, {}
        for batch in {id(batch): batch for batch, _ in waiting.values()}.values():
            batch.lost(error if isinstance(error, Exception) else LinkLost("the connection broke before the confirm"))


def to_frames(message: OutgoingMessage, channel: int, most: int) -> bytes:
    """Return the frames of a message, whose bodies have *most* bytes.

    Raises:
        Unsendable: It has something in it that AMQP has no form for.
    """
    body = message.body
    try:
        header = _header(message, len(body))
        if len(header) > most:  # the server would end the connection
            raise ValueError(f"with its headers it takes a frame of more than {most} bytes")
        frames = to_frame(METHOD, channel, _publish(message.exchange, message.key, message.mandatory))
    except (TypeError, ValueError, struct.error) as error:
        raise Unsendable(f"no message of AMQP can be made of it ({error})") from None
    frames += to_frame(HEADER, channel, header)
    for at in range(0, len(body), most):
        frames += to_frame(BODY, channel, body[at : at + most])
    return frames


@lru_cache(maxsize=1024)
def _publish(exchange: str, key: str, mandatory: bool) -> bytes:
    """Return the method of a message, as the library writes and checks it; most messages go to few places."""
    frame = pamqp.frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory), 0)
    return frame[7:-1]


def _header(message: OutgoingMessage, size: int) -> bytes:
    given: dict[str, Any] = {"message_id": message.message_id, "delivery_mode": PERSISTENT, **message.properties}
    header = write_plain(given, size)
    return ContentHeader(properties=commands.Basic.Properties(**given), body_size=size).marshal() if header is None else header
