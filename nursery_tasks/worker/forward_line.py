"""One line of the outbox: what waits for one destination, on its way there.

    lock      one worker at a time sends what is for a destination, so that it arrives in order
    look      at the oldest, which stay where they are
    send      and wait until the other side has said that it has them
    drop      what was sent, by its position

A worker that dies between two of these has dropped nothing that was not sent. What it had sent and not dropped goes out again,
with the same ids. One that was stopped for long and does not know yet that it has lost the lock can send it again, too, and
drops no more than it has sent.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any, Final, Protocol, TypeVar

import msgspec
from anyio import CancelScope, CapacityLimiter, Event, create_task_group, current_time, fail_after, move_on_after, sleep

from ..brokers.gateway import Gateway
from ..brokers.needed import locks_of, outbox_of
from ..brokers.protocol import Feature
from ..channels.message import ChannelMessage
from ..errors import BrokerError, ChannelRefused, ChannelUnavailable, InvalidOptions, NotSupported
from ..registry import Registry
from .backoff import LastWord, Outage
from .unsent import to_letter

BATCH: Final = 100  # messages that are sent at once
LEASE_SECONDS: Final = 10.0  # for how long a worker that was killed holds up what it was sending
SEND_SECONDS: Final = 60.0  # for one batch; then the channel counts as away
TAKEN_SECONDS: Final = 5.0  # before another look at a line that another worker is sending
LINGER_SECONDS: Final = 1.0  # how long a busy line is kept after its last message
STOP_SECONDS: Final = 2.0  # how long a line goes on with what comes when its worker has stopped

T = TypeVar("T")
_decode = msgspec.msgpack.Decoder(ChannelMessage).decode
_log = logging.getLogger("nursery_tasks.worker")


class Sends(Protocol):
    """What a line needs of a channel."""

    name: str

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        """Send messages in this order. See `Channel.send`."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What all lines of a worker have in common.

    Attributes:
        letters: The queue of what is refused.
        fraction: The source of jitter, a number in [0, 1).
    """

    gateway: Gateway
    registry: Registry
    letters: str
    fraction: Callable[[], float]


@dataclass(frozen=True, slots=True)
class ChannelShare:
    """What the lines of one channel share, so that one that is away takes no room of the others, and is told of once.

    Attributes:
        room: Of lines that are sent at once.
        said: When it was last said that the channel is away.
    """

    room: CapacityLimiter
    said: LastWord


class ForwardLine:
    """What waits for one destination.

    Args:
        channel, place: Where it goes.
        busy: Whether something was sent here a moment ago.
    """

    def __init__(self, destination: str, channel: Sends, place: str, means: Means, share: ChannelShare, *, busy: bool) -> None:
        gateway, fraction = means.gateway, means.fraction
        self._destination, self._channel, self._place = destination, channel, place
        self._gateway, self._registry, self._letters = gateway, means.registry, means.letters
        self._room = share.room
        self._fraction = fraction
        self._busy = busy
        self._size = BATCH  # of the next batch
        self._outbox, self._locks = outbox_of(gateway.broker), locks_of(gateway.broker)
        self._lock, self._holder = f"outbox {destination}", token_bytes(16)
        shared = Feature.SHARED in gateway.broker.features
        self._lease_seconds = LEASE_SECONDS if shared else math.inf  # else the lock ends with the program
        self._broker_away = Outage(f"forward messages to {destination}", fraction)
        self._away = Outage(f"send to {destination}", fraction, share.said)
        self._wake, self._stop = Event(), Event()
        self._stops_at = math.inf

    @property
    def has_news(self) -> bool:
        """Whether something has come since it was last looked at."""
        return self._wake.is_set()

    def wake(self) -> None:
        """Hear that something has come to the line."""
        self._wake.set()

    def stop(self) -> None:
        """Go on for a moment with what is there, and not at all where the other side is away."""
        self._stops_at = min(self._stops_at, current_time() + STOP_SECONDS)
        self._stop.set()
        self._wake.set()
        self._broker_away.wake()
        self._away.wake()

    async def run(self) -> None:
        """Send until nothing is left, whichever worker sends it.

        Cancellation:
            What was under way may have gone out, and is still in the line.
        """
        while not await self._send_or_leave():
            with move_on_after(TAKEN_SECONDS * (0.5 + 0.5 * self._fraction())):
                await self._stop.wait()
            self._wake = Event()
            if self._stop.is_set() or not await self._insist(self._outbox.next_outgoing, self._destination, 1):
                return

    async def _send_or_leave(self) -> bool:
        """Send what is there, unless another worker does; False: one does."""
        async with self._room:
            try:
                if not await self._insist(self._locks.lock, self._lock, self._holder, self._lease_seconds, False):
                    return self._stop.is_set()
                async with create_task_group() as holding:
                    if self._lease_seconds != math.inf:
                        holding.start_soon(self._keep_lock, holding.cancel_scope, name=f"lock of {self._destination}")
                    await self._send_all()
                    holding.cancel_scope.cancel()
                return True
            finally:
                with move_on_after(STOP_SECONDS, shield=True), suppress(BrokerError):
                    await self._gateway.call(self._locks.unlock, [(self._lock, self._holder)])

    async def _keep_lock(self, sending: CancelScope) -> None:
        """Prolong the lock until cancelled; end the sending when it is lost."""
        kept_at = current_time()
        while current_time() < kept_at + self._lease_seconds:
            await sleep(self._lease_seconds / 3)
            asked_at = current_time()
            with suppress(BrokerError):
                [held] = await self._gateway.call(self._locks.relock, [(self._lock, self._holder)], self._lease_seconds)
                if not held:
                    break
                kept_at = asked_at
        _log.warning("the lease on the line to %s is lost, another worker may send it", self._destination)
        sending.cancel()

    async def _send_all(self) -> None:
        """Send batches until the line is empty; a line that was busy is kept for a moment, for what comes next."""
        while not (self._stop.is_set() and current_time() >= self._stops_at):
            self._wake = Event()
            oldest = await self._insist(self._outbox.next_outgoing, self._destination, self._size)
            if oldest is None:
                return
            if oldest:
                if not await self._send(oldest):
                    return
                self._busy = self._busy or len(oldest) == BATCH
            elif not self._busy or self._stop.is_set():
                return
            else:
                with move_on_after(LINGER_SECONDS) as lingering:
                    await self._wake.wait()
                self._busy = not lingering.cancelled_caught

    async def _send(self, oldest: Sequence[tuple[int, bytes]]) -> bool:
        """Send a batch and drop it. What did not go through stays, and is sent in smaller parts. False: the worker stops."""
        try:
            messages = [self._read(position, packed) for position, packed in oldest]
        except msgspec.MsgspecError as error:
            return await self._give_up(oldest, f"it is no message: {error}")
        try:
            with fail_after(SEND_SECONDS):
                await self._channel.send(self._place, messages)
        except ChannelRefused as error:
            return await self._give_up(oldest, error.problem)
        except (InvalidOptions, NotSupported) as error:
            return await self._give_up(oldest, str(error))
        except Exception as error:  # `ChannelUnavailable`, or a fault of the channel's own: nothing may be lost for it
            self._size = max(1, len(oldest) // 4)  # some of them may have gone out, each time
            return await self._pause(self._away, self._problem_of(error), getattr(error, "retry_seconds", None) or 0.0)
        self._away.over()
        self._size = min(BATCH, 2 * self._size)
        return await self._drop(oldest)

    async def _give_up(self, oldest: Sequence[tuple[int, bytes]], problem: str) -> bool:
        """Make a dead letter of a message that is refused; of several, find out first which it is."""
        self._away.over()
        if len(oldest) > 1:
            self._size = 1
            return True
        position, packed = oldest[0]
        _log.error("a message is a dead letter, not sent to %s: %s", self._destination, problem)
        letter = to_letter(self._registry, self._letters, self._destination, position, packed, problem)
        return await self._insist(self._gateway.broker.submit, [letter]) is not None and await self._drop(oldest)

    async def _drop(self, oldest: Sequence[tuple[int, bytes]]) -> bool:
        return await self._insist(self._outbox.drop_outgoing, self._destination, oldest[-1][0]) is not None

    def _problem_of(self, error: Exception) -> Exception:
        """Return what is to be said of a channel that is away; what no channel should raise goes to the log as a whole."""
        if isinstance(error, TimeoutError):
            return ChannelUnavailable(self._channel.name, f"no answer within {SEND_SECONDS:g} s")
        if not isinstance(error, ChannelUnavailable):
            _log.error("channel %s has raised what no channel should", self._channel.name, exc_info=error)
        return error

    def _read(self, position: int, packed: bytes) -> ChannelMessage:
        """Read a message; without an id it gets one, the same each time, so that who receives it twice can drop the second."""
        message = _decode(packed)
        if message.id is not None:
            return message
        digest = hashlib.sha256(b"%s\0%d\0%s" % (self._destination.encode(), position, packed))
        return msgspec.structs.replace(message, id=digest.hexdigest()[:32])

    async def _insist(self, method: Callable[..., T], *args: Any) -> T | None:
        """Call the broker until it answers. None: it is away, and the worker stops."""
        while True:
            try:
                answer = await self._gateway.call(method, *args)
            except BrokerError as error:
                if not await self._pause(self._broker_away, error):
                    return None
            else:
                self._broker_away.over()
                return answer

    async def _pause(self, outage: Outage, error: Exception, at_least: float = 0.0) -> bool:
        """Wait before the next try. False: the worker stops."""
        if self._stop.is_set():
            return False
        await outage.wait(error, at_least)
        return not self._stop.is_set()
