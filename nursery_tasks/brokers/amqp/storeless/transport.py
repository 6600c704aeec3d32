"""The server, for a broker whose messages are the jobs: what `Transport` has, and reply queues, delay levels and markers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from ....errors import BrokerError, BrokerUnavailable, BrokerUnreachable
from ..errors import DriverError
from ..portal import LinkLost, guarded
from ..publishing import OutgoingMessage
from ..topology import QueueTopology
from ..transport import Transport
from .control_messages import Bye, ControlMessage, to_all
from .crash_markers import CrashMarkers, JobBuffer, Redeliveries
from .delay_levels import DelayLevels
from .reply_queue import ReplyQueue, ReplyQueueWatch, count_consumers
from .topology import StorelessAddress

BYE_SECONDS: Final = 1.0  # for taking leave; whoever waits for an answer of ours waits no longer


class StorelessTransport(Transport):
    """All that the broker without a store wants of RabbitMQ. It hears of the others from `join` on.

    Args:
        on_arrival, on_back: As those of `Transport`.

    Attributes:
        layout: What is at the server.
        keeps_reply_queue: Whether that stays at the server when this is closed.

    Raises:
        BrokerUnreachable: The server cannot be used.
    """

    _replies: ReplyQueue
    _watch: ReplyQueueWatch

    def __init__(self, address: StorelessAddress, on_arrival: Callable[[str], None], on_back: Callable[[], None]) -> None:
        self.layout = address
        self.keeps_reply_queue = False
        self.redeliveries = Redeliveries()
        self._has_joined = False
        super().__init__(address, on_arrival, on_back)

    @property
    def reply_queue(self) -> str:
        """The name of this process's reply queue."""
        return self._replies.name

    def join(
        self,
        *,
        on_message: Callable[[ControlMessage], None],
        on_open: Callable[[], None],
        on_lost: Callable[[], None],
        awaited_by: Callable[[], Iterable[str]],
        on_owner_gone: Callable[[str], None],
        reply_queue: str | None,
    ) -> None:
        """Open the reply queue: from now on this process hears the others, and may be told things.

        Args:
            on_message: Called, in the portal's thread as all of these, with what other processes say.
            on_open: Called when the reply queue was opened.
            on_lost: Called when the messages that were delivered here are the server's again.
            awaited_by: Gives the reply queues of those who await what is held here.
            on_owner_gone: Called with a reply queue that nobody reads any more.
            reply_queue: The name of one that is there; None: a new one.

        Raises:
            BrokerUnreachable: That failed; everything is closed.
        """
        self._receiver.on_lost = on_lost
        self._replies = ReplyQueue(self.layout, on_message, on_open, reply_queue)
        self._watch = ReplyQueueWatch(self._out, awaited_by, on_owner_gone)
        self._has_joined = True
        try:
            self.call(self._join)
        except BaseException as error:
            self.close()
            if isinstance(error, BrokerUnavailable):
                raise BrokerUnreachable(error.broker, error.problem, error.step) from None
            raise

    def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish messages to what is there; on return the server has them.

        Raises:
            BrokerUnavailable: Unknown how many it has.
        """
        self.send([(None, messages)])

    def post(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish messages soon, in the portal's thread; nobody hears whether that worked.

        What is published after this comes after it: one who asks hears first who holds a job, and then of its end.
        """
        self._publisher.send_soon([(None, messages)], Future())

    def delay(self, topology: QueueTopology, messages: Sequence[tuple[OutgoingMessage, float]]) -> None:
        """Publish messages that come to a queue after so many seconds."""
        self.call(lambda: self._delay_levels.send(topology, messages))

    def count_crashes(self, ids: Sequence[str]) -> list[int]:
        """Return how many workers have died while they ran each of these jobs."""
        return self.call(lambda: self._crash_markers.count(ids))

    def mark_starts(self, ids: Sequence[str]) -> None:
        """Write down that these jobs start."""
        self.call(lambda: self._crash_markers.add(ids))

    def take_markers(self, ids: Sequence[str]) -> None:
        """Take one such marker of each back."""
        self.call(lambda: self._crash_markers.take(ids))

    def clear_markers(self, ids: Sequence[str]) -> None:
        """Forget all markers of these jobs."""
        self.call(lambda: self._crash_markers.clear(ids))

    def gone(self, reply_queues: Iterable[str]) -> set[str]:
        """Return which of these are gone; those that were there a moment ago are not asked again."""
        unknown = [queue for queue in reply_queues if not self._watch.is_known(queue)]
        return self.call(lambda: self._watch.look(unknown)) if unknown else set()

    def begin_work(self) -> None:
        """Be one of those who are asked, from now on."""
        self.call(self._replies.begin_work)

    def count_workers(self) -> int:
        """Return how many other processes may hold jobs."""
        consumers = self.call(lambda: count_consumers(self._out, self.layout.workers)) or 0
        return max(0, consumers - self._replies.is_counted)

    async def _join(self) -> None:
        for keep in (self._replies.connection.keep, self._watch.keep):
            self._portal.start(keep)
        await self._replies.connection.channel(at_once=True)

    async def _begin(self) -> None:
        await super()._begin()
        self._receiver.buffer = JobBuffer(self.redeliveries)
        self._delay_levels = DelayLevels(self.layout, self._out, self._publisher)
        self._crash_markers = CrashMarkers(self.layout.prefix, self._out, self._publisher)

    async def _end(self) -> None:
        if self._has_joined:
            await self._leave()
        await super()._end()

    async def _leave(self) -> None:
        connection = self._replies.connection
        if self._replies.is_counted:
            with suppress(BrokerError, TimeoutError, *DriverError):
                await guarded(self._say_bye(), BYE_SECONDS)
        with suppress(BrokerError, LinkLost, *DriverError):
            if connection.current is not None and not self.keeps_reply_queue:
                async with connection.scratch() as channel:
                    await channel.queue_delete(self.reply_queue)
        with suppress(LinkLost, *DriverError):
            await connection.end()

    async def _say_bye(self) -> None:
        """Tell those who wait for an answer of this process that there will be none."""
        await self._replies.end_work()
        await self._publisher.publish([to_all(Bye(self.reply_queue), self.layout.control)])


def now() -> float:
    """Tell the time that goes with a job, in epoch seconds: on whichever machine the program is."""
    return time.time()
