"""The server, for the blocking methods of the broker: both lines, and a deadline around each call."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, Final, TypeVar

from aiormq.abc import AbstractChannel

from ...errors import BrokerClosed, BrokerUnavailable, BrokerUnreachable
from ...model.listing import TransportQueue
from .address import Address, Place
from .failures import DriverError, to_broker_error
from .line import Line
from .permits import Permit
from .portal import LinkLost, Portal
from .receiving import Receiver
from .sending import Declared, Letter, Sender

T = TypeVar("T")
STEPS: Final = 2  # waiting for the line, and the call itself: each may take the time of one step


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
                raise BrokerUnreachable(error.broker, error.problem, error.step) from error
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
            raise BrokerUnavailable(
                self.address.name,
                "it was opened before this process was forked",
                "open the broker in each process, after the fork",
            )
        if self.closed:
            raise BrokerClosed(self.address.name)

    def check_open(self) -> None:
        """Wait for a moment until messages can be published, or say why not.

        Raises:
            BrokerUnavailable: They cannot.
        """
        if self._out.current is None:
            self.call(self._wait_open)

    def send(self, mail: Sequence[tuple[Place, Sequence[Letter]]]) -> None:
        """Publish letters to places; on return the server has all of them.

        Raises:
            BrokerUnavailable: Unknown how many it has.
        """

        async def send() -> None:
            for place, letters in mail:
                await self._sender.send(place, letters)

        self.call(send)

    def answer(self, letters: Sequence[Letter]) -> None:
        """Publish answers to other programs."""
        declare = self.address.place("").declare
        self.call(lambda: self._sender.answer(letters, declare))

    def take_answers(self, name: str, limit: int) -> list[bytes]:
        """Take up to *limit* messages out of a queue."""
        return self.call(lambda: self._receiver.take_answers(name, limit))

    def fetch(self, place: Place, limit: int) -> list[Permit]:
        """Fetch up to *limit* messages of a queue that nobody serves here."""
        return self.call(lambda: self._receiver.fetch(place, limit))

    def collect(self, queues: Sequence[str], limit: int, capacity: int) -> list[Permit]:
        """Return up to *limit* messages, those of the first queues first, and see to it that *capacity* can be here at once.

        Raises:
            BrokerUnavailable: The server has them again.
        """
        permits: list[Permit] = []
        try:
            for queue in dict.fromkeys(queues):
                wanted = limit - len(permits)
                if wanted <= 0:
                    break
                if self._receiver.feeds(queue):
                    permits += self._receiver.take(queue, wanted, capacity)
                else:
                    permits += self.fetch(self.address.place(queue), wanted)
        except BaseException:
            self._receiver.give_back(permits)
            raise
        return permits

    def settle_answers(self) -> None:
        """Wait until the server has the answers given before."""
        self.call(self._receiver.settle_answers)

    def depth(self, place: Place) -> int:
        """Return how many messages of a queue wait at the server."""
        return self.call(lambda: self._receiver.depth(place))

    def look(self, place: Place) -> TransportQueue | None:
        """Return what anybody may ask of a queue; None: there is none."""
        return self.call(lambda: self._receiver.look(place))

    def with_channel(self, use: Callable[[AbstractChannel], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on a channel of its own, which is closed after it: what it has fetched and kept goes back."""

        async def run() -> T:
            async with self._receiver.line.scratch() as channel:
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
        declared = Declared()
        self._receiver = Receiver(self.address, self._portal, declared, self._on_arrival)
        self._out = Line(self.address, "out", self._on_open, declared.forget)
        self._sender = Sender(self.address, self._out, declared)
        for keep in (self._out.keep, self._receiver.line.keep, self._receiver.tidy):
            self._portal.start(keep)
        await self._out.channel(at_once=True)
        await self._receiver.line.channel(at_once=True)

    async def _end(self) -> None:
        if self._receiver.line.current is not None:
            with suppress(BrokerUnavailable, LinkLost, *DriverError):
                await self._receiver.settle_answers()
        for line in (self._receiver.line, self._out):
            with suppress(LinkLost, *DriverError):
                await line.end()

    async def _wait_open(self) -> None:
        await self._out.channel()

    async def _on_open(self, channel: Any, generation: int) -> None:
        if generation > 1:
            self._on_back()


_OPEN: weakref.WeakSet[Transport] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for transport in list(_OPEN):
        transport.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
