"""Sends what waits in the broker's outbox: each worker does, none is elected.

There is one child for each destination that has something to send, see `forward_line.py`. A hint tells of it; a look now and
then finds what no hint has told. Destinations of channels that this app does not have are left to workers of another app.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from anyio import CapacityLimiter, Event, create_task_group, current_time, move_on_after
from anyio.abc import TaskGroup

from ..brokers.gateway import Gateway
from ..brokers.needed import outbox_of
from ..channels.protocol import Channel
from ..errors import BrokerError
from ..model.delivery import Topic
from ..model.options import DEFAULT_QUEUE
from ..registry import Registry
from .backoff import LastWord, Outage
from .forward_line import LINGER_SECONDS, STOP_SECONDS, ChannelShare, ForwardLine, Means, Sends
from .own_queues import OwnQueues

LOOK_SECONDS: Final = 10.0  # hints may get lost, and workers die
LINES: Final = 64  # of one channel that are sent at once
FINISH_SECONDS: Final = STOP_SECONDS + 0.5  # for all lines, when the worker stops
PAGE: Final = 1_000  # destinations in one look


class Forwarder:
    """Sends messages to channels, in order for each destination, at least once.

    Args:
        channels: By name, open.
        queues: Those that the worker serves; one of them gets the dead letters.
        fraction: The source of jitter, a number in [0, 1).
        pace: What the time between looks is multiplied by.
    """

    def __init__(
        self,
        gateway: Gateway,
        channels: Mapping[str, Channel],
        registry: Registry,
        queues: Sequence[str],
        *,
        fraction: Callable[[], float],
        pace: float = 1.0,
    ) -> None:
        self._gateway = gateway
        letters = DEFAULT_QUEUE if DEFAULT_QUEUE in queues or not queues else queues[-1]
        self._means = Means(gateway, registry, letters, fraction)
        self._channels = channels
        self._own = OwnQueues(gateway, registry)
        self._look_seconds = LOOK_SECONDS * pace
        self._shares: dict[str, ChannelShare] = {}  # by the name of the channel
        self.outage = Outage("look what is to be sent", fraction)
        self._lines: dict[str, ForwardLine] = {}  # destination -> who sends it
        self._ended_at: dict[str, float] = {}  # destination -> when its last line ended, for a moment
        self._told: set[str] | None = None  # destinations that hints have named; None: look at all
        self._wake = Event()
        self._stopping = False
        self._ended: Event | None = None  # while it serves

    def on_outgoing(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that something is to be sent."""
        if names is None:  # a broker says so when its link is back
            self._told = None
            self.outage.wake()
        else:
            for name in names & self._lines.keys():
                self._lines[name].wake()
            if self._told is not None:
                self._told |= names
        self._wake.set()

    async def serve(self) -> None:
        """Send until `finish`, or until cancelled. Owns the lines. Nothing is done where the broker has no outbox.

        Cancellation:
            What is under way may have gone out; all that was not confirmed is still in the outbox.
        """
        broker = self._gateway.broker
        if broker.outbox is None or broker.locks is None:
            return
        ended = self._ended = Event()
        try:
            async with create_task_group() as lines:
                while not self._stopping:
                    self._wake = Event()
                    self._start(lines, await self._find())
                    with move_on_after(self._look_seconds) as resting:
                        await self._wake.wait()
                    if resting.cancelled_caught:
                        self._told = None
                if not any(outage.failing for outage in (self.outage, *self.outage.others)):
                    self._start(lines, await self._find())  # what the last outcomes have brought
        finally:
            ended.set()

    async def finish(self) -> None:
        """Send what is there for a moment, and end; what is left, others send. Calling it again does nothing.

        Cancellation:
            Leaves what was under way to `serve`, which its owner cancels.
        """
        self._stopping, self._told = True, None
        self._wake.set()
        self.outage.wake()
        for line in self._lines.values():
            line.stop()
        if self._ended is not None:
            with move_on_after(FINISH_SECONDS):
                await self._ended.wait()
            self._ended = None

    async def _find(self) -> Iterable[str]:
        """Return the destinations for which something may wait."""
        told, self._told = self._told, set()
        if told is not None:
            return told
        found: list[str] = []
        outbox = outbox_of(self._gateway.broker)
        while True:
            try:
                records = await self._gateway.call(outbox.list_outboxes, PAGE, found[-1] if found else "")
            except BrokerError as error:
                if self._stopping:
                    return found
                await self.outage.wait(error)
            else:
                self.outage.over()
                found += [record.destination for record in records]
                if len(records) < PAGE:
                    return found

    def _start(self, lines: TaskGroup, destinations: Iterable[str]) -> None:
        for destination in destinations:
            if destination not in self._lines and (where := self._where(destination)) is not None:
                busy = self._ended_at.pop(destination, -math.inf) > current_time() - LINGER_SECONDS
                channel = destination.partition(":")[0] if ":" in destination else ""  # its name here; two may have one URL
                share = self._shares.setdefault(channel, ChannelShare(CapacityLimiter(LINES), LastWord()))
                line = ForwardLine(destination, *where, self._means, share, busy=busy)
                self._lines[destination] = line
                if self._stopping:
                    line.stop()
                lines.start_soon(self._serve_line, destination, line, name=f"line to {destination}")

    async def _serve_line(self, destination: str, line: ForwardLine) -> None:
        try:
            await line.run()
        finally:
            del self._lines[destination]
            if len(self._ended_at) >= PAGE:  # destinations that are used once
                self._ended_at.clear()
            self._ended_at[destination] = current_time()
        if line.has_news and self._told is not None:  # it came while the line was given back
            self._told.add(destination)
            self._wake.set()

    def _where(self, destination: str) -> tuple[Sends, str] | None:
        """Return the channel and the place that a destination names; None: it is for another app."""
        name, colon, place = destination.partition(":")
        if not colon:
            return self._own, destination
        return (self._channels[name], place) if name in self._channels else None
