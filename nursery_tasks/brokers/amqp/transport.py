"""The server, for the blocking methods of the broker: both connections, and a deadline around each call."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from aiormq.abc import AbstractChannel

from ...errors import BrokerClosed, BrokerError, BrokerUnavailable, BrokerUnreachable
from ...forks import at_fork
from ...model.listing import TransportQueue
from ..common.forks import opened_before_fork
from .address import Address
from .connection import Connection
from .consuming import Receiver
from .deliveries import DeliveredMessage
from .errors import DriverError, to_broker_error
from .looking import count_messages, look_at, take_messages
from .portal import LinkLost, Portal
from .publishing import STEPS, Answer, Declared, Mail, OutgoingMessage, Publisher
from .topology import QueueTopology

T = TypeVar("T")


class Transport:
    """All that this broker wants of RabbitMQ.

    Args:
        on_arrival: Called, in the portal's thread, with the queue of a message that was pushed.
        on_back: Called there when a connection was lost and is open again: nobody knows what was said meanwhile.

    Raises:
        BrokerUnreachable: The server cannot be used.
    """

    def __init__(self, address: Address, on_arrival: Callable[[str], None], on_back: Callable[[], None]) -> None:
        self.address = address
        self.closed = False
        self.forked = False  # set in a child of the process that opened it
        self._portal = Portal()
        self._on_back = on_back
        self._on_arrival = on_arrival
        try:
            self._portal.call(self._begin, STEPS * address.timeout_seconds + 1)
        except BaseException as error:
            self._portal.close()
            if isinstance(error, BrokerUnavailable):
                raise BrokerUnreachable(error.broker, error.problem, error.step) from None
            raise
        _OPEN.add(self)

    @property
    def server(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self._out.server

    @property
    def receiver(self) -> Receiver:
        return self._receiver

    def check_usable(self) -> None:
        """Refuse a call that comes too late, or in the wrong process."""
        if self.forked:
            raise opened_before_fork(self.address.name)
        if self.closed:
            raise BrokerClosed(self.address.name)

    def check_open(self) -> None:
        """Wait for a moment until messages can be published, or say why not.

        Raises:
            BrokerUnavailable: They cannot.
        """
        if self._out.current is None:
            self.call(self._wait_open)

    def send(self, mail: Mail) -> None:
        """Publish messages to queues; on return the server has all of them.

        Raises:
            BrokerError: Unknown how many it has.
        """
        for error in self.send_each(mail).values():
            raise error

    def send_each(self, mail: Mail) -> dict[str, BrokerError]:
        """Publish messages to queues; return which of them take none, and why. On return the server has all others.

        Raises:
            BrokerUnavailable: Unknown how many it has.
        """
        self.check_usable()
        answer: Answer = Future()
        try:
            if not self._portal.post(self._publisher.send_soon, mail, answer):
                raise RuntimeError("the portal is closed")
            return answer.result(STEPS * self.address.timeout_seconds)
        except (RuntimeError, CancelledError, TimeoutError) as error:  # the portal closes, or has closed
            self.check_usable()
            raise to_broker_error(self.address.name, error) from error

    def answer(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish answers to other programs."""
        declare = self.address.topology("").declare
        self.call(lambda: self._publisher.answer(messages, declare))

    def take_answers(self, name: str, limit: int) -> list[bytes]:
        """Take up to *limit* messages out of a queue."""
        return self.call(lambda: take_messages(name, limit, self._receiver.connection))

    def fetch(self, topology: QueueTopology, limit: int) -> list[DeliveredMessage]:
        """Fetch up to *limit* messages of a queue that nobody serves here."""
        return self.call(lambda: self._receiver.fetch(topology, limit))

    def collect(self, queues: Sequence[str], limit: int, capacity: int) -> list[DeliveredMessage]:
        """Return up to *limit* messages, those of the first queues first, and see to it that *capacity* can be here at once.

        Raises:
            BrokerUnavailable: The server has them again.
        """
        messages: list[DeliveredMessage] = []
        try:
            for queue in dict.fromkeys(queues):
                wanted = limit - len(messages)
                if wanted <= 0:
                    break
                if self._receiver.feeds(queue):
                    messages += self._receiver.take(queue, wanted, capacity)
                else:
                    messages += self.fetch(self.address.topology(queue), wanted)
        except BaseException:
            self._receiver.give_back(messages)
            raise
        return messages

    def flush_acks(self) -> None:
        """Wait until the server has what was acknowledged and given back before."""
        self.call(self._receiver.flush_acks)

    def depth(self, topology: QueueTopology) -> int:
        """Return how many messages of a queue wait at the server."""
        return self.call(lambda: count_messages(topology, self._receiver.connection, self._declared))

    def look(self, topology: QueueTopology) -> TransportQueue | None:
        """Return what anybody may ask of a queue; None: there is none."""
        return self.call(lambda: look_at(topology, self._receiver.connection))

    def with_channel(self, use: Callable[[AbstractChannel], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on a channel of its own, which is closed after it: what it has fetched and kept goes back."""

        async def run() -> T:
            async with self._receiver.connection.scratch() as channel:
                return await use(channel)

        return self.call(run)

    def feed(self, queues: Sequence[str], wanted: int) -> None:
        """Have messages of these queues pushed here, *wanted* at once."""
        self.call(lambda: self._receiver.feed(queues, wanted))

    def unfeed(self, queues: Sequence[str]) -> None:
        """End that; what nobody has used goes back."""
        if not self.closed and not self.forked:
            with suppress(BrokerUnavailable, BrokerClosed):
                self.call(lambda: self._receiver.unfeed(queues))

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the portal's loop.

        Raises:
            BrokerUnavailable: It failed.
        """
        self.check_usable()
        try:
            return self._portal.call(make, STEPS * self.address.timeout_seconds)
        except (RuntimeError, CancelledError) as error:  # the portal closes, or has closed
            self.check_usable()
            raise to_broker_error(self.address.name, error) from error
        except DriverError as error:
            raise to_broker_error(self.address.name, error) from error

    def close(self) -> None:
        """Close the connections and end the portal; what was not acknowledged goes back to the server."""
        if self.closed:
            return
        self.closed = True
        _OPEN.discard(self)
        if not self.forked:
            with suppress(*DriverError, BrokerUnavailable, RuntimeError, CancelledError):
                self._portal.call(self._end, 2 * self.address.timeout_seconds)
            self._portal.close()

    async def _begin(self) -> None:
        self._declared = declared = Declared()
        self._receiver = Receiver(self.address, self._portal, declared, self._on_arrival)
        self._out = Connection(self.address, "out", self._on_open, declared.forget)
        self._publisher = Publisher(self.address, self._out, declared)
        for keep in (self._out.keep, self._receiver.connection.keep, self._receiver.tidy):
            self._portal.start(keep)
        await self._out.channel(at_once=True)
        await self._receiver.connection.channel(at_once=True)

    async def _end(self) -> None:
        if self._receiver.connection.current is not None:
            with suppress(BrokerUnavailable, LinkLost, *DriverError):
                await self._receiver.flush_acks()
        for connection in (self._receiver.connection, self._out):
            with suppress(LinkLost, *DriverError):
                await connection.end()

    async def _wait_open(self) -> None:
        await self._out.channel()

    async def _on_open(self, channel: Any, generation: int) -> None:
        if generation > 1:
            self._on_back()


_OPEN: weakref.WeakSet[Transport] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for transport in list(_OPEN):
        transport.forked = True


at_fork(in_child=_after_fork_in_child)
