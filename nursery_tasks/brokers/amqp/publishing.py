"""Publishing: whoever has messages has them written at once, together, and waits for the confirms of all.

A caller in another thread posts them (`send_soon`). Mostly all is as it should be: the queue is declared, the server takes
messages and confirms them; then no task is started for it at all. The coroutines here are for whatever else happens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelClosed, DeliveryError, PublishError
from pamqp import commands

from ...errors import BrokerError
from .address import Address
from .connection import Connection
from .errors import DriverError, Unconfirmed, Unsendable, to_broker_error
from .outgoing import Batch, OutgoingChannel
from .outgoing import OutgoingMessage as OutgoingMessage
from .portal import LinkLost, guarded
from .topology import QueueTopology

AT_ONCE: Final = 500  # messages in one write

_log = logging.getLogger("nursery_tasks.worker")
ANSWER_MS: Final = 86_400_000  # how long a queue for answers lives that nobody uses
# A quorum queue that is just being made, or has no leader for a moment, refuses messages as a full one does. Seconds.
REFUSED_PAUSES: Final = (0.02, 0.1, 0.4, 1.0)
STEPS: Final = 2  # waiting for the connection, and the call itself: each may take the time of one step
SILENT_SECONDS: Final = 5.0  # a queue that has not confirmed in time gets nothing for so long
SHORT_SECONDS: Final = 0.5  # for the next try

Mail = Sequence[tuple[QueueTopology | None, Sequence[OutgoingMessage]]]  # None: to what is there, wherever that is
Answer = Future[dict[str, BrokerError]]  # which queues take none, and why


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

    def knows(self, topology: QueueTopology) -> bool:
        """Whether there is nothing to declare."""
        return not topology.declare or topology.name in self._names

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
        self._channel: OutgoingChannel | None = None
        self._silent: dict[str, float] = {}  # queue at the server that has not confirmed -> until when nothing is sent to it

    def send_soon(self, mail: Mail, answer: Answer) -> None:
        """Publish messages; *answer* gets which queues take none, and why.

        Or it gets an error, and it is unknown what the server has.
        """
        Sending(self, self._address, mail, answer).begin()

    def write_at_once(self, topology: QueueTopology | None, messages: Sequence[OutgoingMessage]) -> Batch | None:
        """Write messages, if nothing is in the way of that; None: something is, or there are too many."""
        driver, name = self._connection.current, "" if topology is None else topology.name
        if driver is None or self._connection.is_blocked or name in self._silent or not 0 < len(messages) <= AT_ONCE:
            return None
        if topology is not None and not self._declared.knows(topology):
            return None
        try:
            return self._outgoing(driver).write(messages)
        except DriverError:
            return None  # `send` finds it again, and says it

    async def send(
        self,
        topology: QueueTopology | None,
        messages: Sequence[OutgoingMessage],
        begun: Batch | None = None,
        seconds: float | None = None,
    ) -> None:
        """Publish messages to a queue, and return when the server has all of them.

        Args:
            topology: None: to what is there, wherever that is.
            begun: They are written already, and this is what became of them so far.
            seconds: How long that may go on.

        Raises:
            BrokerUnavailable: Unknown how many it has.
            aiormq.AMQPError: Likewise.
        """
        if topology is None:
            await self.publish(messages, begun, seconds)
            return
        name = topology.name
        if begun is None and self._silent.get(name, 0.0) > time.monotonic():
            raise Unconfirmed(_without_confirm(name))
        try:
            await self._declared.declare(topology, self._connection)
            await self._send(topology, messages, begun, SHORT_SECONDS if name in self._silent else seconds)
        except Unconfirmed:
            self._silent[name] = time.monotonic() + SILENT_SECONDS
            raise Unconfirmed(_without_confirm(name)) from None
        self._silent.pop(name, None)

    async def _send(
        self, topology: QueueTopology, messages: Sequence[OutgoingMessage], begun: Batch | None, seconds: float | None
    ) -> None:
        try:
            await self.publish(messages, begun, seconds)
        except PublishError:  # nobody takes it: somebody has deleted the queue, or the binding
            if not topology.declare:
                raise
            self._declared.forget(topology)
            await self._declared.declare(topology, self._connection)
            await self.publish(messages)

    async def publish(
        self, messages: Sequence[OutgoingMessage], begun: Batch | None = None, seconds: float | None = None
    ) -> None:
        """Publish messages to what is there; errors as in `send`."""
        channel = self._outgoing(await self._connection.channel())
        for begin in range(0, len(messages), AT_ONCE):
            await self._insist(channel, messages[begin : begin + AT_ONCE], begun, seconds)

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
            async with self._connection.scratch(confirms=True) as driver:  # the server closes it when it takes offence at one
                channel = OutgoingChannel(self._connection, driver)
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

    async def _answer(self, channel: OutgoingChannel, message: OutgoingMessage, declare: bool) -> None:
        try:
            await self._insist(channel, [message])
        except PublishError:
            if declare and not message.key.startswith("amq."):
                await _declare_for_answers(channel.driver, message.key)
                await self._insist(channel, [message])

    async def _insist(
        self,
        channel: OutgoingChannel,
        messages: Sequence[OutgoingMessage],
        begun: Batch | None = None,
        seconds: float | None = None,
    ) -> None:
        refused = await self._publish(channel, messages, begun, seconds)
        for pause in REFUSED_PAUSES:
            if not refused:
                return
            await asyncio.sleep(pause)
            refused = await self._publish(channel, refused)
        if refused:
            raise DeliveryError(None, commands.Basic.Nack())

    async def _publish(
        self,
        channel: OutgoingChannel,
        messages: Sequence[OutgoingMessage],
        batch: Batch | None = None,
        seconds: float | None = None,
    ) -> Sequence[OutgoingMessage]:
        """Publish messages in one write; return those that the server has refused.

        Raises:
            Unconfirmed: It answers everything else, and does not confirm these.
        """
        if batch is None:
            await self._connection.check_unblocked(self._address.timeout_seconds)
            batch = channel.write(messages)
        seconds = self._address.timeout_seconds if seconds is None else seconds
        try:
            await batch.wait(seconds)
        except TimeoutError:
            await self._connection.check_unblocked(0.01)
            if await self._connection.answers():
                raise Unconfirmed(_without_confirm(messages[0].key)) from None
            self._connection.break_off()
            raise TimeoutError(f"no confirm within {seconds:g} s") from None
        if batch.error is not None:
            raise batch.error
        return batch.refused

    def _outgoing(self, driver: AbstractChannel) -> OutgoingChannel:
        if self._channel is None or self._channel.driver is not driver:
            self._channel = OutgoingChannel(self._connection, driver)
        return self._channel


class Sending:
    """What one caller has to send, to one queue or to several: one that takes its time does not hold up the others."""

    def __init__(self, publisher: Publisher, address: Address, mail: Mail, answer: Answer) -> None:
        self._publisher, self._address, self._mail, self._answer = publisher, address, mail, answer
        self._left = len(mail)
        self._refused: dict[str, BrokerError] = {}
        self._error: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Write what can be written at once, and see to the rest."""
        begun = [(each, self._publisher.write_at_once(*each)) for each in self._mail]
        late = [(each, batch) for each, batch in begun if batch is not None]
        if late:
            self._timer = asyncio.get_running_loop().call_later(self._address.timeout_seconds, self._on_timeout, late)
        for (topology, messages), batch in begun:
            if batch is None:
                self._take_care(topology, messages)
            else:
                batch.when_done(partial(self._on_done, topology, messages, batch))
        if not self._mail:
            self._finish()

    def _on_done(self, topology: QueueTopology | None, messages: Sequence[OutgoingMessage], batch: Batch) -> None:
        if batch.refused or batch.error is not None:
            self._take_care(topology, messages, batch)
        else:
            self._ended(topology, None)

    def _on_timeout(self, late: list[tuple[tuple[QueueTopology | None, Sequence[OutgoingMessage]], Batch]]) -> None:
        for (topology, messages), batch in late:
            if not batch.is_done:
                batch.forget_callers()
                self._take_care(topology, messages, batch)

    def _take_care(
        self, topology: QueueTopology | None, messages: Sequence[OutgoingMessage], begun: Batch | None = None
    ) -> None:
        """Go on with a coroutine: something is in the way, or has gone wrong."""
        work = self._publisher.send(topology, messages, begun, None if begun is None else 0.0)
        task = asyncio.ensure_future(guarded(work, STEPS * self._address.timeout_seconds))
        self._tasks.add(task)  # so that none is collected in the middle
        task.add_done_callback(lambda task: self._on_task(topology, task))

    def _on_task(self, topology: QueueTopology | None, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended(topology, LinkLost("the connection broke in the middle") if task.cancelled() else task.exception())

    def _ended(self, topology: QueueTopology | None, error: BaseException | None) -> None:
        if error is not None:
            found = to_broker_error(self._address.name, error) if isinstance(error, (BrokerError, *DriverError)) else error
            if isinstance(found, BrokerError) and (found.refused or isinstance(error, Unconfirmed)):
                self._refused["" if topology is None else topology.queue] = found
            else:
                self._error = found
        self._left -= 1
        if not self._left:
            self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._answer.done():
            return
        if self._error is not None:
            self._answer.set_exception(self._error)
        else:
            self._answer.set_result(self._refused)


async def _declare_for_answers(channel: AbstractChannel, name: str) -> None:
    """Declare a queue for answers that somebody has named.

    Raises:
        Unsendable: The driver takes no such name.
    """
    try:
        await channel.queue_declare(name, durable=True, arguments={"x-expires": ANSWER_MS})
    except (TypeError, ValueError) as error:  # before it has said anything to the server
        raise Unsendable(f"there is no queue of that name, and none can be made ({error})") from None


def _without_confirm(name: str) -> str:
    return f"the queue {name!r} does not confirm that it has the message"


async def _declare(channel: AbstractChannel, topology: QueueTopology) -> None:
    if topology.dead is not None:  # first: what the server drops must have somewhere to go
        await _declare(channel, topology.dead)
    if topology.exchange and not topology.exchange.startswith("amq."):
        await channel.exchange_declare(topology.exchange, exchange_type=topology.exchange_type, durable=topology.durable)
    await channel.queue_declare(topology.name, durable=topology.durable, arguments=dict(topology.arguments))
    if topology.exchange:
        await channel.queue_bind(topology.name, topology.exchange, topology.key)
